"""The tables and views in which increments work: made once, found empty by every run.

Belongs here: making, emptying and dropping them, and knowing what they were made for. Does not: what is in them (store/intake.py,
cdm/scope.py, cdm/world.py, cdm/results.py).

Some 240 tables and 260 views would otherwise be made and dropped by each run, which on a small delta cost more than its work
(docs/decisions/0035-scaffold.md).
"""

import hashlib
from dataclasses import replace

from psycopg import sql

from omop_inc import __version__
from omop_inc.cdm import lookups
from omop_inc.cdm.quality.rows import create_moved_tables
from omop_inc.cdm.quality.touched import create_touched_table
from omop_inc.cdm.results import create_result_tables
from omop_inc.cdm.scope import create_delta_views, create_place_views, create_scope_tables
from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import transforms, views
from omop_inc.cdm.world import create_schema, create_world
from omop_inc.resources import read_sql
from omop_inc.runs.checking import LOOKED_UP
from omop_inc.runs.context import Run, drop_run_schemas
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import intake
from omop_inc.store.db import Connection, Database, execute, fetch_value
from omop_inc.store.schemas import Schemas

# A table smaller than this is emptied row by row (0.3 ms) and vacuumed, a larger one gets new files (2 to 10 ms for its six, most of it fsync).
TRUNCATE_BYTES = 256 << 10
# Behind the stamp while every table is empty.
_EMPTY = " empty"
# Raise it when the form of the run's own tables changes otherwise than through the SQL files and the tables of facts.
SCAFFOLD_VERSION = 5


def ready_scaffold(run: Run) -> None:
    """Find the scaffold as this code needs it and empty, or make it so, and take it for this run."""
    _make_ready(run, is_taken=True)


def clear_scaffold(run: Run) -> None:
    """Leave the scaffold as this code needs it and empty, for the next run, and nothing of one that built beside."""
    _make_ready(run, is_taken=False)


def build_scaffold(run: Run) -> None:
    """Make the scaffold of increments over what a full load has built, before that is published: beside other work it costs no time of its own.

    If that never happens, or rows are copied instead of tables exchanged, its views go with the tables on which they stand, whoever drops these;
    the stamp's number of relations tells, and the scaffold is made anew.
    """
    schemas, zone = run.schemas.over_built(), run.settings.time_zone
    with run.recorder.step("scaffold"):
        if run.is_again("scaffold"):
            drop_run_schemas(run, beside=False)
        with run.database.connection() as connection:
            create_scaffold(connection, schemas, zone)
            _write_stamp(connection, schemas, _stamp(connection, schemas, zone) + _EMPTY)


def _make_ready(run: Run, *, is_taken: bool) -> None:
    database, schemas, zone = run.database, replace(run.schemas, is_beside=False), run.settings.time_zone
    with run.recorder.step("scaffold"):
        drop_run_schemas(run, scaffold=False)  # with what stands on tables that were never published
        with database.connection() as connection:
            stamp, found = _stamp(connection, schemas, zone), _read_stamp(connection, schemas)
        if found == stamp:
            empty_scaffold(database, schemas)
        elif found != stamp + _EMPTY:
            drop_run_schemas(run, beside=False)
            with database.connection() as connection:
                create_scaffold(connection, schemas, zone)
                stamp = _stamp(connection, schemas, zone)
        with database.connection() as connection:
            _write_stamp(connection, schemas, stamp if is_taken else stamp + _EMPTY)


def create_scaffold(connection: Connection, schemas: Schemas, time_zone: str) -> None:
    """Make every table and view that an increment may need; the views show instants in the zone."""
    for schema in (schemas.run, schemas.result):
        create_schema(connection, schema)
    intake.create_bad_table(connection, schemas)
    for table in SOURCE_TABLES.values():
        intake.create_delta_tables(connection, schemas, table)
    lookups.create_lookups(connection, schemas)
    lookups.create_map_tables(connection, schemas)
    create_delta_views(connection, schemas)
    create_scope_tables(connection, schemas)
    create_place_views(connection, schemas)
    create_result_tables(connection, schemas)
    create_moved_tables(connection, schemas, LOOKED_UP)
    create_touched_table(connection, schemas)
    for transform in transforms():
        create_world(connection, schemas, transform, time_zone)
    _analyze(connection, [table for table, _ in _sizes(connection, schemas)])


def empty_scaffold(database: Database, schemas: Schemas) -> None:
    """Empty the tables that hold anything, and tell the planner: it takes a table without statistics for ten pages.

    Autovacuum leaves tables of so few rows alone, or comes too late where a day is a minute: with their deleted rows left in place a
    hundredth day took 1.28 times as long as in a new store, with VACUUM of these tables 1.04 times. That keeps their files, whose
    shortening costs 2 ms each.
    """
    filled: list[sql.Identifier] = []
    with database.connection() as connection:
        sizes = _sizes(connection, schemas)
        large = [table for table, size in sizes if size >= TRUNCATE_BYTES]
        if large:
            execute(connection, sql.SQL("TRUNCATE {}").format(sql.SQL(", ").join(large)))
            _analyze(connection, large)
        for table, size in sizes:
            if 0 < size < TRUNCATE_BYTES and execute(connection, sql.SQL("DELETE FROM {}").format(table)).rowcount:
                filled.append(table)
    if filled:
        with database.autocommit() as connection:
            execute(connection, sql.SQL("VACUUM (ANALYZE, TRUNCATE FALSE) {}").format(sql.SQL(", ").join(filled)))


def _analyze(connection: Connection, tables: list[sql.Identifier]) -> None:
    execute(connection, sql.SQL("ANALYZE {}").format(sql.SQL(", ").join(tables)))


def _sizes(connection: Connection, schemas: Schemas) -> list[tuple[sql.Identifier, int]]:
    """The scaffold's tables with the bytes of their files."""
    query = (
        "SELECT nspname, relname, pg_relation_size(pg_class.oid) FROM pg_class INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE nspname = ANY(%s) AND relkind = 'r' ORDER BY nspname, relname"
    )
    rows = execute(connection, query, ([schemas.run, schemas.result],))
    return [(sql.Identifier(schema, table), size) for schema, table, size in rows]


def _stamp(connection: Connection, schemas: Schemas, time_zone: str) -> str:
    """What the scaffold is made for: this code, the zone, its SQL and facts; and how many relations it has, lest one was dropped."""
    texts = [
        __version__,
        str(SCAFFOLD_VERSION),
        *(f"{file.name}\0{file.text}" for files in (views(), transforms()) for _, file in sorted(files.items())),
        *(read_sql(f"ddl/{file}.sql") for file in ("vocab_map", "state")),
        *map(repr, SOURCE_TABLES.values()),
        *map(repr, cdm_tables().values()),
        schemas.vocabulary,
        time_zone,
    ]
    query = (
        "SELECT count(*) FROM pg_class INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace"
        " WHERE (nspname = %s OR nspname LIKE %s) AND nspname <> ALL(%s) AND relkind IN ('r', 'v')"
    )
    relations = fetch_value(connection, query, (schemas.scaffold, schemas.scaffold_pattern, list(schemas.beside)))
    return f"{hashlib.sha256(chr(0).join(texts).encode()).hexdigest()} {relations}"


def _write_stamp(connection: Connection, schemas: Schemas, stamp: str) -> None:
    execute(connection, sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(schemas.scaffold), sql.Literal(stamp)))


def _read_stamp(connection: Connection, schemas: Schemas) -> str | None:
    query = "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = %s"
    stamp: str | None = fetch_value(connection, query, (schemas.scaffold,))
    return stamp
