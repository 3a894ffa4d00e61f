"""The compiled loops: kept as machine code, loaded and called.

Belongs here: compiling the loops once for a machine, keeping and loading what came of it, handing it arrays. Does not: the loops
themselves (loops/); what a line, a record or a hash is (source/lines.py, source/hashing.py).

A process of its own has numba compile the loops when a machine first needs them (3 s), and llvmlite, on which numba stands, loads
the machine code in every later process (0.05 s; numba itself would take 0.4 s). They are called without the interpreter's lock. Only
a process that reads the records of a file loads them.
"""

import contextlib
import ctypes
import importlib.util
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numpy as np
import xxhash
from numpy.typing import NDArray

from omop_inc.process import release_pages

# What stands anywhere in a block: a quote, carriage return or zero byte; a backslash; a byte above 127.
SPECIAL, ESCAPED, NOT_ASCII = 1, 2, 4
# How a run of fields is folded; ABSENT stands for columns that a file lacks.
ABSENT, KEPT, METHOD, PERIOD_START, PERIOD_END = -1, 0, 1, 2, 3
FOLDED = {"method": METHOD, "period_start": PERIOD_START, "period_end": PERIOD_END}
# Bytes by which a fold lengthens a field at most: a year becomes an instant.
FOLD_GROWTH = 16
# The types of fields in a binary COPY; of what is UNREAD, no byte is looked at. REQUIRED is or-ed to the type of what may not be empty.
TEXT, UUID, DATE, TIMESTAMP, INTEGER, NUMERIC, UNREAD = range(7)
REQUIRED = 8
KINDS = {"text": TEXT, "uuid": UUID, "date": DATE, "timestamp": TIMESTAMP, "integer": INTEGER, "numeric": NUMERIC}
# Bytes that stand before a line in COPY at most: an id of 19 digits, a hash, two commas.
_HEAD_BYTES = 53
# The same in a binary COPY: the number of fields, an id and a hash with their lengths; and what a field is longer than its text,
# with its length: a number of one digit takes ten bytes.
_TUPLE_BYTES, _FIELD_BYTES = 34, 14
# Bytes of a value at most, but a text's.
_VALUE_BYTES = 64
# The optimisation with which C compilers build releases.
_OPTIMISATION = 3

# Says to the process that compiles that it is the one.
_ASIDE = "_OMOP_INC_COMPILES_LOOPS"

_CALLER = Path(__file__)
_SOURCES = (_CALLER, *(_CALLER.with_name("loops") / f"{name}.py" for name in ("__init__", "primitives", "cutting", "copying")))
# Of each loop the number of its arguments: all are 64 bits, addresses and numbers.
_ARGUMENTS = {"cut_lines": 13, "put_rows": 8, "put_tuples": 11, "are_plain": 7}


class Cut(NamedTuple):
    """Canonical lines cut out of a block."""

    starts: NDArray[np.int64]  # where each line of the block starts
    target: NDArray[np.uint8]  # the canonical lines with their line ends; empty where they are the block itself
    ends: NDArray[np.int64]  # where each canonical line ends
    hashes: NDArray[np.uint64]  # shape (n, 2), high and low 64 bits; of no meaning without a function
    marks: int  # SPECIAL, ESCAPED and NOT_ASCII, or-ed


def cut_lines(block: bytes, width: int, pieces: NDArray[np.int64], growth: int, seed: int, function: int) -> Cut | None:
    """Cut plain lines into canonical lines and hash these, and say what stands anywhere in them.

    Args:
        block: Whole lines; a comma or line end within quotes counts as any other.
        width: Fields that each must have.
        pieces: What a canonical line is put together from, shape (n, 3): first and last field and how it is folded; of ABSENT
            how many columns in place of the last field. Of none, a line is its own canonical line.
        growth: By how many bytes a canonical line may be longer than its line.
        seed: Of the hash.
        function: HASH_FUNCTION; 0 leaves the hashes without meaning.

    Returns:
        The lines; None if one has not `width` fields.
    """
    most = len(block) // width  # a line has so many bytes at least
    starts, ends, hashes = np.empty(most, dtype=np.int64), np.empty(most, dtype=np.int64), np.empty((most, 2), dtype=np.uint64)
    target = np.empty(len(block) + most * growth if len(pieces) else 0, dtype=np.uint8)
    room, marks = np.empty(width, dtype=np.int64), np.zeros(1, dtype=np.int64)
    arguments = (_at(pieces), len(pieces), _at(room), _at(starts), _at(target), _at(ends), function, seed, _at(hashes), _at(marks))
    count = _loops()["cut_lines"](block, len(block), width, *arguments)
    if count < 0:
        return None
    used = int(ends[count - 1]) + 1 if len(pieces) and count else 0
    return Cut(starts=starts[:count].copy(), target=target[:used], ends=ends[:count].copy(), hashes=hashes[:count].copy(), marks=int(marks[0]))


