"""The rows that a count looks at, with what they are looked up in: whole tables, or what an increment takes away and adds.

Belongs here: queries of rows with their lookups, as they are committed, built beside, or will be after the run.
Does not: what is counted of them (counting.py), which tables a run looks at (runs/checking.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from psycopg import sql

from omop_inc.cdm.local_time import UTC
from omop_inc.cdm.quality.catalogue import Catalogue
from omop_inc.cdm.quality.conditions import DEATH, PERSON, Lookup
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, columns, name

State = Literal["committed", "built", "after"]

# Of a looked-up table, what may change so that rows which name it must be looked at again.
_MOVING: Mapping[str, tuple[str, ...]] = {
    "person": PERSON.columns,
    "death": DEATH.columns,
    "visit_occurrence": ("visit_start_date", "visit_end_date"),
}
_NONE = sql.SQL("")


@dataclass(frozen=True, kw_only=True)
class Changes:
    """What an increment changes in the CDM: its tables `gone_<table>` and `added_<table>` hold the rows."""

    tables: frozenset[str] = frozenset()  # with at least one row gone or added
    moved: frozenset[str] = frozenset()  # looked-up tables with a key that other rows may name and that is another now, or none


@dataclass(frozen=True, kw_only=True)
class World:
    """Where the rows of every table are."""

    schemas: Schemas
    state: State
    catalogue: Catalogue
    changes: Changes = field(default_factory=Changes)
    existing: Catalogue = field(default_factory=Catalogue)  # without what a full load is about to make
    built: frozenset[str] = frozenset()  # tables that a full load builds beside
    time_zone: str = UTC  # of the CDM's dates and times; the staged rows are in UTC

    def table(self, table: str) -> sql.Composable:
        """Where a table's rows are, the run's own changes aside."""
        if self.is_to_be_made(table):
            return _no_rows(table)
        if cdm_tables()[table].schema == "vocab":
            return name(self.schemas.vocabulary, table)
        return name(self.schemas.next_cdm if self.state == "built" and table in self.built else self.schemas.cdm, table)

    def is_to_be_made(self, table: str) -> bool:
        """Whether the run is about to create a table, so that there is nothing to read yet."""
        return self.state == "built" and table not in self.built and not self.existing.has(table)

    def is_changed(self, table: str) -> bool:
        """Whether the run changes a table and these are the rows after it."""
        return self.state == "after" and table in self.changes.tables


def _no_rows(table: str) -> sql.Composed:
    listed = sql.SQL(", ").join(sql.SQL("NULL::{} AS {}").format(sql.SQL(f.type), sql.Identifier(f.name)) for f in cdm_tables()[table].fields)
    return sql.SQL("(SELECT {} WHERE false)").format(listed)


def gone_and_added(schemas: Schemas, table: str) -> tuple[sql.Identifier, sql.Identifier]:
    """The run's tables of the rows that leave and that enter a CDM table."""
    return name(schemas.run, f"gone_{table}"), name(schemas.run, f"added_{table}")


def whole_table(world: World, table: str, names: Iterable[str], where: sql.Composed | None = None) -> sql.Composed:
    """All rows of a table in a world, or those of them for which a condition on "row" holds.

    The condition stands in each part: PostgreSQL pushes a plain one into a UNION ALL, but no join with other rows.
    """
    listed, condition = columns(list(names), "row"), where or sql.SQL("true")
    base = sql.SQL('SELECT {} FROM {} AS "row" WHERE {}').format(listed, world.table(table), condition)
    if not world.is_changed(table):
        return base
    gone, added = gone_and_added(world.schemas, table)
    return base + sql.SQL(' AND NOT EXISTS (SELECT FROM {} AS gone WHERE {}) UNION ALL SELECT {} FROM {} AS "row" WHERE {}').format(
        gone, same_row(table, "gone", "row"), listed, added, condition
    )


def same_row(table: str, one: str, other: str) -> sql.Composed:
    """Whether two rows of a CDM table are the same row, maybe in another version."""
    if table == "cdm_source":  # holds one row
        return sql.Composed([sql.SQL("true")])
    return sql.SQL(" AND ").join(sql.SQL("{} = {}").format(sql.Identifier(one, c), sql.Identifier(other, c)) for c in identity(cdm_tables()[table]))


def moved_rows(world: World, table: str, names: Iterable[str], lookups: Iterable[Lookup]) -> sql.Composed | None:
    """The committed rows of a table that stay as they are although a row that they name does not; None where there can be none."""
    parts = []
    for lookup in sorted(lookups, key=lambda one: one.name):
        if lookup.table in world.changes.moved:
            by_person = lookup.table not in ("person", "death") and _has_person(table) and _has_person(lookup.table)
            parts.append(
                sql.SQL('SELECT "row".ctid FROM {} AS moved INNER JOIN {} AS "row" ON "row".{} = moved.key{}').format(
                    name(world.schemas.run, f"moved_{lookup.table}"),
                    name(world.schemas.cdm, table),
                    sql.Identifier(lookup.field),
                    sql.SQL(' AND "row".person_id = moved.person_id') if by_person else _NONE,
                )
            )
    if not parts:
        return None
    rows = sql.SQL('SELECT {} FROM {} AS "row" WHERE "row".ctid IN ({})').format(
        columns(list(names), "row"), name(world.schemas.cdm, table), sql.SQL(" UNION ").join(parts)
    )
    if table in world.changes.tables:
        gone, _ = gone_and_added(world.schemas, table)
        rows += sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS gone WHERE {})").format(gone, same_row(table, "gone", "row"))
    return rows


