"""What COPY gets: id and hash before each record."""

import numpy as np

from omop_inc.store.staging import hash_hex, row_lines, text_field

HASHES = np.array([[0, 255], [(1 << 64) - 1, 1 << 63], [0x0123456789ABCDEF, 0]], dtype=np.uint64)
DIGITS = [b"%032x" % ((high << 64) + low) for high, low in HASHES.tolist()]
LINES = [b"a,b", b"", b"caf\xc3\xa9,\\\\"]


def test_hashes_are_written_as_32_digits() -> None:
    assert hash_hex(HASHES) == DIGITS
    assert hash_hex(HASHES[:0]) == []


def test_rows_have_id_hash_and_record() -> None:
    written = row_lines(np.array([7, 123_456, 1 << 52], dtype=np.int64), HASHES, LINES)
    assert written.endswith(b"\n")
    rows = [row.split(b",", 2) for row in written[:-1].split(b"\n")]
    assert [int(row[0]) for row in rows] == [7, 123_456, 1 << 52]
    assert [row[1] for row in rows] == DIGITS
    assert [row[2] for row in rows] == LINES


def test_rows_without_ids_begin_with_nothing() -> None:
    assert row_lines(None, HASHES, LINES) == b"".join(b",%b,%b\n" % pair for pair in zip(DIGITS, LINES, strict=True))


def test_no_row_is_no_byte() -> None:
    assert row_lines(None, HASHES[:0], []) == b""


def test_text_cannot_end_its_field_or_row_of_a_copy() -> None:
    assert text_field("a\\b\tc\nd\re") == rb"a\\b\tc\nd\re"
    assert text_field(b"raw\t") == rb"raw\t"
    assert (text_field(7), text_field("")) == (b"7", b"")
    assert text_field(None) == rb"\N"
