"""Rows that are copied binary are the rows that PostgreSQL reads from their text."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from omop_inc import compiled
from omop_inc.source import validation
from omop_inc.source.hashing import hash_lines
from omop_inc.source.lines import Lines
from omop_inc.source.tables import SOURCE_TABLES, Column, SourceTable
from omop_inc.store.copying import Copier
from omop_inc.store.staging import SQL_TYPES, binary_copy_statement, copy_statement, row_lines, row_tuples

KINDS = ("text", "uuid", "date", "timestamp", "integer", "numeric")
# A table of every type, twice, so that no value is always the first or the last of its line.
TABLE = SourceTable(name="all_types", columns=tuple(Column(name=f"{kind}_{at}", type=kind) for at in (1, 2) for kind in KINDS), key=())
NAMES = ("row_id", "row_hash", *TABLE.staged)

DAY = st.one_of(st.dates().map(str), st.sampled_from(["0001-01-01", "1999-12-31", "2000-01-01", "2000-02-29", "1900-03-01", "9999-12-31"]))
FRACTION = st.one_of(st.just(""), st.integers(1, 6).flatmap(lambda n: st.text("0123456789", min_size=n, max_size=n).map(lambda text: "." + text)))
TIME = st.builds(lambda time, fraction, zone: f"T{time:%H:%M:%S}{fraction}{zone}", st.times(), FRACTION, st.sampled_from(["", "Z"]))
MOMENT = st.one_of(DAY, st.builds(str.__add__, DAY, TIME))
SIGN = st.sampled_from(["", "", "", "-", "+"])
WHOLE = st.text("0123456789", min_size=1, max_size=16)
NUMBER = st.one_of(
    WHOLE,
    st.builds("{}.{}".format, WHOLE, st.text("0123456789", max_size=16)),
    st.builds(".{}".format, WHOLE),
    st.sampled_from(["0", "0.00", "0.0001", "0.00001", "10000", "100000000.00000000", "9999.9999", "00012.3400", "129.16"]),
)
VALUES: dict[str, st.SearchStrategy[str]] = {
    "text": st.text(st.sampled_from(list("ab\\'\t;|é０ N.")), max_size=70),
    "uuid": st.one_of(st.uuids().map(str), st.uuids().map(lambda one: str(one).upper())),
    "date": MOMENT,
    "timestamp": MOMENT,
    "integer": st.builds(str.__add__, SIGN, st.integers(0, (1 << 31) - 1).map(lambda number: str(number).zfill(3))),
    "numeric": st.builds(str.__add__, SIGN, NUMBER),
}
PATTERNS = {
    "uuid": validation._UUID,
    "date": validation._TIMESTAMP,
    "timestamp": validation._TIMESTAMP,
    "integer": validation._INTEGER,
    "numeric": validation._NUMERIC,
}
ROWS = st.lists(st.tuples(*(st.one_of(st.just(""), VALUES[column.type]) for column in TABLE.columns)), min_size=1, max_size=8)


@pytest.fixture
def connection(database: str) -> Iterator[psycopg.Connection[Any]]:
    columns = ", ".join(f"{column.staged} {SQL_TYPES[column.type]}" for column in TABLE.columns)
    with psycopg.connect(database, autocommit=True) as connection:
        for name in ("from_text", "from_tuples"):
            connection.execute(f"CREATE TEMP TABLE {name} (row_id bigint, row_hash uuid NOT NULL, {columns})")  # type: ignore[arg-type]
        yield connection


def lines_of(rows: list[tuple[str, ...]]) -> tuple[Lines, Lines, np.ndarray[Any, np.dtype[np.uint64]]]:
    """Canonical lines, what a COPY of text gets of them, and the lines' hashes."""
    lines = [",".join(row).encode() for row in rows]
    return Lines.of(lines), Lines.of([line.replace(b"\\", b"\\\\") for line in lines]), hash_lines(lines)


