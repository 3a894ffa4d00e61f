"""Find one source row wherever it is: in the image, held in quarantine or pending, a bad record, or a tombstone.

Belongs here: look-ups by row_id, by Id and by columns, for a person who asks. Does not: deciding fates (fates.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from psycopg import sql
from psycopg.rows import dict_row

from omop_inc.errors import DatabaseError, SettingsError
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, fetch_value, translated
from omop_inc.store.pairing import key_expression
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import SQL_TYPES

Where = Literal["loaded", "held", "bad", "removed"]

# More rows than this one key should not have; a person sees that there are others.
MOST = 20


@dataclass(frozen=True, kw_only=True)
class Found:
    """A source row and where it is."""

    table: str
    where: Where
    row_id: int | None = None  # bad records have none
    fate: str | None = None  # of a held row: quarantined, pending, copy
    rule: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)  # none are known of a removed row


def find_by_row_id(connection: Connection, schemas: Schemas, row_id: int, table: str | None = None) -> list[Found]:
    """The row that has an id, loaded, held or removed."""
    tables = [SOURCE_TABLES[table]] if table else list(SOURCE_TABLES.values())
    where = sql.SQL("image.row_id = {}").format(sql.Literal(row_id))
    found = [one for facts in tables for one in _in_image(connection, schemas, facts, where)]
    return found or _removed(connection, schemas, sql.SQL("row_id = {}").format(sql.Literal(row_id)), table)


def find_by_columns(connection: Connection, schemas: Schemas, table: str, values: Mapping[str, str]) -> list[Found]:
    """The rows of a source table whose columns have some values; an empty value means an empty column.

    Raises:
        SettingsError: If a column is not one of the table's, or a value not of its type.
    """
    facts = SOURCE_TABLES[table]
    unknown = sorted(set(values) - set(facts.staged))
    if unknown:
        raise SettingsError(f"'{table}' has no columns {', '.join(unknown)}; expected some of {', '.join(facts.staged)}.")
    conditions = [
        sql.SQL("image.{} = {}::{}").format(sql.Identifier(column), sql.Literal(value), sql.SQL(SQL_TYPES[facts.column(column).type]))
        if value
        else sql.SQL("image.{} IS NULL").format(sql.Identifier(column))
        for column, value in values.items()
    ]
    try:
        with translated(), connection.transaction():
            found = _in_image(connection, schemas, facts, sql.SQL(" AND ").join(conditions))
            if not found and set(facts.key) <= set(values) and facts.key:
                found = _removed(connection, schemas, _key_condition(schemas, facts, values), table)
    except DatabaseError as error:
        if (error.sqlstate or "")[:2] != "22":
            raise
        types = ", ".join(f"{column}: {facts.column(column).type}" for column in values)
        raise SettingsError(f"A value is not of its column's type; expected {types}.") from None
    return found + _bad(connection, schemas, table, values)


def _in_image(connection: Connection, schemas: Schemas, table: SourceTable, where: sql.Composable) -> list[Found]:
    found = []
    for schema, place in ((schemas.staging, "loaded"), (schemas.quarantine, "held")):
        query = sql.SQL("SELECT * FROM {} AS image WHERE {} ORDER BY row_id LIMIT {}").format(name(schema, table.name), where, sql.Literal(MOST))
        with connection.cursor(row_factory=dict_row) as cursor:
            for row in cursor.execute(query):
                columns = {column: row[column] for column in ("row_id", "row_hash", *table.staged)}
                kept = Found(table=table.name, where="loaded", row_id=row["row_id"], columns=columns)
                held = Found(table=table.name, where="held", row_id=row["row_id"], fate=row.get("fate"), rule=row.get("rule"), columns=columns)
                found.append(kept if place == "loaded" else held)
    return found


def _key_condition(schemas: Schemas, table: SourceTable, values: Mapping[str, str]) -> sql.Composed:
    """The tombstones of a natural key: the key's hash is made of typed values, as a row's is."""
    typed = sql.SQL(", ").join(
        sql.SQL("nullif({}, '')::{} AS {}").format(sql.Literal(values[column]), sql.SQL(SQL_TYPES[table.column(column).type]), sql.Identifier(column))
        for column in table.key
    )
    return sql.SQL("key_hash = (SELECT {} FROM (SELECT {}) AS asked)").format(key_expression(table, "asked", schemas), typed)


def _removed(connection: Connection, schemas: Schemas, where: sql.Composable, table: str | None) -> list[Found]:
    of_table = sql.SQL(" AND source_table = {}").format(sql.Literal(table)) if table else sql.SQL("")
    query = sql.SQL("SELECT source_table, row_id FROM {} WHERE {}{} ORDER BY 1, 2 LIMIT {}").format(
        name(schemas.state, "tombstone"), where, of_table, sql.Literal(MOST)
    )
    return [Found(table=source, where="removed", row_id=row_id) for source, row_id in execute(connection, query)]


def _bad(connection: Connection, schemas: Schemas, table: str, values: Mapping[str, str]) -> list[Found]:
    """Bad records that hold all the values somewhere: they could not be read as columns."""
    wanted = [value for value in values.values() if value]
    if not wanted:
        return []
    holds = sql.SQL(" AND ").join(sql.SQL("position(convert_to({}, 'UTF8') IN record) > 0").format(sql.Literal(value)) for value in wanted)
    query = sql.SQL(
        "SELECT rule, column_name, line, run_id, record FROM {} WHERE source_table = {} AND {} ORDER BY record_id LIMIT {}"
    ).format(name(schemas.quarantine, "bad_record"), sql.Literal(table), holds, sql.Literal(MOST))  # fmt: skip
    return [
        Found(
            table=table,
            where="bad",
            fate="quarantined",
            rule=rule,
            columns={"column": column, "line": line, "first seen by run": run_id, "record": bytes(record).decode("utf-8", "backslashreplace")},
        )
        for rule, column, line, run_id, record in execute(connection, query)
    ]


def id_of_row(connection: Connection, schemas: Schemas, table: str, own_id: str) -> int | None:
    """The row_id of the loaded row of an Id."""
    query = sql.SQL("SELECT min(row_id) FROM {} WHERE id = %s::uuid").format(name(schemas.staging, table))
    found = fetch_value(connection, query, (own_id,))
    return None if found is None else int(found)
