"""Write the CDM: the difference of an increment, or the exchange of whole tables built beside.

Belongs here: the statements that change `<cdm>`, and the change feed. Does not: staging and state (store/apply.py).
Everything here runs inside the publishing transaction.
"""

from dataclasses import dataclass

from psycopg import sql

from omop_inc.cdm.delta import PERSON_BESIDE
from omop_inc.cdm.results import beside_columns, beside_name
from omop_inc.cdm.spec import (
    CdmTable,
    cdm_tables,
    create_table,
    drop_foreign_key_statements,
    foreign_key_statements,
    identity,
    index_statements,
    primary_key_statement,
    tables_of,
)
from omop_inc.cdm.transforms import transforms
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.exchange import lock_tables, replace_table
from omop_inc.store.schemas import Schemas, columns, name, row_of


@dataclass(frozen=True, kw_only=True)
class Written:
    """How many rows of a CDM table a run wrote."""

    inserted: int = 0
    deleted: int = 0
    total: int = 0


def _same(table: CdmTable, one: str, other: str) -> sql.Composed:
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(one, c), sql.Identifier(other, c)) for c in identity(table))


def apply_difference(connection: Connection, schemas: Schemas, transform: str, run_id: str) -> Written:
    """Delete and insert the rows by which a transform's result differs, and note them in the feed."""
    table = cdm_tables()[transform]
    target, gone, added = name(schemas.cdm, transform), name(schemas.run, f"gone_{transform}"), name(schemas.run, f"added_{transform}")
    deleted = _delete(connection, target, gone, table)
    if transform in PERSON_BESIDE:
        beside = name(schemas.state, beside_name(transform))
        _delete(connection, beside, gone, table, of_same_person=not table.primary_key)
        kept = beside_columns(transform)
        execute(connection, sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(beside, columns(kept), columns(kept), added))
    insert = sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2}").format(target, columns(table.columns), added)
    inserted = execute(connection, insert).rowcount
    _feed(connection, schemas, table, run_id)
    return Written(inserted=inserted, deleted=deleted)


def _delete(connection: Connection, target: sql.Identifier, gone: sql.Identifier, table: CdmTable, *, of_same_person: bool = False) -> int:
    where = sql.SQL("true") if table.name == "cdm_source" else _same(table, "old", "gone")
    if of_same_person:  # by which the table is indexed; else all of it is read
        where = where + sql.SQL(" AND old.person_id = gone.person_id")
    return execute(connection, sql.SQL("DELETE FROM {} AS old USING {} AS gone WHERE {}").format(target, gone, where)).rowcount


def _feed(connection: Connection, schemas: Schemas, table: CdmTable, run_id: str) -> None:
    """One feed row per CDM row that is new, changed or removed; by its first key column where the key is several."""
    key = sql.Identifier("fact_id_1" if table.name == "fact_relationship" else identity(table)[0])
    if table.name == "cdm_source":
        identifier, condition = sql.SQL("NULL::bigint"), sql.SQL("true")
        statement = sql.SQL("INSERT INTO {feed} SELECT {run}, {table}, NULL, 'changed' FROM {added}")
    else:
        identifier, condition = sql.SQL("coalesce(added.{0}, gone.{0})").format(key), _same(table, "added", "gone")  # type: ignore[assignment]
        statement = sql.SQL(
            "INSERT INTO {feed} SELECT {run}, {table}, {id}, CASE WHEN gone.{key} IS NULL THEN 'new' WHEN added.{key} IS NULL"
            " THEN 'removed' ELSE 'changed' END FROM {added} AS added FULL JOIN {gone} AS gone ON {condition}"
        )
    execute(
        connection,
        statement.format(
            feed=name(schemas.ledger, "change_feed"),
            run=sql.Literal(run_id),
            table=sql.Literal(table.name),
            id=identifier,
            key=key,
            condition=condition,
            added=name(schemas.run, f"added_{table.name}"),
            gone=name(schemas.run, f"gone_{table.name}"),
        ),
    )


def compare_with_committed(connection: Connection, schemas: Schemas, transform: str, total: int) -> Written:
    """Make the difference tables between the CDM built beside, of so many rows, and the committed one, for the feed and the counts.

    Both sides come of one join, of which a temporary table keeps the pairs that differ: nearly all rows are as they were.
    """
    table = cdm_tables()[transform]
    listed, key = list(table.columns), sql.Identifier(identity(table)[0])
    pairs = sql.SQL(
        "CREATE TEMP TABLE differing ON COMMIT DROP AS SELECT gone, added FROM {old} AS gone FULL JOIN {new} AS added ON {same}"
        " WHERE gone.{key} IS NULL OR added.{key} IS NULL OR record_image_ne({gone}, {added})"
    ).format(
        old=name(schemas.cdm, transform),
        new=name(schemas.next_cdm, transform),
        same=sql.SQL("true") if table.name == "cdm_source" else _same(table, "gone", "added"),
        key=key,
        gone=row_of(listed, "gone"),
        added=row_of(listed, "added"),
    )
    execute(connection, pairs)
    counts = {}
    for kind in ("gone", "added"):
        parts = sql.SQL(", ").join(sql.SQL("({}).{}").format(sql.Identifier(kind), sql.Identifier(column)) for column in listed)
        statement = sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT {} FROM differing WHERE ({}).{} IS NOT NULL")
        target = name(schemas.run, f"{kind}_{transform}")
        counts[kind] = execute(connection, statement.format(target, parts, sql.Identifier(kind), key)).rowcount
    return Written(inserted=counts["added"], deleted=counts["gone"], total=total)


def exchange(connection: Connection, schemas: Schemas, run_id: str, *, is_first: bool, foreign_keys: bool, vocabulary: str) -> None:
    """Put the tables built beside in the place of the committed ones, with the feed and the persons beside."""
    execute(connection, sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schemas.cdm)))
    lock_tables(connection, schemas.cdm, [table.name for table in tables_of("cdm")])
    lock_tables(connection, schemas.state, map(beside_name, PERSON_BESIDE))
    for statement in drop_foreign_key_statements(schemas.cdm):
        execute(connection, statement)
    for transform in transforms():
        _feed_exchange(connection, schemas, cdm_tables()[transform], run_id, is_first=is_first)
        if transform in PERSON_BESIDE:
            replace_table(connection, schemas.run, schemas.state, beside_name(transform))
        replace_table(connection, schemas.next_cdm, schemas.cdm, transform)
    for table in tables_of("cdm"):
        _create_missing(connection, schemas, table)
    if foreign_keys:
        for statement in foreign_key_statements(schemas.cdm, vocabulary):
            execute(connection, statement)


def _feed_exchange(connection: Connection, schemas: Schemas, table: CdmTable, run_id: str, *, is_first: bool) -> None:
    if is_first:
        statement = sql.SQL("INSERT INTO {} VALUES (%s, %s, NULL, 'loaded')").format(name(schemas.ledger, "change_feed"))
        execute(connection, statement, (run_id, table.name))
    else:
        _feed(connection, schemas, table, run_id)


def _create_missing(connection: Connection, schemas: Schemas, table: CdmTable) -> None:
    """Create a CDM table that no transform fills, once; what users put there stays."""
    if fetch_value(connection, "SELECT to_regclass(%s)", (f"{schemas.cdm}.{table.name}",)) is not None:
        return
    execute(connection, create_table(table, schemas.cdm))
    key = primary_key_statement(table, schemas.cdm)
    for statement in ([key] if key else []) + list(index_statements(table, schemas.cdm)):
        execute(connection, statement)