@given(rows=ROWS, data=st.data())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_both_ways_of_copying_write_the_same_rows(connection: psycopg.Connection[Any], rows: list[tuple[str, ...]], data: st.DataObject) -> None:
    lines, payload, hashes = lines_of(rows)
    chosen = np.array(data.draw(st.lists(st.sampled_from(range(len(rows))), unique=True)), dtype=np.int64)
    ids = np.array(data.draw(st.lists(st.integers(0, (1 << 63) - 1), min_size=len(chosen), max_size=len(chosen))), dtype=np.int64)
    numbers = data.draw(st.sampled_from([ids, None]))
    tuples = row_tuples(TABLE, numbers, hashes, lines, chosen)
    assert tuples is not None
    connection.execute("TRUNCATE from_text, from_tuples")
    with Copier(connection) as copier:
        copier.write(copy_statement(sql.Identifier("from_text"), NAMES), row_lines(numbers, hashes, payload, chosen))
        copier.write(binary_copy_statement(sql.Identifier("from_tuples"), NAMES), tuples, is_binary=True)
    # As text, in which 1.0 and 1.00 differ.
    listed = ", ".join(f"{name}::text" for name in NAMES)
    found = [sorted(connection.execute(f"SELECT {listed} FROM {name}").fetchall(), key=repr) for name in ("from_text", "from_tuples")]  # type: ignore[arg-type]
    assert found[0] == found[1]
    assert len(found[0]) == len(chosen)


SINGLE = {column.type: SourceTable(name="one", columns=(column,), key=()) for column in TABLE.columns}


@given(kind=st.sampled_from(sorted(PATTERNS)), data=st.data())
def test_what_validation_refuses_is_never_a_tuple(kind: str, data: st.DataObject) -> None:
    value = data.draw(st.one_of(VALUES[kind], st.text(st.sampled_from(list("0123456789abcfgABCFG-+.:TZeE `@/é ")), max_size=40)))
    cut, put = (
        data.draw(st.integers(0, len(value))),
        data.draw(st.sampled_from(["", "", "0", "9", "-", "g", "`", "@", " ", "T", "Z", ".", ":", "\x10"])),
    )
    changed = value[:cut] + put + value[cut + data.draw(st.integers(0, 1)) :]
    lines, _, hashes = lines_of([(changed,)])
    tuples = row_tuples(SINGLE[kind], None, hashes, lines, np.array([0]))
    is_valid = changed == "" or re.fullmatch(PATTERNS[kind].strip("^$"), changed) is not None
    if kind in ("date", "timestamp"):
        is_valid &= not changed.startswith("0000")
    if kind == "integer" and changed and is_valid:
        is_valid = validation.MIN_INTEGER <= int(changed) <= validation.MAX_INTEGER
    assert tuples is None or is_valid
    assert compiled.are_plain(lines.data, lines.ends, bytes([compiled.KINDS[kind]])) == (tuples is not None)
    assert compiled.are_plain(lines.data, lines.ends, bytes([compiled.KINDS[kind] | compiled.REQUIRED])) == (tuples is not None and changed != "")


@pytest.mark.parametrize("value", ["1e5", "1E-3", "12345678901234567", "0.12345678901234567"])
def test_rare_numbers_are_left_to_the_server(value: str) -> None:
    lines, _, hashes = lines_of([(value,)])
    assert row_tuples(SINGLE["numeric"], None, hashes, lines, np.array([0])) is None


@pytest.mark.parametrize(("value", "is_plain"), [("2147483647", True), ("-2147483647", True), ("2147483648", False), ("9999999999", False)])
def test_integers_beyond_the_rule_are_left_to_pandera(value: str, is_plain: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    lines, _, hashes = lines_of([(value,)])
    assert (row_tuples(SINGLE["integer"], None, hashes, lines, np.array([0])) is not None) == is_plain


@given(rows=ROWS, data=st.data())
def test_lines_are_plain_if_each_is(rows: list[tuple[str, ...]], data: st.DataObject) -> None:
    """Texts of any length are not read; one wrong value anywhere is found."""
    kinds = bytes(compiled.UNREAD if column.type == "text" else compiled.KINDS[column.type] for column in TABLE.columns)
    is_text = [column.type == "text" for column in TABLE.columns]
    lines, _, _ = lines_of([tuple("x" * 100_000 if text else value for text, value in zip(is_text, row, strict=True)) for row in rows])
    assert compiled.are_plain(lines.data, lines.ends, kinds)
    row, field = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.sampled_from([at for at, text in enumerate(is_text) if not text]))
    rows[row] = (*rows[row][:field], "x", *rows[row][field + 1 :])
    lines, _, _ = lines_of(rows)
    assert not compiled.are_plain(lines.data, lines.ends, kinds)


@pytest.mark.parametrize("line", [b"", b"1,2", b"1,"])
def test_line_of_another_width_is_no_tuple(line: bytes) -> None:
    lines = Lines.of([line])
    expected = line == b""
    assert (row_tuples(SINGLE["integer"], None, hash_lines([line]), lines, np.array([0])) is not None) == expected


def test_shipped_and_odd_types_are_all_known() -> None:
    assert {column.type for table in SOURCE_TABLES.values() for column in table.columns} == set(KINDS)
