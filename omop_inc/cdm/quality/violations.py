"""Run the checks that are queries: over everything, or over what an increment touches, before and after.

Belongs here: what the tables of such a query are, put before it as CTEs of the same names. Does not: the queries (queries.py).

A query sees, under plain names, the tables that its header names and no others. In an increment they hold the rows of touched persons
(scope person) or the touched rows by their id, which is that of the staged row a CDM row comes from (scope row).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg import sql

from omop_inc.cdm.delta import PERSON_BESIDE, Delta, has_person
from omop_inc.cdm.local_time import local_columns
from omop_inc.cdm.quality.counting import Count
from omop_inc.cdm.quality.queries import CONTENT_ID, CheckQuery
from omop_inc.cdm.quality.rows import World, gone_and_added, same_row, whole_table
from omop_inc.cdm.results import beside_name
from omop_inc.cdm.scope import visible_rows
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.cdm.transforms import SqlFile, views, views_of
from omop_inc.errors import CheckFileError
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, translate
from omop_inc.store.schemas import columns, name
from omop_inc.store.staging import all_columns

SAMPLES = 10  # ids that are shown of the rows that violate a check
Part = Literal["all", "touched"]
# Materialized where a plan must not run it once per row.
_TOUCHED = "touched by the run"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a query found."""

    count: Count
    samples: tuple[int, ...] = ()


def run_query(
    connection: Connection, query: CheckQuery, world: World, delta: Delta | None = None, *, part: Part = "all", counted: bool = True
) -> Found:
    """Run a check's query in a world.

    Args:
        delta: What an increment changes; None outside of one.
        part: Everything, or what the increment touches.
        counted: Whether violations are asked for, or the denominator alone.

    Raises:
        CheckFileError: If PostgreSQL refuses the query; it names the check.
    """
    tables = _Tables(query, world, delta, part)
    ids = sql.SQL("SELECT count(*), (array_agg(id ORDER BY id))[1:{}] FROM ({}) AS violating (id)").format(
        sql.Literal(SAMPLES), sql.SQL(query.text) if counted else sql.SQL("SELECT 0 WHERE false")
    )
    statement = sql.SQL("WITH {} SELECT violating.*, (SELECT count(*) FROM {}) FROM ({}) AS violating (found, ids)").format(
        tables.ctes(), sql.SQL(query.denominator), ids
    )
    try:
        execute(connection, "SET LOCAL search_path TO pg_catalog")
        row = execute(connection, statement).fetchone() or (0, None, 0)
        execute(connection, "SET LOCAL search_path TO DEFAULT")
    except psycopg.Error as error:
        ours = translate(error)
        if ours.is_transient:
            raise ours from error
        raise CheckFileError(f"Check '{query.check.id}': {ours}. Nothing was applied; correct its SQL or its header.") from error
    return Found(count=Count(violated=row[0], denominator=row[2]), samples=tuple(int(i) for i in row[1] or ()))


def is_touched(query: CheckQuery, world: World, delta: Delta) -> bool:
    """Whether an increment changes anything that a query reads."""
    return bool(_all_reads(query).keys() & (delta.settled | world.changes.tables))


def _all_reads(query: CheckQuery) -> dict[str, tuple[str, ...]]:
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


