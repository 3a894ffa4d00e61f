"""The loops over every byte of an export, compiled by numba: cutting and hashing lines, and writing them for COPY.

Belongs here: loops over bytes that hold no object of Python, so that threads carry them out side by side. Does not: what a
line, a record or a hash is (source/lines.py, source/hashing.py), which say the same in Python and call these.

The code is compiled for this machine's processor when it is first called and kept in a cache (numba's own, beside this file
or in the user's cache folder): 2 s once, 0.35 s in every process. Only a process that reads records of a file imports this module.
"""

import ctypes
import platform
import sys
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import xxhash
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_COMMA, _LINE_END, _QUOTE, _RETURN, _ZERO, _BACKSLASH = (np.uint8(ord(mark)) for mark in ',\n"\r\0\\')
_ONE = np.uint64(1)
# Bytes looked at together; a bit for each fits a word.
_WIDTH = 64

# How a run of fields is folded; ABSENT stands for columns that a file lacks.
ABSENT, KEPT, METHOD, PERIOD_START, PERIOD_END = -1, 0, 1, 2, 3
FOLDED = {"method": METHOD, "period_start": PERIOD_START, "period_end": PERIOD_END}
# Bytes by which a fold lengthens a field at most: a year becomes an instant.
FOLD_GROWTH = 16


# What `look` finds: a quote, carriage return or zero byte; a backslash; a byte above 127.
SPECIAL, ESCAPED, NOT_ASCII = 1, 2, 4
# Bytes that put_rows writes before a line at most: an id of 19 digits, a hash, two commas.
HEAD_BYTES = 53


def _bytes(text: str) -> np.ndarray[Any, Any]:
    return np.frombuffer(text.encode(), dtype=np.uint8)


_COPAY, _ECHECK, _OTHER = _bytes("COPAY"), _bytes("ECHECK"), _bytes("OTHER")
_FIRST_INSTANT, _LAST_SECOND = _bytes("-01-01T00:00:00Z"), _bytes("-12-31T23:59:59Z")
_OPEN_END = _bytes("292278994-")
_HEX = _bytes("0123456789abcdef")


def compile_loop(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function that runs without the interpreter's lock; kept from process to process where a folder may be written."""
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder for the cache: compiled anew in each process
        return numba.njit(nogil=True)(function)


def find_hash_function() -> int:
    """Give the address of xxhash's XXH3_128bits_withSeed in the package's library; 0 where it is not to be had.

    The package exports it, but promises nothing: so it is asked, and must answer as the package itself does. It returns two
    64-bit halves, which the calling conventions of Linux and macOS on x86-64 and arm64 leave in two registers.
    """
    if sys.platform not in ("linux", "darwin") or platform.machine() not in ("x86_64", "aarch64", "arm64"):
        return 0
    try:
        address = ctypes.cast(ctypes.CDLL(xxhash._xxhash.__file__).XXH3_128bits_withSeed, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return 0
    return address if address and all(_answers(address, size) for size in (0, 3, 8, 16, 100, 200, 300, 5_000)) else 0


def _answers(address: int, size: int) -> bool:
    text = np.resize(np.arange(251, dtype=np.uint8), max(size, 1))[:size]
    high, low = _hash_once(address, text, np.uint64(1))
    return int(high) << 64 | int(low) == xxhash.xxh3_128_intdigest(text.tobytes(), 1)


@intrinsic
def _hash(typing_context: Any, function: Any, place: Any, size: Any, seed: Any) -> Any:
    """Call XXH3_128bits_withSeed at an address; the low and the high half."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.LiteralStructType([word, word]), [word, word, word])
        found = builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:])
        return context.make_tuple(builder, signature.return_type, [builder.extract_value(found, 0), builder.extract_value(found, 1)])

    return types.UniTuple(types.uint64, 2)(types.intp, types.intp, types.intp, types.uint64), generate


@intrinsic
def _where(typing_context: Any, place: Any, byte: Any) -> Any:
    """Say which of the 64 bytes from an address on are equal to a byte: bit n of the n-th."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), _WIDTH)
        found = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
        found.align = 1
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], ir.Constant(ir.IntType(32), 0))
        every = builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), _WIDTH), [0] * _WIDTH))
        return builder.bitcast(builder.icmp_unsigned("==", found, every), ir.IntType(64))

    return types.uint64(types.intp, types.uint8), generate


