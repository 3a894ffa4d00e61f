"""The loops over every byte of an export, written for numba: cutting and hashing lines, and writing them for COPY.

Belongs here: loops over bytes that hold no object of Python, so that threads carry them out side by side. Does not: what a
line, a record or a hash is (source/lines.py, source/hashing.py), which say the same in Python; keeping, loading and calling what
comes of this (compiled.py), the only module that imports it, and only where a machine has no compiled loops yet.

Every argument is a number or an address. Nothing allocates or raises, so that the machine code needs no part of numba. Texts are
held as words of eight bytes, the first byte lowest, as the processors do that we run on.
"""

from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from omop_inc.compiled import ABSENT, ESCAPED, KEPT, METHOD, NOT_ASCII, PERIOD_END, PERIOD_START, SPECIAL

# Bytes looked at together; a bit for each fits a word.
_WIDTH = 64
_WORD_BYTES = 8

_COMMA, _LINE_END, _QUOTE, _RETURN, _ZERO, _BACKSLASH, _PLUS, _DIGIT_0, _DIGIT_9, _LETTER_A = (ord(mark) for mark in ',\n"\r\0\\+09a')


def _word(text: bytes) -> int:
    return int.from_bytes(text, "little")


_COPAY, _ECHECK, _OTHER = _word(b"COPAY"), _word(b"ECHECK"), _word(b"OTHER")
_COPAY_BYTES, _ECHECK_BYTES, _OTHER_BYTES = 5, 6, 5
_JANUARY, _DECEMBER = _word(b"-01-01T0"), _word(b"-12-31T2")
_FIRST_INSTANT, _LAST_SECOND = _word(b"0:00:00Z"), _word(b"3:59:59Z")
_OPEN_END, _OPEN_END_REST = _word(b"29227899"), _word(b"4-")
_OPEN_END_REST_BYTES = 2
_YEAR_BYTES = 4

# Integers wrap and nothing is divided by zero: no loop can fail.
_OPTIONS: dict[str, Any] = {"error_model": "numpy", "_nrt": False}
_loop = numba.njit(forceinline=True, **_OPTIONS)


def _exported(count: int) -> Callable[..., Any]:
    """Compile a loop of so many arguments for callers outside."""
    return numba.cfunc(types.int64(*[types.int64] * count), **_OPTIONS)  # type: ignore[no-any-return]


def _reads(bits: int, kind: Any) -> Any:
    """Make a function that reads a number at an address, aligned or not."""

    def read(typing_context: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            found = builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))
            found.align = 1
            return builder.zext(found, ir.IntType(64)) if bits < 64 else found

        return kind(types.int64), generate

    return intrinsic(read)


