"""Hash equal iff rows equal, whatever the spelling of the file; both ways through a file agree on any bytes."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omop_inc.source.hashing import encode_row, hash_lines
from omop_inc.source.headers import map_header
from omop_inc.source.lines import Layout, careful_batch, layout_of, plain_batch
from omop_inc.source.records import hash_records, read_chunks
from omop_inc.source.snapshot import SourceFile, open_snapshot
from omop_inc.source.tables import SOURCE_TABLES

# The characters that formats trip over, and a few that they do not.
TEXT = st.text(st.sampled_from(list("ab,\"\\\n'\t\r;|é０ \ufeffN.")), max_size=6)
FIELD = st.one_of(TEXT, st.sampled_from(["", "", "COPAY", "CASH", "2022", "292278994-08-17T07:12:55Z", "\\N", "\\.", "NULL"]))
TABLES = st.sampled_from(["conditions", "claims_transactions", "payer_transitions", "supplies", "providers"])


def significant(table: str, row: list[str]) -> tuple[bytes, ...]:
    """The model: what of a row counts, said without the code under test (no fold meets the plain text of FIELD twice)."""
    columns = [column for column in SOURCE_TABLES[table].columns if not column.legacy]
    kept = []
    for column, value in zip(columns, row, strict=True):
        value = re.sub(r"\r+\n", "\n", value)
        if column.fold == "method" and value not in ("", "COPAY", "ECHECK"):
            value = "OTHER"
        if column.fold == "period_start" and value == "2022":
            value = "2022-01-01T00:00:00Z"
        if column.fold == "period_end":
            value = {"2022": "2022-12-31T23:59:59Z", "292278994-08-17T07:12:55Z": ""}.get(value, value)
        if not column.volatile:
            kept.append(value.encode())
    return tuple(kept)


@st.composite
def tables_with_rows(draw: st.DrawFn) -> tuple[str, list[list[str]]]:
    table = draw(TABLES)
    width = len(SOURCE_TABLES[table].header)
    return table, draw(st.lists(st.lists(FIELD, min_size=width, max_size=width), min_size=1, max_size=6))


def layout(table: str, names: list[str]) -> Layout:
    return layout_of(SOURCE_TABLES[table], map_header(SOURCE_TABLES[table], "x.csv", ",".join(names).encode(), ignore_unknown=False))


def write(rows: list[list[str]], *, quote_all: bool, end: str) -> bytes:
    def spell(value: str) -> str:
        return '"' + value.replace('"', '""') + '"' if quote_all or set(value) & set('",\r\n') else value

    return "".join(",".join(map(spell, row)) + end for row in rows).encode()


@given(first=st.lists(FIELD, min_size=4, max_size=4), second=st.lists(FIELD, min_size=4, max_size=4))
def test_hash_is_equal_if_and_only_if_the_rows_are(first: list[str], second: list[str]) -> None:
    one, other = ([value.encode() for value in row] for row in (first, second))
    hashes = hash_lines([encode_row(one), encode_row(other)])
    assert (hashes[0] == hashes[1]).all() == (one == other)


@given(first=FIELD, second=FIELD, at=st.integers(0, 2))
def test_value_that_moves_to_its_neighbour_is_seen(first: str, second: str, at: int) -> None:
    row = [b""] * 4
    row[at], row[at + 1] = first.encode(), second.encode()
    moved = row.copy()
    moved[at], moved[at + 1] = row[at + 1], row[at]
    assert (encode_row(row) == encode_row(moved)) == (row == moved)


@given(drawn=tables_with_rows(), order=st.randoms(), quote_all=st.booleans(), end=st.sampled_from(["\n", "\r\n"]))
def test_canonical_lines_do_not_depend_on_column_order_quotes_and_line_ends(drawn, order, quote_all: bool, end: str) -> None:
    table, rows = drawn
    names = list(SOURCE_TABLES[table].header)
    places = list(range(len(names)))
    order.shuffle(places)
    block = write([[row[at] for at in places] for row in rows], quote_all=quote_all, end=end)
    batch, rest = careful_batch(block, layout(table, [names[at] for at in places]), 2, is_last=True)
    assert rest == b""
    assert not batch.bad
    assert batch.lines == [encode_row(significant(table, row)) for row in rows]


PLAIN = st.text(st.sampled_from(list("ab\\'\t;é０ N.")), max_size=6)


@st.composite
def plain_blocks(draw: st.DrawFn) -> tuple[str, list[str], bytes]:
    """Lines without quotes, in any column order, some with a wrong number of fields."""
    table = draw(TABLES)
    names = draw(st.permutations(SOURCE_TABLES[table].header))
    field = st.one_of(PLAIN, st.sampled_from(["COPAY", "CASH", "2022", "292278994-08-17T07:12:55Z"]))
    whole = st.lists(field, min_size=len(names), max_size=len(names))
    rows = draw(st.lists(st.one_of(whole, whole, st.lists(field, max_size=len(names) + 2)), min_size=1, max_size=6))
    return table, list(names), b"".join(",".join(row).encode() + b"\n" for row in rows)


@given(drawn=plain_blocks())
def test_plain_way_gives_what_the_careful_way_gives_or_leaves_it_to_it(drawn: tuple[str, list[str], bytes]) -> None:
    table, names, block = drawn
    careful, _ = careful_batch(block, layout(table, names), 2, is_last=True)
    plain = plain_batch(block, layout(table, names), 2)
    assert (plain is None) == bool(careful.bad)
    if plain is not None:
        assert plain.lines == careful.lines
        assert (plain.hashes == careful.hashes).all()
        assert plain.special == careful.special
        assert (plain.line_numbers == careful.line_numbers).all()


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        for table in ("patients", "encounters"):
            (Path(name) / f"{table}.csv").write_text(",".join(SOURCE_TABLES[table].header) + "\n")
        yield Path(name)


def supplies(folder: Path, body: bytes) -> SourceFile:
    (folder / "supplies.csv").write_bytes(b"DATE,PATIENT,ENCOUNTER,CODE,DESCRIPTION,QUANTITY\n" + body)
    return open_snapshot(folder).files["supplies"]


PIECES = [b"1,2,3,4,5,6\n", b"1,2,3,4,5,6\r\n", b'1,2,3,4,"5', b'"', b"\n", b",", b"\0", b"\xff", b"\r", b"\\.\n", b'""']
DAMAGE = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4)), max_size=30)


@given(parts=DAMAGE, chunk_rows=st.integers(1, 5), data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_records_or_bad_records_and_no_line_is_lost(folder: Path, parts: list[bytes], chunk_rows: int, data: st.DataObject) -> None:
    body = b"".join(parts) + b"\n"
    file = supplies(folder, body)
    hashes = hash_records(file)
    want = np.array(data.draw(st.lists(st.booleans(), min_size=len(hashes.hashes), max_size=len(hashes.hashes))), dtype=bool)
    for wanted in (None, want):
        chunks = list(read_chunks(file, chunk_rows=chunk_rows, want=wanted))
        places = [(at, *pair) for chunk in chunks for at, pair in zip(chunk.indexes.tolist(), chunk.hashes.tolist(), strict=True)]
        places += [(bad.index, *bad.hash) for chunk in chunks for bad in chunk.bad]
        expected = [(at, *pair) for at, pair in enumerate(hashes.hashes.tolist()) if wanted is None or wanted[at]]
        assert sorted(places) == expected
        for chunk in chunks:
            assert chunk.frame.height == len(chunk.payload) == len(chunk.indexes)
            assert not any(b"\0" in line or b"\n" in line for line in chunk.payload.tolist())
    whole = list(read_chunks(file))
    starts = sorted([line for chunk in whole for line in chunk.line_numbers.tolist()] + [bad.line for chunk in whole for bad in chunk.bad])
    assert len(set(starts)) == len(starts)
    assert all(2 <= line <= 1 + body.count(b"\n") for line in starts)
