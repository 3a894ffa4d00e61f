"""Writing canonical lines for COPY, as text and as binary tuples.

Belongs here: ids, hashes and values as PostgreSQL reads them. Does not: which rows are written (store/staging.py), what a valid value
is (source/validation.py, of which the tuples take a part).
"""

import numba

from omop_inc.compiled import DATE, NUMERIC, REQUIRED, TEXT, TIMESTAMP, UNREAD, UUID
from omop_inc.loops.primitives import (
    COLON,
    COMMA,
    DASH,
    DIGIT_0,
    LETTER_A,
    LETTER_T,
    LETTER_Z,
    PLUS,
    POINT,
    WIDTH,
    WORD_BYTES,
    bits_at,
    byte_at,
    copy_bytes,
    count_digits,
    exported,
    find_field_ends,
    half_bits_at,
    loop,
    lowest_bit,
    number_at,
    one_bit,
    put_16,
    put_32,
    put_64,
    put_bits_64,
    put_byte,
    put_half_bits,
)

_UUID_BYTES, _DATE_BYTES, _LONGEST_INTEGER, _LARGEST_INTEGER = 36, 10, 10, (1 << 31) - 1
_EACH = numba.uint64(0x0101010101010101)  # times a byte: that byte everywhere
_NO_DAY = -(1 << 40)
_DAYS_TO_2000 = 730_425  # from 0000-03-01
# PostgreSQL's numeric: groups of four decimal digits. So many digits before and behind the point fit 64 bits.
_GROUP, _NEGATIVE, _MOST_DIGITS = 10_000, 0x4000, 16


@loop
def _put_number(number, target):
    """Write a number from 0 in decimal digits; the address behind it."""
    end, rest = target + 1, number // 10
    while rest:
        end += 1
        rest //= 10
    rest = number
    for place in range(end - 1, target - 1, -1):
        put_byte(place, DIGIT_0 + rest % 10)
        rest //= 10
    return end


@loop
def _put_hex(word, target):
    """Write 64 bits as 16 hexadecimal digits; the address behind them."""
    for number in range(16):
        digit = numba.int64((word >> numba.uint64(60 - 4 * number)) & numba.uint64(15))
        put_byte(target + number, digit + (DIGIT_0 if digit < 10 else LETTER_A - 10))
    return target + 16


@exported(8)
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
        row = number_at(rows + WORD_BYTES * number)
        if has_ids:
            place = _put_number(number_at(ids + WORD_BYTES * number), place)
        put_byte(place, COMMA)
        place = _put_hex(bits_at(hashes + 2 * WORD_BYTES * row), place + 1)
        place = _put_hex(bits_at(hashes + 2 * WORD_BYTES * row + WORD_BYTES), place)
        put_byte(place, COMMA)
        place += 1
        start = lines + number_at(line_ends + WORD_BYTES * (row - 1)) + 1 if row else lines
        size = lines + number_at(line_ends + WORD_BYTES * row) + 1 - start
        copy_bytes(place, start, size)
        place += size
    return place - target


@loop
def _digits(place, count):
    """The number that some decimal digits are; -1 if one is none."""
    number = 0
    for at in range(place, place + count):
        digit = byte_at(at) - DIGIT_0
        if digit < 0 or digit > 9:
            return -1
        number = 10 * number + digit
    return number


@loop
def _put_nibbles(word, target):
    """Write the four bytes that eight hexadecimal digits are; whether they are such digits. Each byte of the word is one."""
    is_letter = (word >> numba.uint64(6)) & _EACH
    nibbles = (word & (_EACH * numba.uint64(15))) + is_letter * numba.uint64(9)
    is_above_9 = ((nibbles + _EACH * numba.uint64(6)) >> numba.uint64(4)) & _EACH
    expected = nibbles + _EACH * numba.uint64(DIGIT_0) + is_letter * numba.uint64(LETTER_A - DIGIT_0 - 10)
    is_right = is_above_9 == is_letter and expected == word | (is_letter << numba.uint64(5)) and not nibbles & (_EACH * numba.uint64(240))
    pairs = ((nibbles << numba.uint64(4)) | (nibbles >> numba.uint64(8))) & numba.uint64(0x00FF00FF00FF00FF)
    pairs = (pairs | (pairs >> numba.uint64(8))) & numba.uint64(0x0000FFFF0000FFFF)
    put_half_bits(target, pairs | (pairs >> numba.uint64(16)))
    return is_right


