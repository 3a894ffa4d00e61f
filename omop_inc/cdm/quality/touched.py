"""Which persons and rows an increment touches in the eyes of each check that is a query.

Belongs here: finding them, for all checks at once. Does not: what a query then sees of them (violations.py).

A change counts only if a check can see it: a row that stays the same in the columns that the check's header names is not touched.
"""

from collections.abc import Iterable, Mapping

from psycopg import sql

from omop_inc.cdm.delta import Delta, has_person
from omop_inc.cdm.quality.queries import CheckQuery
from omop_inc.cdm.quality.rows import World, gone_and_added
from omop_inc.cdm.scope import visible_rows
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.cdm.transforms import views, views_of
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, columns, name
from omop_inc.store.staging import all_columns

TOUCHED = "touched"


def create_touched_table(connection: Connection, schemas: Schemas) -> None:
    """Make the table that `note_touched` fills: of a check of scope person the persons, of one of scope row the rows with their persons.

    `is_moved` tells a source row that changes itself from one whose CDM row does.
    """
    table = name(schemas.run, TOUCHED)
    text = "CREATE UNLOGGED TABLE {} (check_id text NOT NULL, id bigint, patient uuid, person_id bigint, is_moved boolean NOT NULL)"
    execute(connection, sql.SQL(text).format(table))
    execute(connection, sql.SQL("CREATE INDEX ON {} (check_id)").format(table))
    # Of one check nearly all rows may be moved, and of another none: a plan for half of them reads whole tables.
    statistics = sql.SQL("CREATE STATISTICS {} (mcv) ON check_id, is_moved FROM {}")
    execute(connection, statistics.format(name(schemas.run, "touched_moved"), table))


def all_reads(query: CheckQuery) -> dict[str, tuple[str, ...]]:
    """The tables that a query reads, through views as well, with the columns that matter (none: all)."""
    found: dict[str, tuple[str, ...]] = {}
    for table, names in query.reads.items():
        if table in views():
            for view in (*views_of(views()[table]), views()[table]):
                for below, listed in {**view.source_reads, **view.cdm_reads}.items():
                    found[below] = (*found.get(below, ()), *listed)
        else:
            found[table] = names
    return found


def is_touched(query: CheckQuery, world: World, delta: Delta) -> bool:
    """Whether an increment changes anything in a table that a query reads."""
    return bool(all_reads(query).keys() & (delta.settled | world.changes.tables))


def note_touched(connection: Connection, world: World, delta: Delta, queries: Iterable[CheckQuery]) -> frozenset[str]:
    """Note what the increment touches, in one statement for all checks.

    Returns:
        The checks that are touched: in a row that they see, or if they look at everything, in a table.
    """
    queries = [query for query in queries if is_touched(query, world, delta)]
    whole = frozenset(query.check.id for query in queries if query.scope == "whole")
    parts = [part for query in queries if query.scope != "whole" for part in _touched(query, world, delta)]
    if not parts:
        return whole
    schemas = world.schemas
    known = sql.SQL("SELECT id, row_id FROM {} WHERE id IN (SELECT patient FROM seen) OR row_id IN (SELECT person_id FROM seen)")
    statement = sql.SQL(
        "WITH seen AS MATERIALIZED (SELECT check_id, id, patient, person_id, bool_or(is_moved) AS is_moved FROM ({}) AS part"
        " (check_id, id, patient, person_id, is_moved) GROUP BY check_id, id, patient, person_id),"
        " known AS MATERIALIZED ({} UNION {})"
        " INSERT INTO {} SELECT seen.check_id, seen.id, coalesce(seen.patient, by_id.id), coalesce(seen.person_id, by_patient.row_id),"
        " bool_or(seen.is_moved) FROM seen LEFT JOIN known AS by_id ON seen.patient IS NULL AND by_id.row_id = seen.person_id"
        " LEFT JOIN known AS by_patient ON seen.person_id IS NULL AND by_patient.id = seen.patient GROUP BY 1, 2, 3, 4"
    )
    touched = name(schemas.run, TOUCHED)
    people = (known.format(name(schemas.staging, "patients")), known.format(name(schemas.run, "patients_in")))
    execute(connection, statement.format(sql.SQL(" UNION ALL ").join(parts), *people, touched))
    execute(connection, sql.SQL("ANALYZE {}").format(touched))
    return whole | {row[0] for row in execute(connection, sql.SQL("SELECT DISTINCT check_id FROM {}").format(touched))}