def _writes(bits: int, kind: Any) -> Any:
    """Make a function that writes a number at an address, aligned or not."""

    def write(typing_context: Any, place: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.trunc(arguments[1], ir.IntType(bits)) if bits < 64 else arguments[1]
            builder.store(value, builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, kind), generate

    return intrinsic(write)


_byte_at, _put_byte = _reads(8, types.int64), _writes(8, types.int64)
_number_at, _put_number_at = _reads(64, types.int64), _writes(64, types.int64)
_bits_at, _put_bits_at = _reads(64, types.uint64), _writes(64, types.uint64)


@intrinsic
def _hash(typing_context: Any, function: Any, place: Any, size: Any, seed: Any, found: Any) -> Any:
    """Call XXH3_128bits_withSeed at an address; the high and the low half are written to `found`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        kind = ir.FunctionType(ir.LiteralStructType([word, word]), [word, word, word])
        halves = builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), arguments[1:4])
        high = builder.inttoptr(arguments[4], word.as_pointer())
        builder.store(builder.extract_value(halves, 1), high)
        builder.store(builder.extract_value(halves, 0), builder.gep(high, [ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@intrinsic
def _where(typing_context: Any, place: Any, byte: Any) -> Any:
    """Say which of the 64 bytes from an address on are equal to a byte: bit n of the n-th."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, number = ir.VectorType(ir.IntType(8), _WIDTH), ir.IntType(32)
        found = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
        found.align = 1
        nothing = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(nothing, builder.trunc(arguments[1], ir.IntType(8)), ir.Constant(number, 0))
        every = builder.shuffle_vector(one, nothing, ir.Constant(ir.VectorType(number, _WIDTH), [0] * _WIDTH))
        return builder.bitcast(builder.icmp_unsigned("==", found, every), ir.IntType(64))

    return types.uint64(types.int64, types.int64), generate


@intrinsic
def _above(typing_context: Any, place: Any) -> Any:
    """Say which of the 64 bytes from an address on are above 127."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), _WIDTH)
        found = builder.load(builder.inttoptr(arguments[0], vector.as_pointer()))
        found.align = 1
        return builder.bitcast(builder.icmp_signed("<", found, ir.Constant(vector, [0] * _WIDTH)), ir.IntType(64))

    return types.uint64(types.int64), generate


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

    return types.void(types.int64, types.int64, types.int64), generate


@_loop
def _bit(number):
    """The bit of a number below 64, as a word."""
    return numba.uint64(1) << numba.uint64(number)


@_exported(2)
def look(block, size):
    """Say what stands anywhere in some bytes: SPECIAL, ESCAPED and NOT_ASCII, or-ed."""
    special = escaped = beyond = numba.uint64(0)
    whole = size - size % _WIDTH
    for place in range(block, block + whole, _WIDTH):
        special |= _where(place, _QUOTE) | _where(place, _RETURN) | _where(place, _ZERO)
        escaped |= _where(place, _BACKSLASH)
        beyond |= _above(place)
    for place in range(block + whole, block + size):
        byte = _byte_at(place)
        special |= numba.uint64(byte == _QUOTE or byte == _RETURN or byte == _ZERO)  # noqa: SIM109 - a tuple would be allocated
        escaped |= numba.uint64(byte == _BACKSLASH)
        beyond |= numba.uint64(byte > 127)
    return (SPECIAL if special else 0) | (ESCAPED if escaped else 0) | (NOT_ASCII if beyond else 0)


@_loop
def _field_ends(place, end):
    """Say which of the 64 bytes from an address on end a field; from the end on none does."""
    if place + _WIDTH <= end:
        return _where(place, _COMMA) | _where(place, _LINE_END)
    found = numba.uint64(0)
    for number in range(end - place):
        byte = _byte_at(place + number)
        if byte == _COMMA or byte == _LINE_END:  # noqa: SIM109 - as above
            found |= _bit(number)
    return found


@_loop
def _is_at(place, word, count):
    """Whether the bytes from an address on are the first ones of a word."""
    for number in range(count):  # noqa: SIM110 - numba does not compile a generator
        if _byte_at(place + number) != (word >> (8 * number)) & 255:
            return False
    return True


@_loop
def _put_word(target, word, count):
    """Write the first bytes of a word; the address behind them."""
    for number in range(count):
        _put_byte(target + number, word >> (8 * number))
    return target + count


@_loop
def _is_year(place, size):
    if size != _YEAR_BYTES:
        return False
    for at in range(place, place + size):  # noqa: SIM110 - as above
        if _byte_at(at) < _DIGIT_0 or _byte_at(at) > _DIGIT_9:
            return False
    return True


@_loop
def _is_open_end(place, size):
    if size and _byte_at(place) == _PLUS:
        place, size = place + 1, size - 1
    rest = place + _WORD_BYTES
    return size >= _WORD_BYTES + _OPEN_END_REST_BYTES and _is_at(place, _OPEN_END, _WORD_BYTES) and _is_at(rest, _OPEN_END_REST, _OPEN_END_REST_BYTES)


@_loop
def _is_drawn_method(place, size):
    """Whether each export draws this METHOD anew."""
    is_stable = (size == _COPAY_BYTES and _is_at(place, _COPAY, size)) or (size == _ECHECK_BYTES and _is_at(place, _ECHECK, size))
    return size > 0 and not is_stable


@_loop
def _put_folded(place, size, fold, target):
    """Write a field as its fold has it (hashing.FOLDS); the address behind it."""
    if fold == METHOD and _is_drawn_method(place, size):
        return _put_word(target, _OTHER, _OTHER_BYTES)
    if fold == PERIOD_END and _is_open_end(place, size):
        return target
    _copy(target, place, size)
    target += size
    if fold == PERIOD_START and _is_year(place, size):
        return _put_word(_put_word(target, _JANUARY, _WORD_BYTES), _FIRST_INSTANT, _WORD_BYTES)
    if fold == PERIOD_END and _is_year(place, size):
        return _put_word(_put_word(target, _DECEMBER, _WORD_BYTES), _LAST_SECOND, _WORD_BYTES)
    return target


@_loop
def _put_line(line, field_ends, pieces, piece_count, target):
    """Put a canonical line together from runs of a line's fields; the address behind it."""
    for number in range(piece_count):
        piece = pieces + 3 * _WORD_BYTES * number
        first, last, fold = _number_at(piece), _number_at(piece + _WORD_BYTES), _number_at(piece + 2 * _WORD_BYTES)
        if number:
            _put_byte(target, _COMMA)
            target += 1
        if fold == ABSENT:
            for _ in range(last - 1):
                _put_byte(target, _COMMA)
                target += 1
            continue
        begin = _number_at(field_ends + _WORD_BYTES * (first - 1)) + 1 if first else line
        size = _number_at(field_ends + _WORD_BYTES * last) - begin
        if fold == KEPT:
            _copy(target, begin, size)
            target += size
        else:
            target = _put_folded(begin, size, fold, target)
    return target


@_exported(12)
def cut_lines(block, size, width, pieces, piece_count, field_ends, starts, target, line_ends, function, seed, hashes):
    """Cut plain lines into canonical lines and hash these.

    Args:
        block: Whole lines, without quotes.
        size: Their bytes.
        width: Fields that each must have.
        pieces: What a canonical line is put together from, three numbers each: first and last field and how it is folded; of
            ABSENT how many columns in place of the last field. Of none, a line is its own canonical line.
        piece_count: How many.
        field_ends: Room for `width` numbers.
        starts: Takes where in the block each line starts.
        target: Takes the canonical lines with their line ends; long enough. Unused if there are no pieces.
        line_ends: Takes where each canonical line ends.
        function: Address of XXH3_128bits_withSeed; 0 leaves the hashes as they are.
        seed: Of the hash.
        hashes: Takes the high and low 64 bits of each.

    Returns:
        The number of lines; -1 if one has not `width` fields.
    """
    count = field = 0
    line = start = block
    place = target
    for at in range(block, block + size, _WIDTH):
        found = _field_ends(at, block + size)
        while found:
            end = at + _first(found)
            found &= found - numba.uint64(1)
            if field == width:
                return -1
            _put_number_at(field_ends + _WORD_BYTES * field, end)
            field += 1
            if _byte_at(end) == _COMMA:
                continue
            if field != width:
                return -1
            offset = _WORD_BYTES * count
            _put_number_at(starts + offset, start - block)
            if piece_count:
                line, place = place, _put_line(start, field_ends, pieces, piece_count, place)
                length = place - line
                _put_number_at(line_ends + offset, place - target)
                _put_byte(place, _LINE_END)
                place += 1
            else:
                line, length = start, end - start
                _put_number_at(line_ends + offset, end - block)
            if function:
                _hash(function, line, length, seed, hashes + 2 * offset)
            count += 1
            start = end + 1
            field = 0
    return count


@_loop
def _put_number(number, target):
    """Write a number from 0 in decimal digits; the address behind it."""
    end, rest = target + 1, number // 10
    while rest:
        end += 1
        rest //= 10
    rest = number
    for place in range(end - 1, target - 1, -1):
        _put_byte(place, _DIGIT_0 + rest % 10)
        rest //= 10
    return end


@_loop
def _put_hex(word, target):
    """Write 64 bits as 16 hexadecimal digits; the address behind them."""
    for number in range(16):
        digit = numba.int64((word >> numba.uint64(60 - 4 * number)) & numba.uint64(15))
        _put_byte(target + number, digit + (_DIGIT_0 if digit < 10 else _LETTER_A - 10))
    return target + 16


@_exported(8)
def put_rows(rows, count, lines, line_ends, hashes, ids, has_ids, target):
    """Write lines for COPY, each behind its id and the hexadecimal digits of its hash.

    Args:
        rows: Which lines, numbers.
        count: How many these are.
        lines: All lines with their line ends.
        line_ends: Where each ends.
        hashes: Of each line, high and low 64 bits.
        ids: Of each row, from 0.
        has_ids: Whether there are any; else that field is empty.
        target: Takes the rows; long enough.

    Returns:
        How many bytes were written.
    """
    place = target
    for number in range(count):
        row = _number_at(rows + _WORD_BYTES * number)
        if has_ids:
            place = _put_number(_number_at(ids + _WORD_BYTES * number), place)
        _put_byte(place, _COMMA)
        place = _put_hex(_bits_at(hashes + 2 * _WORD_BYTES * row), place + 1)
        place = _put_hex(_bits_at(hashes + 2 * _WORD_BYTES * row + _WORD_BYTES), place)
        _put_byte(place, _COMMA)
        place += 1
        start = lines + _number_at(line_ends + _WORD_BYTES * (row - 1)) + 1 if row else lines
        size = lines + _number_at(line_ends + _WORD_BYTES * row) + 1 - start
        _copy(place, start, size)
        place += size
    return place - target


LOOPS = {"look": look, "cut_lines": cut_lines, "put_rows": put_rows}