@loop
def _put_uuid(place, size, target):
    if size != _UUID_BYTES or not (byte_at(place + 8) == byte_at(place + 13) == byte_at(place + 18) == byte_at(place + 23) == DASH):
        return -1
    half = numba.uint64(32)
    middle = half_bits_at(place + 9) | (half_bits_at(place + 14) << half)
    behind = half_bits_at(place + 19) | (half_bits_at(place + 24) << half)
    is_right = _put_nibbles(bits_at(place), target) and _put_nibbles(middle, target + 4)
    if not (is_right and _put_nibbles(behind, target + 8) and _put_nibbles(bits_at(place + 28), target + 12)):
        return -1
    return 16


@loop
def _days(place, size):
    """The days from 2000-01-01 to the date at the start of a text; NO_DAY if there is none."""
    if size < _DATE_BYTES or byte_at(place + 4) != DASH or byte_at(place + 7) != DASH:
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


@loop
def _microseconds(place, size):
    """The microseconds of the time of day behind a date, which may be missing; -1 if it is none."""
    if size == _DATE_BYTES:
        return 0
    if size < _DATE_BYTES + 9 or byte_at(place + 10) != LETTER_T or byte_at(place + 13) != COLON or byte_at(place + 16) != COLON:
        return -1
    hour, minute, second = _digits(place + 11, 2), _digits(place + 14, 2), _digits(place + 17, 2)
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return -1
    at, end, fraction = place + 19, place + size, 0
    if at < end and byte_at(at) == POINT:
        count = count_digits(at + 1, end)
        if count < 1 or count > 6:
            return -1
        fraction = _digits(at + 1, count)
        for _ in range(6 - count):
            fraction *= 10
        at += 1 + count
    if at < end and byte_at(at) == LETTER_Z:
        at += 1
    return 1_000_000 * (60 * (60 * hour + minute) + second) + fraction if at == end else -1


@loop
def _put_date(place, size, target):
    days = _days(place, size)
    if days == _NO_DAY or _microseconds(place, size) < 0:
        return -1
    put_32(target, days)
    return 4


@loop
def _put_timestamp(place, size, target):
    days, microseconds = _days(place, size), _microseconds(place, size)
    if days == _NO_DAY or microseconds < 0:
        return -1
    put_64(target, 86_400_000_000 * days + microseconds)
    return 8


@loop
def _is_sign(byte):
    return byte == PLUS or byte == DASH  # noqa: SIM109, PLR1714 - a tuple would be allocated


@loop
def _put_integer(place, size, target):
    is_signed = _is_sign(byte_at(place))
    count = size - is_signed
    number = _digits(place + is_signed, count)
    if count < 1 or count > _LONGEST_INTEGER or number < 0 or number > _LARGEST_INTEGER:
        return -1
    put_64(target, -number if byte_at(place) == DASH else number)
    return 8


@loop
def _count_behind_point(place, end):
    """How many digits stand behind a point, if nothing else stands from a place on; -1 if there is more."""
    if place == end:
        return 0
    count = count_digits(place + 1, end)
    return count if byte_at(place) == POINT and place + 1 + count == end else -1


@loop
def _put_groups(number, count, target):
    """Write a number in groups of four decimal digits."""
    for group in range(count - 1, -1, -1):
        put_16(target + 2 * group, number % _GROUP)
        number //= _GROUP