@intrinsic
def _above(typing_context: Any, place: Any) -> Any:
    """Say which of the 64 bytes from an address on are above 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), _WIDTH)
        found = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
        found.align = 1
        return builder.bitcast(builder.icmp_signed("<", found, ir.Constant(vector, [0] * _WIDTH)), ir.IntType(64))

    return types.uint64(types.intp), generate


@intrinsic
def _first(typing_context: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


@intrinsic
def _copy(typing_context: Any, target: Any, source: Any, size: Any) -> Any:
    """Copy bytes from an address to another."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte = ir.IntType(8).as_pointer()
        cgutils.raw_memcpy(builder, builder.inttoptr(arguments[0], byte), builder.inttoptr(arguments[1], byte), arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.intp, types.intp, types.intp), generate


@compile_loop
def _hash_once(function, text, seed):
    low, high = _hash(function, text.ctypes.data, len(text), seed)
    return high, low


@compile_loop
def _field_ends(source, at):
    """Say which of the 64 bytes from a place on end a field; behind the last byte none does."""
    if at + _WIDTH <= len(source):
        place = source.ctypes.data + at
        return _where(place, _COMMA) | _where(place, _LINE_END)
    found = np.uint64(0)
    for byte in range(len(source) - at):
        if source[at + byte] == _COMMA or source[at + byte] == _LINE_END:
            found |= _ONE << np.uint64(byte)
    return found


@compile_loop
def look(source):
    """Say what stands anywhere in some bytes: SPECIAL, ESCAPED and NOT_ASCII, or-ed."""
    base, size = source.ctypes.data, len(source)
    special = escaped = beyond = np.uint64(0)
    whole = size - size % _WIDTH
    for at in range(0, whole, _WIDTH):
        place = base + at
        special |= _where(place, _QUOTE) | _where(place, _RETURN) | _where(place, _ZERO)
        escaped |= _where(place, _BACKSLASH)
        beyond |= _above(place)
    for at in range(whole, size):
        byte = source[at]
        special |= np.uint64(byte == _QUOTE or byte == _RETURN or byte == _ZERO)
        escaped |= np.uint64(byte == _BACKSLASH)
        beyond |= np.uint64(byte > 127)
    return (SPECIAL if special else 0) | (ESCAPED if escaped else 0) | (NOT_ASCII if beyond else 0)


@compile_loop
def _is_at(source, start, end, text):
    """Whether a text is all that stands in a place, or, of an open end, what it begins with."""
    if end - start < len(text):
        return False
    for at in range(len(text)):  # noqa: SIM110 - numba does not compile the generator
        if source[start + at] != text[at]:
            return False
    return True


@compile_loop
def _is_year(source, start, end):
    if end - start != 4:
        return False
    for at in range(start, end):  # noqa: SIM110 - as above
        if source[at] < 48 or source[at] > 57:
            return False
    return True


@compile_loop
def _put(target, place, text):
    for at in range(len(text)):
        target[place + at] = text[at]
    return place + len(text)


@compile_loop
def _put_folded(source, start, end, fold, target, place):
    """Write a field as its fold has it (hashing.FOLDS); the place behind it."""
    size = end - start
    if (
        fold == METHOD
        and size
        and not (size == len(_COPAY) and _is_at(source, start, end, _COPAY) or size == len(_ECHECK) and _is_at(source, start, end, _ECHECK))
    ):
        return _put(target, place, _OTHER)
    if fold == PERIOD_END:
        signed = start + 1 if size and source[start] == 43 else start
        if _is_at(source, signed, end, _OPEN_END):
            return place
    _copy(target.ctypes.data + place, source.ctypes.data + start, size)
    place += size
    if fold == PERIOD_START and _is_year(source, start, end):
        place = _put(target, place, _FIRST_INSTANT)
    if fold == PERIOD_END and _is_year(source, start, end):
        place = _put(target, place, _LAST_SECOND)
    return place