def _touched(query: CheckQuery, world: World, delta: Delta) -> list[sql.Composed]:
    """Queries for what one check sees: its id, the row's id, patient, person_id, is_moved."""
    parts = _unbalanced(query, world, delta)
    balanced = {amount.table for amount in query.balance}
    for table, names in all_reads(query).items():
        if table in balanced:
            continue
        if table in SOURCE_TABLES:
            parts += _moved(query, SOURCE_TABLES[table], delta, names)
        elif table in world.changes.tables:
            parts += _written(query, world, table, names)
    return parts


def _moved(query: CheckQuery, table: SourceTable, delta: Delta, names: tuple[str, ...]) -> list[sql.Composed]:
    """The rows by which a source table changes."""
    column = owner_column(table)
    if query.scope == "person" and not column:
        return []
    owner = sql.Identifier(column) if column else sql.SQL("NULL::uuid")
    key = sql.SQL("NULL::bigint" if query.scope == "person" else "row_id")
    return [
        sql.SQL("SELECT {}, {}, {}, NULL::bigint, true FROM ({}) AS moved").format(sql.Literal(query.check.id), key, owner, rows)
        for rows in visible_rows(delta, table, names or all_columns(table))
    ]


def owner_column(table: SourceTable) -> str | None:
    """The column that tells whose a source row is; a patient is his own."""
    return "id" if table.name == "patients" else table.patient


def _unbalanced(query: CheckQuery, world: World, delta: Delta) -> list[sql.Composed]:
    """The persons of whom the sums that the check compares do not change alike: source tables against CDM tables."""
    parts = []
    for amount in query.balance:
        facts = SOURCE_TABLES.get(amount.table)
        if amount.table not in (delta.settled if facts else world.changes.tables):
            continue
        person = sql.SQL("known.person_id" if facts else "one.person_id")
        join = _owner_of(world.schemas, sql.Identifier("one", str(facts.patient))) if facts else sql.SQL("")
        sides = (name(world.schemas.run, amount.table + suffix) for suffix in ("_in", "_out"))
        for sign, rows in zip((1, -1), sides if facts else reversed(gone_and_added(world.schemas, amount.table)), strict=True):
            value = sql.SQL("{} * {}").format(sql.Literal(sign if facts else -sign), sql.Identifier("one", amount.column))
            text = sql.SQL("SELECT {}, {} AS amount FROM (SELECT * FROM {} WHERE {}) AS one{}")
            parts.append(text.format(person, value, rows, sql.SQL(amount.where), join))
    if not parts:
        return []
    text = sql.SQL(
        "SELECT {}, NULL::bigint, NULL::uuid, person_id, false FROM ({}) AS changed"
        " GROUP BY person_id HAVING sum(amount) FILTER (WHERE amount IS NOT NULL) <> 0"
    )
    return [text.format(sql.Literal(query.check.id), sql.SQL(" UNION ALL ").join(parts))]


def _owner_of(schemas: Schemas, patient: sql.Composable) -> sql.Composed:
    return sql.SQL(" INNER JOIN {} AS known ON known.patient = {}").format(name(schemas.run, "known_person"), patient)


def _written(query: CheckQuery, world: World, table: str, names: tuple[str, ...]) -> list[sql.Composed]:
    """The rows by which a CDM table changes, but for those that stay the same in the columns that are read."""
    facts = cdm_tables()[table]
    person = ("person_id",) if has_person(table) else ()
    if query.scope == "person" and not person:
        return []
    own = identity(facts) if query.scope == "row" else ()
    listed = columns(list(dict.fromkeys((*person, *own, *(names or facts.columns)))))
    sides = [sql.SQL("SELECT {} FROM {}").format(listed, one) for one in gone_and_added(world.schemas, table)]
    key = sql.Identifier(own[0]) if own else sql.SQL("NULL::bigint")
    return [
        sql.SQL("SELECT {}, {}, NULL::uuid, {}, false FROM ({} EXCEPT ALL {}) AS written").format(
            sql.Literal(query.check.id), key, sql.SQL("person_id") if person else sql.SQL("NULL::bigint"), one, other
        )
        for one, other in (sides, sides[::-1])
    ]


def touched_rows(schemas: Schemas, query: CheckQuery) -> sql.Composed:
    """What was noted of a check."""
    text = sql.SQL("SELECT id, patient, person_id, is_moved FROM {} WHERE check_id = {}")
    return text.format(name(schemas.run, TOUCHED), sql.Literal(query.check.id))


def missing_tables(query: CheckQuery, world: World) -> list[str]:
    """The CDM tables that a query names and that are not there."""
    named: Mapping[str, object] = {**all_reads(query), **dict.fromkeys(query.looks_up)}
    return sorted(t for t in named if t in cdm_tables() and not world.catalogue.has(t))