@loop
def _put_numeric(place, size, target):
    """Write a number as groups of four decimal digits before and behind the point; the server leaves out groups of zeros."""
    end, sign = place + size, byte_at(place)
    start = place + _is_sign(sign)
    before = count_digits(start, end)
    after = _count_behind_point(start + before, end)
    if after < 0 or before + after < 1 or before > _MOST_DIGITS or after > _MOST_DIGITS:
        return -1
    whole_groups, fraction_groups = (before + 3) // 4, (after + 3) // 4
    fraction = _digits(start + before + 1, after)
    for _ in range(4 * fraction_groups - after):
        fraction *= 10
    put_16(target, whole_groups + fraction_groups)
    put_16(target + 2, whole_groups - 1)
    put_16(target + 4, _NEGATIVE if sign == DASH else 0)
    put_16(target + 6, after)
    _put_groups(_digits(start, before), whole_groups, target + 8)
    _put_groups(fraction, fraction_groups, target + 8 + 2 * whole_groups)
    return 8 + 2 * (whole_groups + fraction_groups)


@loop
def _put_value(kind, place, size, target):
    """Write a field's value behind room for its length; the length, or -1 if it is no value of its type."""
    if kind == TEXT:
        copy_bytes(target, place, size)
        return size
    if kind == UNREAD:
        return 0
    if kind == UUID:
        return _put_uuid(place, size, target)
    if kind == TIMESTAMP:
        return _put_timestamp(place, size, target)
    if kind == DATE:
        return _put_date(place, size, target)
    if kind == NUMERIC:
        return _put_numeric(place, size, target)
    return _put_integer(place, size, target)


@loop
def _put_fields(line, end, limit, kinds, count, target):
    """Write the fields of a line; the address behind them, 0 if there are not `count` or one is no value of its type, or misses."""
    field, start = 0, line
    for at in range(line, end + 1, WIDTH):
        found = find_field_ends(at, limit)
        if end + 1 - at < WIDTH:
            found &= one_bit(end + 1 - at) - numba.uint64(1)
        while found:
            stop = at + lowest_bit(found)
            found &= found - numba.uint64(1)
            if field == count:
                return 0
            kind = byte_at(kinds + field)
            size = _put_value(kind & ~REQUIRED, start, stop - start, target + 4) if stop > start else -1
            if size < 0 and (stop > start or kind & REQUIRED):
                return 0
            put_32(target, size)
            target += 4 + max(size, 0)
            field += 1
            start = stop + 1
    return target if field == count else 0


@exported(11)
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
        kinds: Of each field its type, a byte each, REQUIRED or-ed to it if it may not be empty.
        kind_count: How many.
        target: Takes the tuples; long enough.

    Returns:
        How many bytes were written; -1 if a field is no value of its type as it is written here.
    """
    place = target
    for number in range(count):
        row = number_at(rows + WORD_BYTES * number)
        put_16(place, kind_count + 2)
        place += 2
        if has_ids:
            put_32(place, 8)
            put_64(place + 4, number_at(ids + WORD_BYTES * number))
            place += 12
        else:
            put_32(place, -1)
            place += 4
        put_32(place, 16)
        put_bits_64(place + 4, bits_at(hashes + 2 * WORD_BYTES * row))
        put_bits_64(place + 12, bits_at(hashes + 2 * WORD_BYTES * row + WORD_BYTES))
        start = lines + number_at(line_ends + WORD_BYTES * (row - 1)) + 1 if row else lines
        end = lines + number_at(line_ends + WORD_BYTES * row)
        place = _put_fields(start, end, lines + size, kinds, kind_count, place + 20)
        if not place:
            return -1
    return place - target


@exported(7)
def are_plain(count, lines, size, line_ends, kinds, kind_count, room):
    """Say whether put_tuples writes every one of some lines.

    Args:
        count: How many lines.
        lines: These with their line ends, without quotes.
        size: Their bytes.
        line_ends: Where each ends.
        kinds: As of put_tuples; what is UNREAD may be anything.
        kind_count: How many.
        room: For one line's values; what is UNREAD takes none.

    Returns:
        1 if so, else 0.
    """
    start = lines
    for number in range(count):
        end = lines + number_at(line_ends + WORD_BYTES * number)
        if not _put_fields(start, end, lines + size, kinds, kind_count, room):
            return 0
        start = end + 1
    return 1
