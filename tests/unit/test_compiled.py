"""The compiled loops: what they find in bytes, and what becomes of a run where something they lean on is not there."""

import ctypes.util
import os
import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xxhash

from omop_inc import compiled
from omop_inc.source.headers import map_header
from omop_inc.source.lines import careful_batch, layout_of, plain_batch
from omop_inc.source.tables import SOURCE_TABLES

TABLE = SOURCE_TABLES["claims_transactions"]
LAYOUT = layout_of(TABLE, map_header(TABLE, "x.csv", ",".join(TABLE.header).encode(), ignore_unknown=False))


def block(rows: int, seed: int = 1) -> bytes:
    """Lines of claims_transactions with fields of any length, some empty, at any place within a word."""
    source = random.Random(seed)
    methods = ["", "COPAY", "ECHECK", "CASH", "COPAYS", "COPA", "ECHECKS"]
    lines = []
    for _ in range(rows):
        fields = ["x" * source.choice([0, 0, 1, 7, 8, 9, 36]) for _ in TABLE.header]
        fields[TABLE.header.index("METHOD")] = source.choice(methods)
        lines.append(",".join(fields) + "\n")
    return "".join(lines).encode()


@pytest.mark.parametrize("seed", range(5))
def test_lines_of_any_length_are_cut_and_hashed_as_field_by_field(seed: int) -> None:
    data = block(200, seed)
    plain, (careful, _) = plain_batch(data, LAYOUT, 2), careful_batch(data, LAYOUT, 2, is_last=True)
    assert plain is not None
    assert plain.lines == careful.lines
    assert (plain.hashes == careful.hashes).all()
    assert [data[start : data.index(b"\n", start)] for start in plain.starts.tolist()] == data.split(b"\n")[:-1]


def marks_of(text: bytes) -> int:
    cut = compiled.cut_lines(text, 1, np.empty((0, 3), dtype=np.int64), 0, 1, 0)
    assert cut is not None
    return cut.marks


@pytest.mark.parametrize("at", [*range(17), 62, 63, 64, 99, 100])
@pytest.mark.parametrize(
    ("byte", "found"),
    [
        pytest.param(b'"', compiled.SPECIAL, id="quote"),
        pytest.param(b"\r", compiled.SPECIAL, id="carriage return"),
        pytest.param(b"\0", compiled.SPECIAL, id="zero"),
        pytest.param(b"\\", compiled.ESCAPED, id="backslash"),
        pytest.param(b"\x80", compiled.NOT_ASCII, id="above 127"),
        pytest.param(b"\xff", compiled.NOT_ASCII, id="255"),
        pytest.param(b"#", 0, id="next to a quote"),
        pytest.param(b"\x01", 0, id="next to zero"),
        pytest.param(b"]", 0, id="next to a backslash"),
    ],
)
def test_a_byte_is_seen_wherever_it_stands(at: int, byte: bytes, found: int) -> None:
    text = b"a" * at + byte + b"a" * (100 - at) + b"\n"
    assert marks_of(text) == found


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="what the package exports is known of this platform")
def test_hash_function_of_the_package_is_found() -> None:
    assert compiled.HASH_FUNCTION
    assert compiled.find_hash_function() == compiled.HASH_FUNCTION


def test_without_the_hash_function_hashes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    data = block(50)
    expected = plain_batch(data, LAYOUT, 2)
    monkeypatch.setattr(compiled, "HASH_FUNCTION", 0)
    found = plain_batch(data, LAYOUT, 2)
    assert expected is not None and found is not None
    assert (found.hashes == expected.hashes).all()


def test_library_that_exports_no_hash_function_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xxhash._xxhash, "__file__", ctypes.util.find_library("c") or "libc.so.6")
    assert compiled.find_hash_function() == 0


def test_function_that_answers_otherwise_is_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xxhash, "xxh3_128_intdigest", lambda *_: 0)
    assert compiled.find_hash_function() == 0


def load_afresh(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setattr(compiled, "_folders", lambda: list(folders))
    compiled._loops.cache_clear()
    assert marks_of(b'a"\n') == compiled.SPECIAL


@pytest.fixture
def fresh() -> Iterator[None]:
    yield
    compiled._loops.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_loops_are_kept_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_afresh(monkeypatch, tmp_path / "new")
    (kept,) = (tmp_path / "new").iterdir()
    monkeypatch.setattr(compiled, "compile_loops", None)
    load_afresh(monkeypatch, tmp_path / "new")
    monkeypatch.undo()
    for damaged in (b"", b"\n", kept.read_bytes()[:1000]):
        kept.write_bytes(damaged)
        load_afresh(monkeypatch, tmp_path / "new")
        assert kept.stat().st_size > 1000


@pytest.mark.usefixtures("fresh")
def test_loops_are_compiled_where_nothing_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    load_afresh(monkeypatch, tmp_path / "file" / "folder")
    load_afresh(monkeypatch)


def test_a_run_on_a_new_machine_has_another_process_compile(tmp_path: Path) -> None:
    program = "import sys; from omop_inc import compiled; compiled._loops(); print('numba' in sys.modules)"
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "caches")}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert len(list(tmp_path.rglob("loops-*.o"))) == 1


@pytest.mark.usefixtures("fresh")
def test_loops_are_compiled_here_where_no_other_process_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled.sys, "executable", str(tmp_path / "none"))
    load_afresh(monkeypatch, tmp_path)
    assert list(tmp_path.glob("loops-*.o"))


def test_another_processor_has_loops_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    target = compiled._target()
    ours = compiled._key(target)
    monkeypatch.setattr(compiled.llvm, "get_host_cpu_name", lambda: "generic")
    assert compiled._key(target) != ours


@pytest.mark.parametrize("number", range(5))
def test_other_loops_or_constants_are_compiled_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    target = compiled._target()
    ours = compiled._key(target)
    changed = tmp_path / "changed.py"
    sources = list(compiled._SOURCES)
    changed.write_text(sources[number].read_text() + "# changed\n")
    sources[number] = changed
    monkeypatch.setattr(compiled, "_SOURCES", tuple(sources))
    assert compiled._key(target) != ours