def create_moved_tables(connection: Connection, schemas: Schemas, looked_up: Iterable[str]) -> None:
    """Make the tables that `note_moves` fills; each run finds them empty."""
    for table in looked_up:
        person = sql.SQL(", person_id bigint") if _moves_with_person(table) else _NONE
        statement = sql.SQL("CREATE UNLOGGED TABLE {} (key bigint NOT NULL{})")
        execute(connection, statement.format(name(schemas.run, f"moved_{table}"), person))


def _moves_with_person(table: str) -> bool:
    return _has_person(table) and table not in ("person", "death")


def note_moves(connection: Connection, schemas: Schemas, tables: Iterable[str], looked_up: Mapping[str, str]) -> frozenset[str]:
    """Note in `moved_<table>` the keys of looked-up rows that changed or left, so that rows which name them are counted again.

    Args:
        tables: The CDM tables with rows gone or added.
        looked_up: Key column by table that others look up.

    Returns:
        The tables that have such a key.
    """
    moved = set()
    for table in sorted(set(tables) & set(looked_up)):
        gone, added = gone_and_added(schemas, table)
        key = sql.Identifier(looked_up[table])
        person = sql.SQL(", person_id") if _moves_with_person(table) else _NONE
        listed = sql.SQL("{} AS key{}").format(key, sql.SQL("").join(sql.SQL(", {}").format(sql.Identifier(c)) for c in _MOVING.get(table, ())))
        # A new death matters to rows that are there already; any other new key is named by new rows alone.
        both = table == "death"
        query = sql.SQL(
            "INSERT INTO {target} SELECT DISTINCT {key} AS key{person} FROM {gone} WHERE {key} IN (SELECT key FROM"
            " (SELECT {listed} FROM {gone} EXCEPT ALL SELECT {listed} FROM {added}) AS moved)"
        ).format(target=name(schemas.run, f"moved_{table}"), key=key, person=person, gone=gone, added=added, listed=listed)
        if both:
            query += sql.SQL(" UNION SELECT {key} FROM {added} WHERE {key} NOT IN (SELECT {key} FROM {gone})").format(key=key, added=added, gone=gone)
        execute(connection, query)
        if fetch_value(connection, sql.SQL("SELECT EXISTS (SELECT FROM {})").format(name(schemas.run, f"moved_{table}"))):
            moved.add(table)
    if moved:  # taken for ten pages full, they would have whole tables read for a few keys (0.2 of 1 s of checks at 1 GB)
        execute(connection, sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(name(schemas.run, f"moved_{table}") for table in sorted(moved))))
    return frozenset(moved)


def extended(world: World, rows: sql.Composable, names: Iterable[str], lookups: Iterable[Lookup], sign: int) -> sql.Composed:
    """Rows with the columns of what they are looked up in.

    Args:
        world: In which the lookups are made.
        rows: A query, or a table's name.
        names: The rows' own columns that are wanted.
        lookups: Each row's others; at most one row is found by each.
        sign: 1 for rows that count, -1 for rows that are taken away.
    """
    wanted: list[sql.Composable] = [sql.Identifier("row", c) for c in names]
    joins = []
    for lookup in sorted(lookups, key=lambda one: one.name):
        found, joined = _lookup(world, lookup)
        wanted += found
        joins += joined
    return sql.SQL('SELECT {} AS sign, {} FROM {} AS "row"{}').format(sql.Literal(sign), sql.SQL(", ").join(wanted), rows, sql.SQL("").join(joins))


def _lookup(world: World, lookup: Lookup) -> tuple[list[sql.Composable], list[sql.Composed]]:
    """The columns that a lookup brings, and its joins: one, or three where the run changes the table."""
    now, gone, added = lookup.name, f"{lookup.name}-", f"{lookup.name}+"
    joins = [_join(lookup, _once(world, lookup), now)]
    names = {"found": lookup.key, **{c: c for c in lookup.columns}}
    if not world.is_changed(lookup.table):
        return [_as(sql.SQL("{}").format(sql.Identifier(now, c)), lookup, n) for n, c in names.items()], joins
    left, entered = gone_and_added(world.schemas, lookup.table)
    joins += [_join(lookup, left, gone), _join(lookup, entered, added)]
    text = "CASE WHEN {} IS NOT NULL THEN {} WHEN {} IS NULL THEN {} END"
    key = lookup.key
    return [
        _as(sql.SQL(text).format(sql.Identifier(added, key), sql.Identifier(added, c), sql.Identifier(gone, key), sql.Identifier(now, c)), lookup, n)
        for n, c in names.items()
    ], joins


def _as(value: sql.Composed, lookup: Lookup, column: str) -> sql.Composed:
    return value + sql.SQL(" AS {}").format(sql.Identifier(f"{lookup.name}.{column}"))


def _join(lookup: Lookup, table: sql.Composable, alias: str) -> sql.Composed:
    key, own = sql.Identifier(alias, lookup.key), sql.Identifier("row", lookup.field)
    return sql.SQL(" LEFT JOIN {} AS {} ON {} = {}").format(table, sql.Identifier(alias), key, own)


def _once(world: World, lookup: Lookup) -> sql.Composable:
    """The looked-up table; one row of each key where nothing keeps keys from occurring twice."""
    table = world.table(lookup.table)
    if world.catalogue.is_unique(lookup.table, lookup.key):
        return table
    listed = columns(list(dict.fromkeys((lookup.key, *lookup.columns))))
    return sql.SQL("(SELECT DISTINCT ON ({}) {} FROM {} AS known ORDER BY {})").format(sql.Identifier(lookup.key), listed, table, listed)


def _has_person(table: str) -> bool:
    return cdm_tables()[table].person_column is not None