def put_rows(
    rows: NDArray[np.int64], lines: bytes | NDArray[np.uint8], ends: NDArray[np.int64], hashes: NDArray[np.uint64], ids: NDArray[np.int64] | None
) -> bytes:
    """Write lines for COPY, each behind its id and the hexadecimal digits of its hash.

    Args:
        rows: Which lines, each at most once.
        lines: All lines with their line ends.
        ends: Where each ends.
        hashes: Of each line, shape (n, 2).
        ids: Of each of `rows`, from 0; without them that field is empty.
    """
    target = np.empty(len(lines) + len(rows) * _HEAD_BYTES, dtype=np.uint8)
    source = lines if isinstance(lines, bytes) else _at(lines)
    chosen, places, numbers = (np.ascontiguousarray(one, dtype=np.int64) for one in (rows, ends, rows if ids is None else ids))
    pairs = np.ascontiguousarray(hashes, dtype=np.uint64)
    arguments = (_at(chosen), len(rows), source, _at(places), _at(pairs), _at(numbers), ids is not None, _at(target))
    return target[: _loops()["put_rows"](*arguments)].tobytes()


def put_tuples(
    rows: NDArray[np.int64],
    lines: bytes | NDArray[np.uint8],
    ends: NDArray[np.int64],
    hashes: NDArray[np.uint64],
    ids: NDArray[np.int64] | None,
    kinds: bytes,
) -> memoryview | None:
    """Write lines as the tuples of a binary COPY, each behind its id and its hash; a field of no byte is NULL.

    Args:
        rows: Which lines, each at most once.
        lines: All lines with their line ends, without quotes.
        ends: Where each ends.
        hashes: Of each line, shape (n, 2).
        ids: Of each of `rows`; without them that field is NULL.
        kinds: The type of each field (KINDS), a byte each.

    Returns:
        The tuples; None if a value is not written as most are, and its text is for the server to read: a number with an exponent
        or of more than 16 digits before or behind the point, or no value of its type.
    """
    target = np.empty(len(lines) + len(rows) * (_TUPLE_BYTES + len(kinds) * _FIELD_BYTES), dtype=np.uint8)
    source = lines if isinstance(lines, bytes) else _at(lines)
    chosen, places, numbers = (np.ascontiguousarray(one, dtype=np.int64) for one in (rows, ends, rows if ids is None else ids))
    pairs = np.ascontiguousarray(hashes, dtype=np.uint64)
    described = (_at(chosen), len(rows), source, len(lines), _at(places), _at(pairs), _at(numbers), ids is not None)
    used = _loops()["put_tuples"](*described, kinds, len(kinds), _at(target))
    return None if used < 0 else target[:used].data


def are_plain(lines: bytes | NDArray[np.uint8], ends: NDArray[np.int64], kinds: bytes) -> bool:
    """Say whether put_tuples writes every one of some lines; it may be no for lines that are right.

    Args:
        lines: Lines with their line ends, without quotes.
        ends: Where each ends.
        kinds: The type of each field, UNREAD instead of TEXT; REQUIRED or-ed to it where it may not be empty.
    """
    room = np.empty(len(kinds) * (_FIELD_BYTES + _VALUE_BYTES), dtype=np.uint8)
    source, places = lines if isinstance(lines, bytes) else _at(lines), np.ascontiguousarray(ends, dtype=np.int64)
    return bool(_loops()["are_plain"](len(places), source, len(lines), _at(places), kinds, len(kinds), _at(room)))


def _at(array: NDArray[Any]) -> int:
    return int(array.ctypes.data)


@cache
def _loops() -> dict[str, Any]:
    """The loops by name, compiled if this machine has none yet."""
    target = _target()
    paths = [folder / f"loops-{_key(target)}.o" for folder in _folders()]
    code = _first_kept(paths)
    if code is None and _ASIDE not in os.environ:
        _compile_aside()
        code = _first_kept(paths)
    if code is None:
        code = compile_loops(target)
        _keep(paths, code)
    loops = _load(code, target)
    release_pages("libllvmlite")  # 150 MB, of which starting and linking touch 40 that nothing needs any more
    return loops


def _target() -> Any:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    features = llvm.get_host_cpu_features().flatten()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=features, opt=_OPTIMISATION, codemodel="jitdefault", jit=True
    )


