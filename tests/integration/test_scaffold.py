"""The tables and views of increments: a full load makes them over what it builds, and nobody takes them over tables that were not published."""

from pathlib import Path
from typing import Any

import psycopg
import pytest

from omop_inc.errors import DatabaseError
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import open_database
from omop_inc.store.intake import mark_incoming
from omop_inc.store.schemas import Schemas
from tests.comparing import differences
from tests.factories import small_world
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

BESIDE = {"cdm_run_load", "cdm_run_load_delta", "cdm_run_cdm", "cdm_run_staging"}


@pytest.fixture
def days(tmp_path: Path) -> tuple[Path, Path]:
    history = History(small_world(3))
    a = write_snapshot(tmp_path / "a", history.step([]))
    changes = [Change("arrive", row=3), Change("update", "encounters", 0, 2, 3), Change("update", "medications"), Change("delete", "procedures")]
    return a, write_snapshot(tmp_path / "b", history.step(changes))


def _schemas(cdm: Cdm) -> set[str]:
    return {name for (name,) in cdm.query(r"SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cdm\_run%%'")}


def _stamp(cdm: Cdm) -> Any:
    return cdm.query("SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'cdm_run'")[0][0]


def _made(cdm: Cdm) -> list[tuple[Any, ...]]:
    """What the scaffold is: each relation's columns and each view's text, which names the tables on which it stands by their schema."""
    return cdm.query(r"""
        SELECT nspname, relname, relkind, relpersistence, CASE relkind WHEN 'v' THEN pg_get_viewdef(relation.oid) END,
            (SELECT array_agg((attname, format_type(atttypid, atttypmod), attnotnull) ORDER BY attnum)::text FROM pg_attribute
                WHERE attrelid = relation.oid AND attnum > 0)
        FROM pg_class AS relation INNER JOIN pg_namespace ON pg_namespace.oid = relnamespace
        WHERE nspname LIKE 'cdm\_run%%' AND relkind IN ('r', 'v') ORDER BY nspname, relname
    """)


def _oid(cdm: Cdm) -> Any:
    return cdm.query("SELECT 'cdm_run'::regnamespace::oid")[0][0]


@pytest.mark.parametrize("kind", ["incremental", "full_reload"])
def test_a_full_load_leaves_the_scaffold_that_an_increment_would_make(cdm: Cdm, days: tuple[Path, Path], kind: Any) -> None:
    a, b = days
    cdm.run(a)
    if kind == "full_reload":
        cdm.run(a, kind)
    by_load, of_load = _made(cdm), _oid(cdm)
    assert len(by_load) > 400
    assert _stamp(cdm).endswith(" empty")
    assert not _schemas(cdm) & BESIDE
    cdm.run(b)
    assert _oid(cdm) == of_load  # taken as it was
    with psycopg.connect(cdm.url) as connection:
        connection.execute("COMMENT ON SCHEMA cdm_run IS NULL")
    cdm.run(a)
    assert _oid(cdm) != of_load
    assert _made(cdm) == by_load


def test_a_reload_that_fails_as_it_publishes_leaves_no_scaffold_to_take(cdm: Cdm, days: tuple[Path, Path]) -> None:
    a, b = days
    cdm.run(a)
    with psycopg.connect(cdm.url) as connection:
        connection.execute("CREATE FUNCTION public.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''refused''; END'")
        connection.execute("CREATE TRIGGER refuse BEFORE INSERT ON cdm_state.row_id_range FOR EACH ROW EXECUTE FUNCTION public.refuse()")
    with pytest.raises(DatabaseError):
        cdm.run(b, "full_reload")
    never_published = _oid(cdm)
    assert {"cdm_run_cdm", "cdm_run_staging"} <= _schemas(cdm)
    with psycopg.connect(cdm.url) as connection:
        connection.execute("DROP FUNCTION public.refuse() CASCADE")
    cdm.run(b)
    assert _oid(cdm) != never_published
    assert not _schemas(cdm) & BESIDE
    assert "cdm_run_" not in "".join(text for _, name, kind, _, text, _ in _made(cdm) if kind == "v" and name in ("encounters", "patients"))
    other = Cdm(cdm.url, cdm.state_dir, "other")
    other.run(a)
    other.run(b)
    assert differences(cdm.read(), other.read()) == []


def test_verify_leaves_the_scaffold_alone(cdm: Cdm, days: tuple[Path, Path]) -> None:
    a, b = days
    cdm.run(a)
    before = (_made(cdm), _oid(cdm), _stamp(cdm))
    cdm.run(a, "verify")
    assert (_made(cdm), _oid(cdm), _stamp(cdm)) == before
    cdm.run(b)
    assert _oid(cdm) == before[1]
    assert cdm.run(b, "verify").status == "no_change"


def test_a_load_below_a_users_view_makes_the_scaffold_behind_it(cdm: Cdm, days: tuple[Path, Path]) -> None:
    a, b = days
    cdm.run(a)
    made = _made(cdm)
    with psycopg.connect(cdm.url) as connection:
        connection.execute("CREATE VIEW public.people AS SELECT person_id FROM cdm.person")
        connection.execute("CREATE VIEW public.born AS SELECT birthdate FROM cdm_staging.patients")
    cdm.run(a, "full_reload")
    assert _made(cdm) == made
    assert _stamp(cdm).endswith(" empty")
    cdm.run(b)
    assert cdm.run(b, "verify").status == "no_change"


def test_the_planner_is_told_of_candidates_before_they_are_compared_with_what_leaves(cdm: Cdm, days: tuple[Path, Path]) -> None:
    for day in days:
        cdm.run(day)
    database, schemas = open_database(cdm.settings()), Schemas(cdm=cdm.schema, vocabulary="vocab")
    believed = "SELECT reltuples::int FROM pg_class WHERE oid = 'cdm_run.procedures_candidate'::regclass"
    assert cdm.query(believed) == [(0,)]  # as the last run left it; each of n rows would be compared with n
    with database.connection() as connection:
        connection.execute("INSERT INTO cdm_run.procedures_candidate (row_hash) SELECT gen_random_uuid() FROM generate_series(1, 500)")
    mark_incoming(database, schemas, SOURCE_TABLES["procedures"])
    database.close()
    assert cdm.query(believed) == [(500,)]
