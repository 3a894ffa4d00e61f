"""A file in parts is the same file: every record once, in order, with its line."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from omop_inc.source import parts
from omop_inc.source.digests import digest_file, join_digests, may_have
from omop_inc.source.parts import lines_before, split_file
from omop_inc.source.records import Chunk, hash_records, join_hashes, read_chunks
from tests.unit.test_records import ROWS, conditions


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 100_000)


@pytest.mark.parametrize("bad", [False, True], ids=["good", "with bad records"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_parts_hold_the_records_of_the_whole(tmp_path: Path, end: bytes, bad: bool) -> None:
    records = [*ROWS * 4_000, *[b"too,few"] * bad, *ROWS * 5_000]
    file = conditions(tmp_path, *records, end=end)
    cut = split_file(file)
    assert len(cut) > 5
    assert [(part.start, part.end) for part in cut if part] == sorted((part.start, part.end) for part in cut if part)
    whole = hash_records(file).hashes
    assert (np.concatenate([hash_records(file, part).hashes for part in cut]) == whole).all()
    numbers = [n for part in cut for chunk in read_chunks(file, part) for n in (chunk.line_numbers + lines_before(file, part)).tolist()]
    assert numbers == [n for chunk in read_chunks(file) for n in chunk.line_numbers.tolist()]
    lines = [bad.line + lines_before(file, part) for part in cut for chunk in read_chunks(file, part) for bad in chunk.bad]
    assert lines == [16_002] * bad


@pytest.mark.parametrize("wanted", [[], [0], [16_001], [3, 4, 9_000, 35_999], range(36_000)], ids=["none", "first", "bad", "some", "all"])
def test_wanted_records_are_found_by_the_places_of_their_blocks(tmp_path: Path, wanted: list[int]) -> None:
    file = conditions(tmp_path, *ROWS[:1] * 16_001, b"too,few", *[b"%d" % n + ROWS[1][4:] for n in range(2000, 21_998)], end=b"\r\n")
    joined = join_hashes([hash_records(file, part) for part in split_file(file)])
    assert (joined.hashes == hash_records(file).hashes).all()
    assert joined.bad_count == 1
    assert len(joined.places) > 5
    want = np.isin(np.arange(len(joined.hashes)), wanted)

    def told(chunks: Iterator[Chunk]) -> list[object]:
        return [[c.indexes.tolist(), c.line_numbers.tolist(), c.lines, c.hashes.tolist(), c.bad] for c in chunks]

    assert told(read_chunks(file, want=want, places=joined.places)) == told(read_chunks(file, want=want))


def test_parts_tell_that_a_quote_is_there(tmp_path: Path) -> None:
    file = conditions(tmp_path, *ROWS * 9_000, b'2020-01-01,,p1,e1,,1,"a\nb"')
    assert digest_file(file).has_quotes
    hashes = join_hashes([hash_records(file, part) for part in split_file(file)])
    assert any(part.has_quotes for part in hashes.digests)
    assert join_digests(hashes.digests) == digest_file(file)


def test_a_files_digest_is_that_of_its_parts_and_tells_its_size(tmp_path: Path) -> None:
    file = conditions(tmp_path, *ROWS * 9_000)
    digest = digest_file(file)
    assert join_digests(join_hashes([hash_records(file, part) for part in split_file(file)]).digests) == digest
    assert may_have(file, digest.digest)
    assert not may_have(file, None)
    other = conditions(tmp_path, *ROWS * 9_000, ROWS[0])
    assert not may_have(other, digest.digest)
    swapped = conditions(tmp_path, *ROWS[::-1], *ROWS * 8_999)
    assert may_have(swapped, digest.digest)
    assert digest_file(swapped).digest != digest.digest


def test_small_file_is_not_cut(tmp_path: Path) -> None:
    assert split_file(conditions(tmp_path, *ROWS)) == [None]


def test_file_is_not_cut_where_a_line_is_long(tmp_path: Path) -> None:
    long = b"2020-01-01,,p1,e1,,1," + b"x" * 900_000
    file = conditions(tmp_path, ROWS[0], long, ROWS[1])
    cut = split_file(file)
    assert np.concatenate([hash_records(file, part).hashes for part in cut]).tolist() == hash_records(file).hashes.tolist()