def _key(target: Any) -> str:
    """What the machine code follows from: the loops and the constants that they take from here, the compiler, the processor."""
    features = llvm.get_host_cpu_features().flatten()
    parts = (
        *(source.read_text() for source in _SOURCES),
        llvmlite.__version__,
        platform.python_version(),
        target.triple,
        llvm.get_host_cpu_name(),
        features,
    )
    return xxhash.xxh3_128_hexdigest("\0".join(parts).encode())


def _folders() -> list[Path]:
    """Where machine code may be kept: beside Python's own compiled files, else in the user's folder for caches."""
    folders = [Path(importlib.util.cache_from_source(str(_CALLER))).parent]
    home, caches = os.environ.get("HOME"), os.environ.get("XDG_CACHE_HOME")
    if home or caches:
        folders.append(Path(caches or f"{home}/.cache") / "omop_inc")
    return folders


def compile_loops(target: Any) -> bytes:
    """Compile the loops for a processor.

    Returns:
        An object file that needs nothing but the C library.

    Raises:
        RuntimeError: If it would need a part of numba; a loop then allocates or may raise.
    """
    from omop_inc.loops import LOOPS

    whole = llvm.parse_assembly("")
    for name, loop in LOOPS.items():
        module = llvm.parse_assembly(loop.inspect_llvm())
        needed = [one.name for one in module.functions if one.is_declaration and not one.name.startswith("llvm.")]
        if needed:
            raise RuntimeError(f"The loop {name!r} calls {', '.join(needed)}; expected none but the compiler's own functions.")
        module.get_function(loop.native_name).name = name
        whole.link_in(module)
    return bytes(target.emit_object(whole))


def _compile_aside() -> None:
    """Have another process compile the loops and keep them: of numba, a run would hold 100 MB to its end. If that fails, nothing is kept."""
    command = [sys.executable, "-c", f"from {__name__} import _loops; _loops()"]
    with contextlib.suppress(OSError):
        environment = {**os.environ, _ASIDE: "1"}
        subprocess.run(
            command,
            cwd=_CALLER.parents[1],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )


def _first_kept(paths: list[Path]) -> bytes | None:
    return next(filter(None, map(_kept, paths)), None)


def _kept(path: Path) -> bytes | None:
    """The machine code in a file, if it is there and whole; the linker would crash on a part of it."""
    with contextlib.suppress(OSError):
        digest, _, code = path.read_bytes().partition(b"\n")
        if digest == xxhash.xxh3_128_hexdigest(code).encode():
            return code
    return None


def _keep(paths: list[Path], code: bytes) -> None:
    """Write machine code into the first of some files that can be written, whole or not at all; without one, the next process compiles anew."""
    for path in paths:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(xxhash.xxh3_128_hexdigest(code).encode() + b"\n" + code)
            new.replace(path)
            return


def _load(code: bytes, target: Any) -> dict[str, Any]:
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target)
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    _ENGINES.append(engine)  # it owns the code
    return {name: _prototype(count)(engine.get_function_address(name)) for name, count in _ARGUMENTS.items()}


def _prototype(count: int) -> Any:
    """The type of a loop: bytes and addresses go in as pointers, which ctypes takes from both, numbers too."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * count)


def find_hash_function() -> int:
    """Give the address of xxhash's XXH3_128bits_withSeed in the package's library; 0 where it is not to be had.

    The package exports it, but promises nothing: so it is asked, and must answer as the package itself does. It returns two
    64-bit halves, which the calling conventions of Linux and macOS on x86-64 and arm64 leave in two registers.
    """
    if sys.platform not in ("linux", "darwin") or platform.machine() not in ("x86_64", "aarch64", "arm64"):
        return 0
    try:
        address = ctypes.cast(ctypes.CDLL(xxhash._xxhash.__file__).XXH3_128bits_withSeed, ctypes.c_void_p).value  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return 0
    return address if address and _answers(address) else 0


def _answers(address: int) -> bool:
    lines = [bytes(range(65, 91)) * size for size in (0, 1, 3, 5, 8, 10, 20, 200)]
    cut = cut_lines(b"".join(line + b"\n" for line in lines), 1, np.empty((0, 3), dtype=np.int64), 0, 1, address)
    expected = [divmod(xxhash.xxh3_128_intdigest(line, 1), 1 << 64) for line in lines]
    return cut is not None and [tuple(pair) for pair in cut.hashes.tolist()] == expected


_ENGINES: list[Any] = []
HASH_FUNCTION = find_hash_function()
