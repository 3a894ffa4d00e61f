"""The typed tables that hold source rows, and the COPY that fills them.

Belongs here: the staged tables' DDL and indexes, COPY of checked records, the run's intake tables.
Does not: which rows go in (intake.py) and what becomes of them (fates.py).
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.source.lines import Lines
from omop_inc.source.tables import SourceTable
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import columns, name

ROW_COLUMNS = ("row_id", "row_hash")
FATE_COLUMNS = ("fate", "rule")

# integer columns are counts and codes of a few digits; bigint costs nothing in a row of this width and never overflows.
SQL_TYPES = {"uuid": "uuid", "text": "text", "date": "date", "timestamp": "timestamp", "integer": "bigint", "numeric": "numeric"}


# The order of a staged table's columns in the row: what joins and groupings read stands in front, at the same place in each row,
# texts and what is seldom there behind. Scans and index builds of 1.4 million transactions took a quarter less than in the file's order.
_ORDER_IN_ROW = ("uuid", "timestamp", "date", "integer", "numeric", "text")

# ADDRESS_1 of a location is so long (sql/view/place.sql).
PLACE_CHARS = 50


def staged_columns(table: SourceTable) -> tuple[str, ...]:
    """The significant columns of a source table as staged, in canonical order."""
    return tuple(column.staged for column in table.significant)


def all_columns(table: SourceTable) -> tuple[str, ...]:
    """The columns of the staged table: id, hash, then the significant ones."""
    return ROW_COLUMNS + staged_columns(table)


def create_staged(
    connection: Connection,
    schema: str,
    table: SourceTable,
    *,
    suffix: str = "",
    extra: Sequence[str] = (),
    unlogged: bool = False,
    if_not_exists: bool = False,
) -> None:
    """Create a table of the staged columns of a source table, with text columns behind them.

    The columns' order in the row is the server's affair: whoever writes or unites rows names the columns (all_columns).

    Args:
        if_not_exists: For the durable tables; a run's own takes the place of what an earlier try left.
    """
    if not if_not_exists:
        execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(name(schema, table.name + suffix)))
    parts: list[sql.Composable] = [sql.SQL("row_id bigint"), sql.SQL("row_hash uuid NOT NULL")]
    ordered = sorted(table.significant, key=lambda column: _ORDER_IN_ROW.index(column.type))
    parts += [sql.SQL("{} {}").format(sql.Identifier(c.staged), sql.SQL(SQL_TYPES[c.type])) for c in ordered]
    parts += [sql.SQL("{} text").format(sql.Identifier(c)) for c in extra]
    execute(
        connection,
        sql.SQL("CREATE {kind} TABLE {exists} {table} ({columns})").format(
            kind=sql.SQL("UNLOGGED" if unlogged else ""),
            exists=sql.SQL("IF NOT EXISTS" if if_not_exists else ""),
            table=name(schema, table.name + suffix),
            columns=sql.SQL(", ").join(parts),
        ),
    )


def index_staged(connection: Connection, schema: str, table: SourceTable) -> None:
    """Index a staged table: by hash for removals, by person and encounter for scope, by Id where it must be found or be unique, by address."""
    within = () if table.encounter in (None, "id") else (str(table.encounter),)
    by = {("row_hash",), (table.patient or "id", *within)} | ({("id",)} if table.repeated_id == "quarantine" else set())
    for names in sorted(by):
        execute(connection, sql.SQL("CREATE INDEX ON {} ({})").format(name(schema, table.name), columns(names)))
    if "address" in staged_columns(table):
        execute(connection, sql.SQL("CREATE INDEX ON {0} ({1})").format(name(schema, table.name), place_start(table.name)))


def place_start(alias: str) -> sql.Composed:
    """How a row's address begins, by which the rows of a place are found: as much of it as a location holds."""
    return sql.SQL("left({}, {})").format(sql.Identifier(alias, "address"), sql.Literal(PLACE_CHARS))


def hash_hex(hashes: NDArray[np.uint64]) -> list[bytes]:
    """Write 128-bit hashes, shape (n, 2), as 32 hexadecimal digits each."""
    return [b"%016x%016x" % (high, low) for high, low in hashes.tolist()]


def copy_statement(target: sql.Composable, names: Sequence[str], *, is_frozen: bool = False) -> sql.Composed:
    """COPY in text format with commas: a record that needs no escape passes as it is.

    Args:
        is_frozen: Whether the target is emptied in this transaction, so that its rows may be written as if all had long seen them.
    """
    return _copy(target, names, "FORMAT text, DELIMITER ',', NULL ''", is_frozen=is_frozen)


def binary_copy_statement(target: sql.Composable, names: Sequence[str], *, is_frozen: bool = False) -> sql.Composed:
    """COPY in binary format, of which the server reads a row in half the time; else as copy_statement."""
    return _copy(target, names, "FORMAT binary", is_frozen=is_frozen)


def _copy(
    target: sql.Composable, names: Sequence[str], form: Literal["FORMAT text, DELIMITER ',', NULL ''", "FORMAT binary"], *, is_frozen: bool
) -> sql.Composed:
    statement = sql.SQL("COPY {} ({}) FROM STDIN ({})")
    return statement.format(target, columns(list(names)), sql.SQL(form) + sql.SQL(", FREEZE" if is_frozen else ""))


def row_tuples(
    table: SourceTable, ids: NDArray[np.int64] | None, hashes: NDArray[np.uint64], lines: Lines, rows: NDArray[np.int64]
) -> memoryview | None:
    """Put id and hash before each record, for a binary COPY; without ids the id stays NULL.

    Args:
        table: Whose records they are.
        ids: One for each row written.
        hashes: Of each line, shape (n, 2).
        lines: Canonical lines without quotes.
        rows: Which lines are written.

    Returns:
        None where a value is written as none of the common ones is, so that the server must read the text (row_lines).
    """
    from omop_inc.compiled import KINDS, put_tuples  # a process that finds nothing new does without

    kinds = bytes(KINDS[column.type] for column in table.significant)
    return put_tuples(rows, lines.data, lines.ends, hashes, ids, kinds)


def row_lines(ids: NDArray[np.int64] | None, hashes: NDArray[np.uint64], lines: Lines, rows: NDArray[np.int64] | None = None) -> bytes:
    """Put id and hash before each record, for COPY; without ids the id stays NULL.

    Args:
        ids: One for each row written.
        hashes: Of each line, shape (n, 2).
        lines: What COPY gets of each record.
        rows: Which lines are written; None is all.
    """
    from omop_inc.compiled import put_rows  # a process that finds nothing new does without

    return put_rows(np.arange(len(lines)) if rows is None else rows, lines.data, lines.ends, hashes, ids)


def text_field(value: object) -> bytes:
    """Encode one value for COPY's text format with tabs."""
    if value is None:
        return b"\\N"
    raw = value if isinstance(value, bytes) else str(value).encode()
    return raw.replace(b"\\", b"\\\\").replace(b"\t", b"\\t").replace(b"\n", b"\\n").replace(b"\r", b"\\r")
