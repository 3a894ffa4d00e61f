"""The loops over every byte of an export, written for numba: cutting and hashing lines, and writing them for COPY, as text and binary.

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

from omop_inc.compiled import (
    ABSENT,
    DATE,
    ESCAPED,
    KEPT,
    METHOD,
    NOT_ASCII,
    NUMERIC,
    PERIOD_END,
    PERIOD_START,
    SPECIAL,
    TEXT,
    TIMESTAMP,
    UUID,
)

# Bytes looked at together; a bit for each fits a word.
_WIDTH = 64
_WORD_BYTES = 8

_COMMA, _LINE_END, _QUOTE, _RETURN, _ZERO, _BACKSLASH, _PLUS, _DASH = (ord(mark) for mark in ',\n"\r\0\\+-')
_DIGIT_0, _DIGIT_9, _LETTER_A, _LETTER_T, _LETTER_Z, _COLON, _POINT = (ord(mark) for mark in "09aTZ:.")
_LAST_ASCII = 127


def _word(text: bytes) -> int:
    return int.from_bytes(text, "little")


_COPAY, _ECHECK, _OTHER = _word(b"COPAY"), _word(b"ECHECK"), _word(b"OTHER")
_COPAY_BYTES, _ECHECK_BYTES, _OTHER_BYTES = 5, 6, 5
_JANUARY, _DECEMBER = _word(b"-01-01T0"), _word(b"-12-31T2")
_FIRST_INSTANT, _LAST_SECOND = _word(b"0:00:00Z"), _word(b"3:59:59Z")
_OPEN_END, _OPEN_END_REST = _word(b"29227899"), _word(b"4-")
_OPEN_END_REST_BYTES = 2
_YEAR_BYTES = 4

_UUID_BYTES, _DATE_BYTES, _LONGEST_INTEGER = 36, 10, 10
_EACH = numba.uint64(0x0101010101010101)  # times a byte: that byte everywhere
_NO_DAY = -(1 << 40)
_DAYS_TO_2000 = 730_425  # from 0000-03-01
# PostgreSQL's numeric: groups of four decimal digits. So many digits before and behind the point fit 64 bits.
_GROUP, _NEGATIVE, _MOST_DIGITS = 10_000, 0x4000, 16

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


def _writes(bits: int, kind: Any, *, is_swapped: bool = False) -> Any:
    """Make a function that writes a number at an address, aligned or not; swapped, its highest byte first."""

    def write(typing_context: Any, place: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value = builder.trunc(arguments[1], ir.IntType(bits)) if bits < 64 else arguments[1]
            value = builder.bswap(value) if is_swapped else value
            builder.store(value, builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer())).align = 1
            return context.get_dummy_value()

        return types.void(types.int64, kind), generate

    return intrinsic(write)


_byte_at, _put_byte = _reads(8, types.int64), _writes(8, types.int64)
_number_at, _put_number_at = _reads(64, types.int64), _writes(64, types.int64)
_bits_at = _reads(64, types.uint64)
_half_bits_at, _put_half_bits = _reads(32, types.uint64), _writes(32, types.uint64)
# As PostgreSQL's binary COPY has them: the highest byte first.
_put_16, _put_32, _put_64 = (_writes(bits, types.int64, is_swapped=True) for bits in (16, 32, 64))
_put_bits_64 = _writes(64, types.uint64, is_swapped=True)


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


@_loop
def _marks(place, end):
    """Say what stands in fewer than 64 bytes, byte by byte: SPECIAL, ESCAPED and NOT_ASCII, or-ed."""
    found = 0
    for at in range(place, end):
        byte = _byte_at(at)
        if byte == _QUOTE or byte == _RETURN or byte == _ZERO:  # noqa: SIM109 - a tuple would be allocated
            found |= SPECIAL
        if byte == _BACKSLASH:
            found |= ESCAPED
        if byte > _LAST_ASCII:
            found |= NOT_ASCII
    return found


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
def _count_digits(place, end):
    """How many decimal digits stand from a place on."""
    at = place
    while at < end and _DIGIT_0 <= _byte_at(at) <= _DIGIT_9:
        at += 1
    return at - place


@_loop
def _is_year(place, size):
    return size == _YEAR_BYTES and _count_digits(place, place + size) == size


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


@_exported(13)
def cut_lines(block, size, width, pieces, piece_count, field_ends, starts, target, line_ends, function, seed, hashes, marks):
    """Cut plain lines into canonical lines and hash these, and say what stands anywhere in them.

    Args:
        block: Whole lines; a comma or line end within quotes counts as any other.
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
        marks: Takes SPECIAL, ESCAPED and NOT_ASCII, or-ed.

    Returns:
        The number of lines; -1 if one has not `width` fields.
    """
    count = field = 0
    line = start = block
    place = target
    special = escaped = beyond = numba.uint64(0)
    whole = size - size % _WIDTH
    for at in range(block, block + size, _WIDTH):
        found = _field_ends(at, block + size)
        if at < block + whole:
            special |= _where(at, _QUOTE) | _where(at, _RETURN) | _where(at, _ZERO)
            escaped |= _where(at, _BACKSLASH)
            beyond |= _above(at)
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
    rest = _marks(block + whole, block + size)
    _put_number_at(marks, rest | (SPECIAL if special else 0) | (ESCAPED if escaped else 0) | (NOT_ASCII if beyond else 0))
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


@_loop
def _digits(place, count):
    """The number that some decimal digits are; -1 if one is none."""
    number = 0
    for at in range(place, place + count):
        digit = _byte_at(at) - _DIGIT_0
        if digit < 0 or digit > 9:
            return -1
        number = 10 * number + digit
    return number


@_loop
def _put_nibbles(word, target):
    """Write the four bytes that eight hexadecimal digits are; whether they are such digits. Each byte of the word is one."""
    is_letter = (word >> numba.uint64(6)) & _EACH
    nibbles = (word & (_EACH * numba.uint64(15))) + is_letter * numba.uint64(9)
    is_above_9 = ((nibbles + _EACH * numba.uint64(6)) >> numba.uint64(4)) & _EACH
    expected = nibbles + _EACH * numba.uint64(_DIGIT_0) + is_letter * numba.uint64(_LETTER_A - _DIGIT_0 - 10)
    is_right = is_above_9 == is_letter and expected == word | (is_letter << numba.uint64(5)) and not nibbles & (_EACH * numba.uint64(240))
    pairs = ((nibbles << numba.uint64(4)) | (nibbles >> numba.uint64(8))) & numba.uint64(0x00FF00FF00FF00FF)
    pairs = (pairs | (pairs >> numba.uint64(8))) & numba.uint64(0x0000FFFF0000FFFF)
    _put_half_bits(target, pairs | (pairs >> numba.uint64(16)))
    return is_right


@_loop
def _put_uuid(place, size, target):
    if size != _UUID_BYTES or not (_byte_at(place + 8) == _byte_at(place + 13) == _byte_at(place + 18) == _byte_at(place + 23) == _DASH):
        return -1
    half = numba.uint64(32)
    middle = _half_bits_at(place + 9) | (_half_bits_at(place + 14) << half)
    behind = _half_bits_at(place + 19) | (_half_bits_at(place + 24) << half)
    is_right = _put_nibbles(_bits_at(place), target) and _put_nibbles(middle, target + 4)
    if not (is_right and _put_nibbles(behind, target + 8) and _put_nibbles(_bits_at(place + 28), target + 12)):
        return -1
    return 16


@_loop
def _days(place, size):
    """The days from 2000-01-01 to the date at the start of a text; NO_DAY if there is none."""
    if size < _DATE_BYTES or _byte_at(place + 4) != _DASH or _byte_at(place + 7) != _DASH:
        return _NO_DAY
    year, month, day = _digits(place, 4), _digits(place + 5, 2), _digits(place + 8, 2)
    if year < 1 or month < 1 or month > 12 or day < 1:
        return _NO_DAY
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    length = 31 - (month == 4 or month == 6 or month == 9 or month == 11)
    if month == 2:
        length = 29 if is_leap else 28
    if day > length:
        return _NO_DAY
    # Years that begin in March end with the leap day.
    from_march, years = (month + 9) % 12, year - (month < 3)
    return 365 * years + years // 4 - years // 100 + years // 400 + (153 * from_march + 2) // 5 + day - 1 - _DAYS_TO_2000


@_loop
def _microseconds(place, size):
    """The microseconds of the time of day behind a date, which may be missing; -1 if it is none."""
    if size == _DATE_BYTES:
        return 0
    if size < _DATE_BYTES + 9 or _byte_at(place + 10) != _LETTER_T or _byte_at(place + 13) != _COLON or _byte_at(place + 16) != _COLON:
        return -1
    hour, minute, second = _digits(place + 11, 2), _digits(place + 14, 2), _digits(place + 17, 2)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1
    at, end, fraction = place + 19, place + size, 0
    if at < end and _byte_at(at) == _POINT:
        count = _count_digits(at + 1, end)
        if count < 1 or count > 6:
            return -1
        fraction = _digits(at + 1, count)
        for _ in range(6 - count):
            fraction *= 10
        at += 1 + count
    if at < end and _byte_at(at) == _LETTER_Z:
        at += 1
    return 1_000_000 * (60 * (60 * hour + minute) + second) + fraction if at == end else -1


@_loop
def _put_date(place, size, target):
    days = _days(place, size)
    if days == _NO_DAY or _microseconds(place, size) < 0:
        return -1
    _put_32(target, days)
    return 4


@_loop
def _put_timestamp(place, size, target):
    days, microseconds = _days(place, size), _microseconds(place, size)
    if days == _NO_DAY or microseconds < 0:
        return -1
    _put_64(target, 86_400_000_000 * days + microseconds)
    return 8


@_loop
def _is_sign(byte):
    return byte == _PLUS or byte == _DASH  # noqa: SIM109, PLR1714 - a tuple would be allocated


@_loop
def _put_integer(place, size, target):
    is_signed = _is_sign(_byte_at(place))
    count = size - is_signed
    number = _digits(place + is_signed, count)
    if count < 1 or count > _LONGEST_INTEGER or number < 0:
        return -1
    _put_64(target, -number if _byte_at(place) == _DASH else number)
    return 8


@_loop
def _count_behind_point(place, end):
    """How many digits stand behind a point, if nothing else stands from a place on; -1 if there is more."""
    if place == end:
        return 0
    count = _count_digits(place + 1, end)
    return count if _byte_at(place) == _POINT and place + 1 + count == end else -1


@_loop
def _put_groups(number, count, target):
    """Write a number in groups of four decimal digits."""
    for group in range(count - 1, -1, -1):
        _put_16(target + 2 * group, number % _GROUP)
        number //= _GROUP


@_loop
def _put_numeric(place, size, target):
    """Write a number as groups of four decimal digits before and behind the point; the server leaves out groups of zeros."""
    end, sign = place + size, _byte_at(place)
    start = place + _is_sign(sign)
    before = _count_digits(start, end)
    after = _count_behind_point(start + before, end)
    if after < 0 or before + after < 1 or before > _MOST_DIGITS or after > _MOST_DIGITS:
        return -1
    whole_groups, fraction_groups = (before + 3) // 4, (after + 3) // 4
    fraction = _digits(start + before + 1, after)
    for _ in range(4 * fraction_groups - after):
        fraction *= 10
    _put_16(target, whole_groups + fraction_groups)
    _put_16(target + 2, whole_groups - 1)
    _put_16(target + 4, _NEGATIVE if sign == _DASH else 0)
    _put_16(target + 6, after)
    _put_groups(_digits(start, before), whole_groups, target + 8)
    _put_groups(fraction, fraction_groups, target + 8 + 2 * whole_groups)
    return 8 + 2 * (whole_groups + fraction_groups)


@_loop
def _put_value(kind, place, size, target):
    """Write a field's value behind room for its length; the length, or -1 if it is no value of its type."""
    if kind == TEXT:
        _copy(target, place, size)
        return size
    if kind == UUID:
        return _put_uuid(place, size, target)
    if kind == TIMESTAMP:
        return _put_timestamp(place, size, target)
    if kind == DATE:
        return _put_date(place, size, target)
    if kind == NUMERIC:
        return _put_numeric(place, size, target)
    return _put_integer(place, size, target)


