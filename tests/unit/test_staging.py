"""What COPY gets: id and hash before each record."""

import numpy as np

from omop_inc.source.lines import Lines
from omop_inc.store.staging import hash_hex, row_lines, text_field

HASHES = np.array([[0, 255], [(1 << 64) - 1, 1 << 63], [0x0123456789ABCDEF, 0]], dtype=np.uint64)
DIGITS = [b"%032x" % ((high << 64) + low) for high, low in HASHES.tolist()]
RECORDS = [b"a,b", b"", b"caf\xc3\xa9,\\\\"]
LINES = Lines.of(RECORDS)
IDS = np.array([0, 123_456, (1 << 63) - 1], dtype=np.int64)


def test_hashes_are_written_as_32_digits() -> None:
    assert hash_hex(HASHES) == DIGITS
    assert hash_hex(HASHES[:0]) == []


def test_rows_have_id_hash_and_record() -> None:
    expected = [b"%d,%b,%b\n" % row for row in zip(IDS.tolist(), DIGITS, RECORDS, strict=True)]
    assert row_lines(IDS, HASHES, LINES) == b"".join(expected)
    assert row_lines(IDS[1:], HASHES, LINES, np.array([2, 0])) == b"%d,%b,%b\n%d,%b,%b\n" % (
        123_456,
        DIGITS[2],
        RECORDS[2],
        IDS[2],
        DIGITS[0],
        RECORDS[0],
    )


def test_rows_without_ids_begin_with_nothing() -> None:
    assert row_lines(None, HASHES, LINES) == b"".join(b",%b,%b\n" % pair for pair in zip(DIGITS, RECORDS, strict=True))


def test_no_row_is_no_byte() -> None:
    assert row_lines(None, HASHES[:0], Lines.of([])) == b""


def test_text_cannot_end_its_field_or_row_of_a_copy() -> None:
    assert text_field("a\\b\tc\nd\re") == rb"a\\b\tc\nd\re"
    assert text_field(b"raw\t") == rb"raw\t"
    assert (text_field(7), text_field("")) == (b"7", b"")
    assert text_field(None) == rb"\N"
