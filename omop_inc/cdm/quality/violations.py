"""Run the checks that are queries: over everything, or over what an increment touches, before and after.

Belongs here: what the tables of such a query are, put before it as CTEs of the same names. Does not: the queries (queries.py).

A query sees, under plain names, the tables that its header names and no others. In an increment they hold the rows of touched persons
(scope person) or the touched rows by their id, which is that of the staged row a CDM row comes from (scope row).
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import psycopg
from psycopg import sql

from omop_inc.cdm.delta import PERSON_BESIDE, Delta, has_person
from omop_inc.cdm.local_time import local_columns
from omop_inc.cdm.quality.counting import Count
from omop_inc.cdm.quality.queries import CONTENT_ID, CheckQuery
from omop_inc.cdm.quality.rows import World, gone_and_added, same_row, whole_table
from omop_inc.cdm.quality.touched import all_reads, owner_column, touched_rows
from omop_inc.cdm.results import beside_name
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.cdm.transforms import SqlFile, views, views_of
from omop_inc.errors import CheckFileError
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, translate
from omop_inc.store.schemas import columns, name

SAMPLES = 10  # ids that are shown of the rows that violate a check
Part = Literal["all", "touched"]
_TOUCHED = "touched by the run"
_NONE = sql.SQL("")
_PERSON = re.compile(r"\bperson_id\b")


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
    text = query.text_of_touched if part == "touched" and query.text_of_touched else query.text
    ids = sql.SQL("SELECT count(*), (array_agg(id ORDER BY id))[1:{}] FROM ({}) AS violating (id)").format(
        sql.Literal(SAMPLES), sql.SQL(text) if counted else sql.SQL("SELECT 0 WHERE false")
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


class _Tables:
    """The tables of one query in one world, as CTEs."""

    def __init__(self, query: CheckQuery, world: World, delta: Delta | None, part: Part) -> None:
        self._query, self._world, self._delta = query, world, delta
        self._scope = query.scope if part == "touched" else "whole"
        self._reads = all_reads(query)
        self._schemas = world.schemas

    def ctes(self) -> sql.Composed:
        """The CTEs, each after what it needs."""
        parts = []
        if self._scope != "whole":
            parts.append(_cte(_TOUCHED, touched_rows(self._schemas, self._query)))
        for table in dict.fromkeys((*self._reads, *(t for t in self._query.looks_up if t not in views()))):
            # Touched rows are few, and both the violations and the denominator are counted of them.
            parts.append(_cte(table, self._rows(table), is_kept=self._scope == "row" and table not in self._query.looks_up))
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
            if is_narrowed and self._scope == "row":
                return self._touched_source(facts)
            return self._source(facts, is_narrowed=is_narrowed and owner_column(facts) is not None)
        if is_narrowed and self._scope == "row" and cdm_tables()[table].schema == "cdm":
            return self._touched_cdm(table)
        if self._scope == "row" and self._query.looks_up.get(table):
            return whole_table(self._world, table, self._columns(table), self._named_by_touched(table))
        return self._cdm(table, is_narrowed=is_narrowed and has_person(table))

    def _columns(self, table: str) -> list[str]:
        return [c for c in cdm_tables()[table].columns if self._world.catalogue.has(table, c)]

    def _named_by_touched(self, table: str) -> sql.Composed:
        """Rows of a looked-up table that a touched row names, in columns of the same names."""
        names = self._query.looks_up[table]
        naming = [one for one in self._reads if one in cdm_tables() and set(names) <= set(cdm_tables()[one].columns)]
        keys = sql.SQL(" UNION ").join(sql.SQL("SELECT {} FROM {}").format(columns(names), sql.Identifier(one)) for one in naming)
        return sql.SQL("({}) IN ({})").format(columns(names, "row"), keys)

    def _content_ids(self) -> sql.Composed:
        ids = sql.SQL("SELECT id FROM {}").format(name(self._schemas.state, "content_id"))
        if self._world.state != "committed":
            ids += sql.SQL(" UNION ALL SELECT id FROM {}").format(name(self._schemas.run, "new_content_id"))
        return ids

    def _cdm(self, table: str, *, is_narrowed: bool) -> sql.Composed:
        """The rows of a CDM table, with their person where they have one beside; narrowed: of the touched persons."""
        names = self._columns(table)
        mine = sql.SQL("{}.person_id IN (SELECT person_id FROM {})")
        if not self._has_beside(table):
            return whole_table(self._world, table, names, mine.format(sql.Identifier("row"), _touched()) if is_narrowed else None)
        rows, owner = self._with_person(table, names, is_narrowed=is_narrowed)
        wheres, added_where = (
            ([mine.format(owner, _touched())], sql.SQL(" WHERE ") + mine.format(sql.SQL("added"), _touched())) if is_narrowed else ([], _NONE)
        )
        if not self._world.is_changed(table):
            return rows + _where(wheres)
        gone, added = gone_and_added(self._schemas, table)
        wheres.append(sql.SQL("NOT EXISTS (SELECT FROM {} AS gone WHERE {})").format(gone, same_row(table, "gone", "image")))
        return rows + _where(wheres) + sql.SQL(" UNION ALL SELECT {}, person_id FROM {} AS added{}").format(columns(names), added, added_where)

    def _has_beside(self, table: str) -> bool:
        """Whether rows are joined with the person beside them; a query that names no person needs none."""
        return table in PERSON_BESIDE and (self._scope == "person" or _PERSON.search(self._query.text + self._query.denominator) is not None)

    def _with_person(self, table: str, names: list[str], *, is_narrowed: bool) -> tuple[sql.Composed, sql.Composable]:
        """The committed or built rows of a table that has its persons beside, and where the person is."""
        beside = name(self._schemas.run if self._world.state == "built" else self._schemas.state, beside_name(table))
        listed = columns(names, "image")
        if table == "cost":
            rows = sql.SQL("SELECT {}, beside.person_id FROM {} AS image INNER JOIN {} AS beside ON beside.cost_id = image.cost_id")
            return rows.format(listed, self._world.table(table), beside), sql.SQL("beside")
        if is_narrowed:
            return sql.SQL("SELECT {}, image.person_id FROM {} AS image").format(listed, beside), sql.SQL("image")
        # The table itself, whatever is beside it.
        persons = sql.SQL("(SELECT DISTINCT {}, person_id FROM {})").format(columns(names), beside)
        same = sql.SQL(" AND ").join(sql.SQL("beside.{0} = image.{0}").format(sql.Identifier(c)) for c in names)
        rows = sql.SQL("SELECT {}, beside.person_id FROM {} AS image LEFT JOIN {} AS beside ON {}")
        return rows.format(listed, self._world.table(table), persons, same), sql.SQL("beside")

    def _source(self, table: SourceTable, *, is_narrowed: bool) -> sql.Composed:
        """The rows of a source table; narrowed: of the touched persons."""
        names = local_columns(table, "image", self._world.time_zone)
        schema = self._schemas.next_staging if self._world.state == "built" else self._schemas.staging
        mine = sql.SQL("{} IN (SELECT patient FROM {})").format(sql.Identifier("image", str(owner_column(table))), _touched())
        wheres = [mine] if is_narrowed else []
        text = sql.SQL("SELECT {} FROM {} AS image{}")
        image = name(schema, table.name)
        if not self._is_settled(table.name) or self._world.state != "after":
            return text.format(names, image, _where(wheres))
        stays = sql.SQL("NOT EXISTS (SELECT FROM {} AS gone WHERE gone.row_id = image.row_id)").format(self._moved(table, "_out"))
        entered = text.format(names, self._moved(table, "_in"), _where(wheres))
        return text.format(names, image, _where([*wheres, stays])) + sql.SQL(" UNION ALL ") + entered

    def _touched_source(self, table: SourceTable) -> sql.Composed:
        """The touched rows of a source table."""
        names = local_columns(table, "image", self._world.time_zone)
        same: sql.Composable = sql.SQL("touched.id = image.row_id AND NOT touched.is_moved")
        if owner := owner_column(table):
            same = sql.Composed([same, sql.SQL(" AND touched.patient = {}").format(sql.Identifier("image", owner))])
        rows = sql.SQL("SELECT {} FROM {} AS image INNER JOIN {} AS touched ON {}").format(
            names, name(self._schemas.staging, table.name), _touched(), same
        )
        if not self._is_settled(table.name):
            return rows
        moved = self._moved(table, "_in" if self._world.state == "after" else "_out")
        return rows + sql.SQL(
            " UNION ALL SELECT {} FROM {} AS image WHERE image.row_id IN (SELECT id FROM {} AS touched WHERE touched.is_moved)"
        ).format(names, moved, _touched())

    def _touched_cdm(self, table: str) -> sql.Composed:
        """The touched rows of a CDM table: those that change, and those of whose id the source row does."""
        facts = cdm_tables()[table]
        names = self._columns(table)
        where = sql.SQL("{}.{} IN (SELECT id FROM {})")
        key = sql.Identifier(identity(facts)[0])
        owner = sql.SQL("")
        if table == "cost" and self._has_beside(table):
            rows, _ = self._with_person(table, names, is_narrowed=True)
            owner = sql.SQL(", person_id")
        else:
            rows = sql.SQL("SELECT {} FROM {} AS image").format(columns(names, "image"), name(self._schemas.cdm, table))
        rows += sql.SQL(" WHERE ") + where.format(sql.SQL("image"), key, _touched())
        if table not in self._world.changes.tables:
            return rows
        gone, added = gone_and_added(self._schemas, table)
        rows += sql.SQL(" AND NOT EXISTS (SELECT FROM {} AS gone WHERE {})").format(gone, same_row(table, "gone", "image"))
        return rows + sql.SQL(" UNION ALL SELECT {}{} FROM {} AS image WHERE {}").format(
            columns(names, "image"), owner, added if self._world.state == "after" else gone, where.format(sql.SQL("image"), key, _touched())
        )

    def _is_settled(self, table: str) -> bool:
        return self._delta is not None and table in self._delta.settled

    def _moved(self, table: SourceTable, suffix: str) -> sql.Identifier:
        return name(self._schemas.run, table.name + suffix)


def _where(conditions: list[sql.Composed]) -> sql.Composable:
    return sql.SQL(" WHERE ") + sql.SQL(" AND ").join(conditions) if conditions else _NONE


def _touched() -> sql.Identifier:
    return sql.Identifier(_TOUCHED)


def _cte(table: str, rows: sql.Composable, *, is_kept: bool = False) -> sql.Composed:
    """A CTE; kept: worked out once, whatever the plan."""
    return sql.SQL("{} AS {} ({})").format(sql.Identifier(table), sql.SQL("MATERIALIZED" if is_kept else "NOT MATERIALIZED"), rows)


def move(stored: Count, old: Found, new: Found) -> Found:
    """The counts of the whole table after an increment, from those before it."""
    violated = stored.violated - old.count.violated + new.count.violated
    denominator = stored.denominator - old.count.denominator + new.count.denominator
    return replace(new, count=Count(violated=violated, denominator=denominator))