@compile_loop
def _put_line(source, start, ends, pieces, target, place):
    """Put a canonical line together from runs of a line's fields; the place behind it."""
    for number in range(len(pieces)):
        first, last, fold = pieces[number]
        if number:
            target[place] = _COMMA
            place += 1
        if fold == ABSENT:
            for _ in range(last - 1):
                target[place] = _COMMA
                place += 1
            continue
        begin = ends[first - 1] + 1 if first else start
        if fold == KEPT:
            size = ends[last] - begin
            _copy(target.ctypes.data + place, source.ctypes.data + begin, size)
            place += size
        else:
            place = _put_folded(source, begin, ends[last], fold, target, place)
    return place


@compile_loop
def cut_lines(source, width, pieces, starts, target, line_ends, function, seed, hashes):
    """Cut plain lines into canonical lines and hash these.

    Args:
        source: Whole lines, uint8, without quotes.
        width: Fields that each must have.
        pieces: What a canonical line is put together from, shape (n, 3): first and last field and how it is folded; of ABSENT
            how many columns in place of the last field. Of no piece, a line is its own canonical line.
        starts: Takes where each line starts, int64, one a line.
        target: Takes the canonical lines with their line ends, uint8, long enough; unused where there are no pieces.
        line_ends: Takes where each canonical line ends, int64, one a line.
        function: Address of XXH3_128bits_withSeed; 0 leaves `hashes` as they are.
        seed: Of the hash.
        hashes: Takes the high and low 64 bits, shape (lines, 2).

    Returns:
        The number of lines; -1 if one has not `width` fields.
    """
    base = source.ctypes.data
    size = len(source)
    ends = np.empty(width, dtype=np.int64)
    is_cut = len(pieces) > 0
    number = start = field = place = 0
    at = 0
    while at < size:
        found = _field_ends(source, at)
        while found:
            end = at + _first(found)
            found &= found - _ONE
            if field == width:
                return -1
            ends[field] = end
            field += 1
            if source[end] == _COMMA:
                continue
            if field != width:
                return -1
            if is_cut:
                begin = place
                place = _put_line(source, start, ends, pieces, target, place)
                line, length = target.ctypes.data + begin, place - begin
                line_ends[number] = place
                target[place] = _LINE_END
                place += 1
            else:
                line, length = base + start, end - start
                line_ends[number] = end
            starts[number] = start
            if function:
                hashes[number, 1], hashes[number, 0] = _hash(function, line, length, seed)
            number += 1
            start = end + 1
            field = 0
        at += _WIDTH
    return number


@compile_loop
def put_rows(rows, lines, line_ends, hashes, ids, target):
    """Write lines for COPY, each behind its id and the hexadecimal digits of its hash.

    Args:
        rows: Which lines, int64.
        lines: All lines with their line ends, uint8.
        line_ends: Where each ends.
        hashes: Of each line, shape (lines, 2).
        ids: Of each of `rows`, from 0; or empty, and the field of the id is too.
        target: Takes the rows, uint8, HEAD_BYTES a row more than its line with its line end.

    Returns:
        How many bytes were written.
    """
    place = 0
    digits = np.empty(20, dtype=np.uint8)
    for number in range(len(rows)):
        row = rows[number]
        if len(ids):
            rest, count = ids[number], 0
            while rest or not count:
                digits[count] = 48 + rest % 10
                rest //= 10
                count += 1
            for digit in range(count):
                target[place] = digits[count - 1 - digit]
                place += 1
        target[place] = _COMMA
        place += 1
        for half in range(2):
            word = hashes[row, half]
            for nibble in range(16):
                target[place + nibble] = _HEX[np.int64((word >> np.uint64(60 - 4 * nibble)) & np.uint64(15))]
            place += 16
        target[place] = _COMMA
        place += 1
        start = line_ends[row - 1] + 1 if row else 0
        size = line_ends[row] + 1 - start
        _copy(target.ctypes.data + place, lines.ctypes.data + start, size)
        place += size
    return place


HASH_FUNCTION = find_hash_function()