@_loop
def _put_fields(line, end, limit, kinds, count, target):
    """Write the fields of a line; the address behind them, 0 if there are not `count` or one is no value of its type."""
    field, start = 0, line
    for at in range(line, end + 1, _WIDTH):
        found = _field_ends(at, limit)
        if end + 1 - at < _WIDTH:
            found &= _bit(end + 1 - at) - numba.uint64(1)
        while found:
            stop = at + _first(found)
            found &= found - numba.uint64(1)
            if field == count:
                return 0
            size = _put_value(_byte_at(kinds + field), start, stop - start, target + 4) if stop > start else -1
            if size < 0 and stop > start:
                return 0
            _put_32(target, size)
            target += 4 + max(size, 0)
            field += 1
            start = stop + 1
    return target if field == count else 0


@_exported(11)
def put_tuples(rows, count, lines, size, line_ends, hashes, ids, has_ids, kinds, kind_count, target):
    """Write lines as the tuples of a binary COPY, each behind its id and hash.

    Args:
        rows: Which lines, numbers.
        count: How many these are.
        lines: All lines with their line ends, without quotes.
        size: Their bytes.
        line_ends: Where each ends.
        hashes: Of each line, high and low 64 bits.
        ids: Of each row.
        has_ids: Whether there are any; else that field is NULL.
        kinds: Of each field its type, a byte each.
        kind_count: How many.
        target: Takes the tuples; long enough.

    Returns:
        How many bytes were written; -1 if a field is no value of its type as it is written here.
    """
    place = target
    for number in range(count):
        row = _number_at(rows + _WORD_BYTES * number)
        _put_16(place, kind_count + 2)
        place += 2
        if has_ids:
            _put_32(place, 8)
            _put_64(place + 4, _number_at(ids + _WORD_BYTES * number))
            place += 12
        else:
            _put_32(place, -1)
            place += 4
        _put_32(place, 16)
        _put_bits_64(place + 4, _bits_at(hashes + 2 * _WORD_BYTES * row))
        _put_bits_64(place + 12, _bits_at(hashes + 2 * _WORD_BYTES * row + _WORD_BYTES))
        start = lines + _number_at(line_ends + _WORD_BYTES * (row - 1)) + 1 if row else lines
        end = lines + _number_at(line_ends + _WORD_BYTES * row)
        place = _put_fields(start, end, lines + size, kinds, kind_count, place + 20)
        if not place:
            return -1
    return place - target


LOOPS = {"cut_lines": cut_lines, "put_rows": put_rows, "put_tuples": put_tuples}
