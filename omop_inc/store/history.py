"""When a source row was first seen, changed, removed and seen again, at the price of the rows that a run changes.

Belongs here: the tables row_id_range and row_event of `<cdm>_state`. Does not: telling it to a user (telling/explaining.py).
Everything that writes runs inside the publishing transaction, before image and tombstones change.
"""

from dataclasses import dataclass

from psycopg import sql

from omop_inc.resources import read_sql
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name


@dataclass(frozen=True, kw_only=True)
class RowEvent:
    """A run that changed, removed or saw again a source row."""

    generation: int
    event: str


def create(connection: Connection, schemas: Schemas) -> None:
    """Create the tables where they are missing: a store may be older than they are."""
    if fetch_value(connection, "SELECT to_regclass(%s)", (f"{schemas.state}.row_event",)) is None:
        execute(connection, sql.SQL("SET LOCAL search_path TO {}, pg_catalog").format(sql.Identifier(schemas.state)))
        execute(connection, read_sql("ddl/history.sql"))
        execute(connection, "SET LOCAL search_path TO DEFAULT")


def note_range(connection: Connection, schemas: Schemas, generation: int) -> None:
    """Note up to which id rows were seen when this run is committed."""
    statement = sql.SQL("INSERT INTO {} SELECT %s, CASE WHEN is_called THEN last_value ELSE last_value - 1 END FROM {}")
    execute(connection, statement.format(name(schemas.state, "row_id_range"), name(schemas.state, "row_id_seq")), (generation,))


def note_delta(connection: Connection, schemas: Schemas, table: SourceTable, generation: int) -> None:
    """Note the events of a settled delta, or of a table that a full reload read: in both a row left if nobody took its id."""
    candidate, leave = name(schemas.run, table.name + "_candidate"), name(schemas.run, table.name + "_leave")
    absent = sql.SQL("NOT EXISTS (SELECT FROM {} AS candidate WHERE candidate.row_id = leave.row_id)").format(candidate)
    _note(connection, schemas, table, generation, "removed", sql.SQL("SELECT leave.row_id FROM {} AS leave WHERE {}").format(leave, absent))
    _note_changed_and_returned(connection, schemas, table, generation)


def note_reload(connection: Connection, schemas: Schemas, generation: int, *, renumber: bool) -> None:
    """Note the events of a full reload; ids given anew have no past."""
    if renumber:
        execute(connection, sql.SQL("DELETE FROM {}").format(name(schemas.state, "row_event")))
        return
    for table in SOURCE_TABLES.values():
        note_delta(connection, schemas, table, generation)


def _note_changed_and_returned(connection: Connection, schemas: Schemas, table: SourceTable, generation: int) -> None:
    """A candidate with the id of a row that left is that row, changed; one with a tombstone's id came back."""
    candidate = name(schemas.run, table.name + "_candidate")
    for event, other, where in (
        ("changed", name(schemas.run, table.name + "_leave"), sql.SQL("other.row_hash <> candidate.row_hash")),
        ("returned", name(schemas.state, "tombstone"), sql.SQL("other.source_table = {}").format(sql.Literal(table.name))),
    ):
        query = sql.SQL("SELECT candidate.row_id FROM {} AS candidate INNER JOIN {} AS other ON other.row_id = candidate.row_id WHERE {}")
        _note(connection, schemas, table, generation, event, query.format(candidate, other, where))


def _note(connection: Connection, schemas: Schemas, table: SourceTable, generation: int, event: str, rows: sql.Composed) -> None:
    statement = sql.SQL("INSERT INTO {} SELECT DISTINCT {}, row_id, {}::bigint, {} FROM ({}) AS noted ON CONFLICT DO NOTHING").format(
        name(schemas.state, "row_event"), sql.Literal(table.name), sql.Literal(generation), sql.Literal(event), rows
    )
    execute(connection, statement)


def read_first_seen(connection: Connection, schemas: Schemas, row_id: int) -> int | None:
    """The generation that first saw an id; None where an older omop_inc applied it, or nobody gave the id."""
    query = sql.SQL("SELECT min(generation) FROM {} WHERE last_row_id >= %s").format(name(schemas.state, "row_id_range"))
    found = fetch_value(connection, query, (row_id,))
    return None if found is None else int(found)


def read_events(connection: Connection, schemas: Schemas, table: str, row_id: int) -> list[RowEvent]:
    """What happened to a row, the latest first."""
    query = sql.SQL("SELECT generation, event FROM {} WHERE source_table = %s AND row_id = %s ORDER BY generation DESC")
    rows = execute(connection, query.format(name(schemas.state, "row_event")), (table, row_id))
    return [RowEvent(generation=generation, event=event) for generation, event in rows]