class _Tables:
    """The tables of one query in one world, as CTEs."""

    def __init__(self, query: CheckQuery, world: World, delta: Delta | None, part: Part) -> None:
        self._query, self._world, self._delta = query, world, delta
        self._scope = query.scope if part == "touched" else "whole"
        self._reads = _all_reads(query)
        self._schemas = world.schemas

    def ctes(self) -> sql.Composed:
        """The CTEs, each after what it needs."""
        parts = [self._touched()] if self._scope != "whole" else []
        for table in (*self._reads, *(t for t in self._query.looks_up if t not in views())):
            parts.append(_cte(table, self._rows(table)))
        for view in self._views():
            parts.append(_cte(view.name, sql.SQL(view.text.rstrip().rstrip(";"))))
        return sql.SQL(", ").join(parts)

    def _views(self) -> list[SqlFile]:
        named = [views()[table] for table in self._query.tables if table in views()]
        return list({view.name: view for view in (*views_of(*named), *named)}.values())

    def _rows(self, table: str) -> sql.Composed:
        if table == CONTENT_ID:
            return self._content_ids()
        is_narrowed = self._scope != "whole" and table in self._reads and table not in self._query.looks_up
        if table in SOURCE_TABLES:
            facts = SOURCE_TABLES[table]
            return self._narrow_source(facts) if is_narrowed else self._source(facts)
        if is_narrowed and self._scope == "person" and has_person(table):
            return sql.SQL("SELECT * FROM ({}) AS image WHERE person_id IN (SELECT person_id FROM {})").format(self._cdm(table), _touched())
        if is_narrowed and self._scope == "row" and cdm_tables()[table].schema == "cdm":
            return self._narrow_cdm(table)
        return self._cdm(table)

    def _content_ids(self) -> sql.Composed:
        ids = sql.SQL("SELECT id FROM {}").format(name(self._schemas.state, "content_id"))
        if self._world.state != "committed":
            ids += sql.SQL(" UNION ALL SELECT id FROM {}").format(name(self._schemas.run, "new_content_id"))
        return ids

    def _cdm(self, table: str) -> sql.Composed:
        """All rows of a CDM table, with their person where they have one beside."""
        names = [c for c in cdm_tables()[table].columns if self._world.catalogue.has(table, c)]
        if table not in PERSON_BESIDE:
            return whole_table(self._world, table, names)
        beside = name(self._schemas.run if self._world.state == "built" else self._schemas.state, beside_name(table))
        if table == "cost":
            rows = sql.SQL("SELECT {}, beside.person_id FROM {} AS image INNER JOIN {} AS beside ON beside.cost_id = image.cost_id").format(
                columns(names, "image"), self._world.table(table), beside
            )
        elif self._scope == "whole":  # the table itself, whatever is beside it
            persons = sql.SQL("(SELECT DISTINCT {}, person_id FROM {})").format(columns(names), beside)
            same = sql.SQL(" AND ").join(sql.SQL("beside.{0} = image.{0}").format(sql.Identifier(c)) for c in names)
            rows = sql.SQL("SELECT {}, beside.person_id FROM {} AS image LEFT JOIN {} AS beside ON {}").format(
                columns(names, "image"), self._world.table(table), persons, same
            )
        else:
            rows = sql.SQL("SELECT {}, image.person_id FROM {} AS image").format(columns(names, "image"), beside)
        if not self._world.is_changed(table):
            return rows
        gone, added = gone_and_added(self._schemas, table)
        left = sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS gone WHERE {})").format(gone, same_row(table, "gone", "image"))
        return rows + left + sql.SQL(" UNION ALL SELECT {}, person_id FROM {}").format(columns(names), added)

    def _source(self, table: SourceTable) -> sql.Composed:
        """All rows of a source table."""
        names = local_columns(table, "image", self._world.time_zone)
        schema = self._schemas.next_staging if self._world.state == "built" else self._schemas.staging
        rows = sql.SQL("SELECT {} FROM {} AS image").format(names, name(schema, table.name))
        if not self._is_settled(table.name) or self._world.state != "after":
            return rows
        left = sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS gone WHERE gone.row_id = image.row_id)").format(self._moved(table, "_out"))
        return rows + left + sql.SQL(" UNION ALL SELECT {} FROM {} AS image").format(names, self._moved(table, "_in"))

    def _narrow_source(self, table: SourceTable) -> sql.Composed:
        """The rows of a source table that belong to touched persons, or that are touched themselves."""
        owner = sql.Identifier("image", table.patient) if table.patient else None
        if self._scope == "person":
            where = sql.SQL(" AS image WHERE {} IN (SELECT patient FROM {})").format(owner, _touched()) if owner else sql.SQL(" AS image")
            return sql.SQL("SELECT * FROM ({}){}").format(self._source(table), where)
        names = local_columns(table, "image", self._world.time_zone)
        same: sql.Composable = sql.SQL("touched.id = image.row_id AND NOT touched.is_moved")
        if owner is not None:
            same = sql.Composed([same, sql.SQL(" AND touched.patient = {}").format(owner)])
        rows = sql.SQL("SELECT {} FROM {} AS image INNER JOIN {} AS touched ON {}").format(
            names, name(self._schemas.staging, table.name), _touched(), same
        )
        if not self._is_settled(table.name):
            return rows
        moved = self._moved(table, "_in" if self._world.state == "after" else "_out")
        return rows + sql.SQL(" UNION ALL SELECT {} FROM {} AS image").format(names, moved)

    def _narrow_cdm(self, table: str) -> sql.Composed:
        """The touched rows of a CDM table: those that change, and those of whose id the source row does."""
        facts = cdm_tables()[table]
        names = columns(list(facts.columns), "image")
        rows = sql.SQL("SELECT {} FROM {} AS image WHERE image.{} IN (SELECT id FROM {})").format(
            names, name(self._schemas.cdm, table), sql.Identifier(identity(facts)[0]), _touched()
        )
        if table not in self._world.changes.tables:
            return rows
        gone, added = gone_and_added(self._schemas, table)
        rows += sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS gone WHERE {})").format(gone, same_row(table, "gone", "image"))
        return rows + sql.SQL(" UNION ALL SELECT {} FROM {} AS image").format(names, added if self._world.state == "after" else gone)

    def _touched(self) -> sql.Composed:
        """The touched persons (patient, person_id), or rows (id, patient, is_moved: a source row that changes itself)."""
        text = sql.SQL("{} AS MATERIALIZED ({})")
        return text.format(_touched(), self._touched_persons() if self._scope == "person" else self._touched_rows())

    def _touched_persons(self) -> sql.Composed:
        assert self._delta is not None
        known = name(self._schemas.run, "known_person")
        by_patient, by_person = [], []
        for table, names in self._reads.items():
            if table in SOURCE_TABLES and SOURCE_TABLES[table].patient:
                for rows in visible_rows(self._delta, SOURCE_TABLES[table], names or all_columns(SOURCE_TABLES[table])):
                    by_patient.append(sql.SQL("SELECT {} FROM ({}) AS seen").format(sql.Identifier(str(SOURCE_TABLES[table].patient)), rows))
            elif table in self._world.changes.tables and has_person(table):
                by_person += self._changed_persons(table, names)
        wheres = [
            sql.SQL("{} IN ({})").format(sql.Identifier(column), sql.SQL(" UNION ").join(parts))
            for column, parts in (("patient", by_patient), ("person_id", by_person))
            if parts
        ]
        return sql.SQL("SELECT patient, person_id FROM {} WHERE {}").format(known, sql.SQL(" OR ").join(wheres) if wheres else sql.SQL("false"))

    def _changed_persons(self, table: str, names: tuple[str, ...]) -> list[sql.Composed]:
        listed = columns(list(dict.fromkeys(("person_id", *(names or cdm_tables()[table].columns)))))
        sides = [sql.SQL("SELECT {} FROM {}").format(listed, one) for one in gone_and_added(self._schemas, table)]
        return [sql.SQL("SELECT person_id FROM ({} EXCEPT ALL {}) AS differing").format(one, other) for one, other in (sides, sides[::-1])]

    def _touched_rows(self) -> sql.Composed:
        assert self._delta is not None
        moved, written = [], []
        for table in self._reads:
            if table in SOURCE_TABLES and self._is_settled(table):
                owner = SOURCE_TABLES[table].patient
                patient = sql.Identifier(owner) if owner else sql.SQL("NULL::uuid")
                moved += [
                    sql.SQL("SELECT row_id AS id, {} AS patient FROM {}").format(patient, self._moved(SOURCE_TABLES[table], one))
                    for one in ("_in", "_out")
                ]
            elif table in self._world.changes.tables:
                written += [self._written_rows(table, one) for one in gone_and_added(self._schemas, table)]
        none = sql.SQL("SELECT NULL::bigint AS id, NULL::uuid AS patient WHERE false").format()
        return sql.SQL(
            "SELECT id, patient, bool_or(is_moved) AS is_moved FROM (SELECT id, patient, true AS is_moved FROM ({}) AS moved"
            " UNION ALL SELECT id, patient, false FROM ({}) AS written) AS touched GROUP BY id, patient"
        ).format(*(sql.SQL(" UNION ALL ").join(parts or [none]) for parts in (moved, written)))

    def _written_rows(self, table: str, rows: sql.Identifier) -> sql.Composed:
        key = sql.Identifier("written", identity(cdm_tables()[table])[0])
        if not has_person(table):
            return sql.SQL("SELECT {} AS id, NULL::uuid AS patient FROM {} AS written").format(key, rows)
        return sql.SQL("SELECT {} AS id, known.patient FROM {} AS written LEFT JOIN {} AS known ON known.person_id = written.person_id").format(
            key, rows, name(self._schemas.run, "known_person")
        )

    def _is_settled(self, table: str) -> bool:
        return self._delta is not None and table in self._delta.settled

    def _moved(self, table: SourceTable, suffix: str) -> sql.Identifier:
        return name(self._schemas.run, table.name + suffix)


def _touched() -> sql.Identifier:
    return sql.Identifier(_TOUCHED)


def _cte(table: str, rows: sql.Composable) -> sql.Composed:
    return sql.SQL("{} AS NOT MATERIALIZED ({})").format(sql.Identifier(table), rows)


def move(stored: Count, old: Found, new: Found) -> Found:
    """The counts of the whole table after an increment, from those before it."""
    violated = stored.violated - old.count.violated + new.count.violated
    denominator = stored.denominator - old.count.denominator + new.count.denominator
    return replace(new, count=Count(violated=violated, denominator=denominator))


def missing_tables(query: CheckQuery, world: World) -> list[str]:
    """The CDM tables that a query names and that are not there."""
    named: Mapping[str, object] = {**_all_reads(query), **dict.fromkeys(query.looks_up)}
    return sorted(t for t in named if t in cdm_tables() and not world.catalogue.has(t))
