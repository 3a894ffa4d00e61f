"""Cutting the lines of a block into canonical lines, and hashing these.

Belongs here: the loop over every byte that is read. Does not: what a canonical line is (source/lines.py says the same in Python).
"""

import numba

from omop_inc.compiled import ABSENT, ESCAPED, KEPT, METHOD, NOT_ASCII, PERIOD_END, PERIOD_START, SPECIAL
from omop_inc.loops.primitives import (
    BACKSLASH,
    COMMA,
    LAST_ASCII,
    LINE_END,
    PLUS,
    QUOTE,
    RETURN,
    WIDTH,
    WORD_BYTES,
    ZERO,
    as_word,
    byte_at,
    copy_bytes,
    count_digits,
    exported,
    find_byte,
    find_field_ends,
    find_not_ascii,
    hash_line,
    loop,
    lowest_bit,
    number_at,
    put_byte,
    put_number_at,
)

_COPAY, _ECHECK, _OTHER = as_word(b"COPAY"), as_word(b"ECHECK"), as_word(b"OTHER")
_COPAY_BYTES, _ECHECK_BYTES, _OTHER_BYTES = 5, 6, 5
_JANUARY, _DECEMBER = as_word(b"-01-01T0"), as_word(b"-12-31T2")
_FIRST_INSTANT, _LAST_SECOND = as_word(b"0:00:00Z"), as_word(b"3:59:59Z")
_OPEN_END, _OPEN_END_REST = as_word(b"29227899"), as_word(b"4-")
_OPEN_END_REST_BYTES = 2
_YEAR_BYTES = 4


@loop
def _marks(place, end):
    """Say what stands in fewer than 64 bytes, byte by byte: SPECIAL, ESCAPED and NOT_ASCII, or-ed."""
    found = 0
    for at in range(place, end):
        byte = byte_at(at)
        if byte == QUOTE or byte == RETURN or byte == ZERO:  # noqa: SIM109 - a tuple would be allocated
            found |= SPECIAL
        if byte == BACKSLASH:
            found |= ESCAPED
        if byte > LAST_ASCII:
            found |= NOT_ASCII
    return found


@loop
def _is_at(place, word, count):
    """Whether the bytes from an address on are the first ones of a word."""
    for number in range(count):  # noqa: SIM110 - numba does not compile a generator
        if byte_at(place + number) != (word >> (8 * number)) & 255:
            return False
    return True


@loop
def _put_word(target, word, count):
    """Write the first bytes of a word; the address behind them."""
    for number in range(count):
        put_byte(target + number, word >> (8 * number))
    return target + count


@loop
def _is_year(place, size):
    return size == _YEAR_BYTES and count_digits(place, place + size) == size


@loop
def _is_open_end(place, size):
    if size and byte_at(place) == PLUS:
        place, size = place + 1, size - 1
    rest = place + WORD_BYTES
    return size >= WORD_BYTES + _OPEN_END_REST_BYTES and _is_at(place, _OPEN_END, WORD_BYTES) and _is_at(rest, _OPEN_END_REST, _OPEN_END_REST_BYTES)


@loop
def _is_drawn_method(place, size):
    """Whether each export draws this METHOD anew."""
    is_stable = (size == _COPAY_BYTES and _is_at(place, _COPAY, size)) or (size == _ECHECK_BYTES and _is_at(place, _ECHECK, size))
    return size > 0 and not is_stable


@loop
def _put_folded(place, size, fold, target):
    """Write a field as its fold has it (hashing.FOLDS); the address behind it."""
    if fold == METHOD and _is_drawn_method(place, size):
        return _put_word(target, _OTHER, _OTHER_BYTES)
    if fold == PERIOD_END and _is_open_end(place, size):
        return target
    copy_bytes(target, place, size)
    target += size
    if fold == PERIOD_START and _is_year(place, size):
        return _put_word(_put_word(target, _JANUARY, WORD_BYTES), _FIRST_INSTANT, WORD_BYTES)
    if fold == PERIOD_END and _is_year(place, size):
        return _put_word(_put_word(target, _DECEMBER, WORD_BYTES), _LAST_SECOND, WORD_BYTES)
    return target


@loop
def _put_line(line, field_ends, pieces, piece_count, target):
    """Put a canonical line together from runs of a line's fields; the address behind it."""
    for number in range(piece_count):
        piece = pieces + 3 * WORD_BYTES * number
        first, last, fold = number_at(piece), number_at(piece + WORD_BYTES), number_at(piece + 2 * WORD_BYTES)
        if number:
            put_byte(target, COMMA)
            target += 1
        if fold == ABSENT:
            for _ in range(last - 1):
                put_byte(target, COMMA)
                target += 1
            continue
        begin = number_at(field_ends + WORD_BYTES * (first - 1)) + 1 if first else line
        size = number_at(field_ends + WORD_BYTES * last) - begin
        if fold == KEPT:
            copy_bytes(target, begin, size)
            target += size
        else:
            target = _put_folded(begin, size, fold, target)
    return target


@exported(13)
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
    whole = size - size % WIDTH
    for at in range(block, block + size, WIDTH):
        found = find_field_ends(at, block + size)
        if at < block + whole:
            special |= find_byte(at, QUOTE) | find_byte(at, RETURN) | find_byte(at, ZERO)
            escaped |= find_byte(at, BACKSLASH)
            beyond |= find_not_ascii(at)
        while found:
            end = at + lowest_bit(found)
            found &= found - numba.uint64(1)
            if field == width:
                return -1
            put_number_at(field_ends + WORD_BYTES * field, end)
            field += 1
            if byte_at(end) == COMMA:
                continue
            if field != width:
                return -1
            offset = WORD_BYTES * count
            put_number_at(starts + offset, start - block)
            if piece_count:
                line, place = place, _put_line(start, field_ends, pieces, piece_count, place)
                length = place - line
                put_number_at(line_ends + offset, place - target)
                put_byte(place, LINE_END)
                place += 1
            else:
                line, length = start, end - start
                put_number_at(line_ends + offset, end - block)
            if function:
                hash_line(function, line, length, seed, hashes + 2 * offset)
            count += 1
            start = end + 1
            field = 0
    rest = _marks(block + whole, block + size)
    put_number_at(marks, rest | (SPECIAL if special else 0) | (ESCAPED if escaped else 0) | (NOT_ASCII if beyond else 0))
    return count
