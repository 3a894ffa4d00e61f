"""A full reload: the same CDM, the same ids."""

from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from omop_inc.cdm.spec import cdm_tables
from omop_inc.errors import CheckFailed
from omop_inc.source.tables import SOURCE_TABLES
from tests.comparing import IdHistory, differences, exact_differences, id_collisions
from tests.factories import joined, person_rows, row, small_world, uid
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot


def test_reload_of_the_same_snapshot_changes_nothing(cdm: Cdm, tmp_path: Path) -> None:
    history = History(small_world())
    cdm.run(write_snapshot(tmp_path / "a", history.step([])))
    changes = [Change("double", "procedures"), Change("insert", "conditions", 0, 2, 1), Change("repeat_id", column=2)]
    b = write_snapshot(tmp_path / "b", history.step(changes))
    cdm.run(b)
    before = cdm.read()
    reload = cdm.run(b, "full_reload")
    assert exact_differences(before, cdm.read()) == []
    assert not any(c["inserted"] or c["deleted"] for c in reload.cdm_tables.values())
    assert not any(c.new or c.changed or c.removed for c in reload.source_tables.values())
    assert cdm.run(b).status == "no_change"


def test_reload_of_another_snapshot_is_what_an_increment_would_be_with_its_ids(cdm: Cdm, tmp_path: Path) -> None:
    other = Cdm(cdm.url, cdm.state_dir, "other")
    history, ids = History(small_world(3)), IdHistory()
    a = write_snapshot(tmp_path / "a", history.step([]))
    changes = [Change("update", "encounters", 0, 2, 3), Change("leave", row=2), Change("insert", "observations", 0, 0, 2), Change("delete", "claims")]
    b = write_snapshot(tmp_path / "b", history.step(changes))
    for one in (cdm, other):
        one.run(a)
    assert ids.check(cdm.read()) == []
    cdm.run(b, "full_reload")
    other.run(b)
    assert differences(cdm.read(), other.read()) == []
    assert ids.check(cdm.read()) == []
    cdm.run(a)
    assert ids.check(cdm.read()) == []


def test_tables_too_large_to_hold_their_ids_at_a_time_are_loaded_one_after_another(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(small_world(3))
    a = write_snapshot(tmp_path / "a", history.step([]))
    changes = [Change("arrive", row=3), Change("update", "encounters", 0, 2, 3), Change("delete", "procedures"), Change("double", "conditions")]
    b = write_snapshot(tmp_path / "b", history.step(changes))
    cdm.run(a)
    monkeypatch.setattr("omop_inc.runs.detect.MOST_ROWS", 0)
    reloaded = cdm.run(b, "full_reload")
    loads = sorted((timing.started_at, timing.duration_s) for timing in reloaded.timings if timing.step == "load" and timing.rows_in)
    assert len(loads) > 10
    assert all(start + timedelta(seconds=took) <= following for (start, took), (following, _) in pairwise(loads))
    other = Cdm(cdm.url, cdm.state_dir, "other")
    other.run(a)
    other.run(b)
    assert differences(cdm.read(), other.read()) == []


def test_renumber_starts_afresh_with_the_same_rows(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world())
    cdm.run(a)
    before = cdm.read()
    cdm.run(a, "full_reload", renumber=True)
    after = cdm.read()
    assert differences(before, after) == []
    old, new = ({one["person_id"] for one in store.cdm["person"]} for store in (before, after))
    assert not old & new
    assert cdm.run(a).status == "no_change"
    reloaded = cdm.run(a, "full_reload")  # the new ids are those that the store knows, of eras and locations too
    assert sum(counts["inserted"] + counts["deleted"] for counts in reloaded.cdm_tables.values()) == 0


def test_first_run_may_be_a_reload(cdm: Cdm, tmp_path: Path) -> None:
    summary = cdm.run(write_snapshot(tmp_path / "a", small_world(1)), "full_reload")
    assert (summary.status, summary.generation) == ("applied", 1)


def test_reload_holds_each_bad_record_once(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    bad = [row("observations", PATIENT=uid("patients", 0), DATE=date) for date in ("2020-02-30", "2020-02-31")]
    a = write_snapshot(tmp_path / "a", {**world, "observations": bad})
    cdm.run(a)
    count = "SELECT line, count(*) FROM cdm_quarantine.bad_record GROUP BY line ORDER BY line"
    assert cdm.run(a, "full_reload").source_tables["observations"].quarantined == 2
    assert cdm.query(count) == [(2, 1), (3, 1)]
    b = write_snapshot(tmp_path / "b", {**world, "observations": bad[:1]})
    assert cdm.run(b, "full_reload").source_tables["observations"].quarantined == 1
    assert cdm.query(count) == [(2, 1)]


def test_reload_keeps_grants_and_views_of_users(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    cdm.run(a)
    with psycopg.connect(cdm.url) as connection:
        connection.execute("CREATE VIEW public.people AS SELECT person_id FROM cdm.person")
        connection.execute("GRANT SELECT ON cdm.death TO PUBLIC")
    cdm.run(a, "full_reload")
    assert cdm.query("SELECT count(*) FROM public.people") == [(1,)]
    assert cdm.query("SELECT count(*) FROM information_schema.role_table_grants WHERE table_schema = 'cdm' AND grantee = 'PUBLIC'") == [(1,)]


def test_verify_finds_a_cdm_row_that_somebody_changed(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    cdm.run(a)
    assert cdm.run(a, "verify").status == "no_change"
    with psycopg.connect(cdm.url) as connection:
        connection.execute("UPDATE cdm.person SET year_of_birth = 1900")
    with pytest.raises(CheckFailed, match=r"person: 1 rows only in the CDM, 1 only in the rebuild"):
        cdm.run(a, "verify")
    assert cdm.run(a, "full_reload").cdm_tables["person"] == {"inserted": 1, "deleted": 1, "total": 1}


def test_reload_never_gives_an_id_twice(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    cdm.run(write_snapshot(tmp_path / "a", world))
    world = joined(world, person_rows(1))
    world["patients"][0]["CITY"] = "Salem"  # a location of its own: a new content id in the same run
    cdm.run(write_snapshot(tmp_path / "b", world), "full_reload")
    assert id_collisions(cdm.read()) == []
    cdm.run(write_snapshot(tmp_path / "c", joined(world, person_rows(2))))
    assert id_collisions(cdm.read()) == []
    cdm.run(write_snapshot(tmp_path / "d", joined(world, person_rows(3))), "full_reload", renumber=True)
    assert id_collisions(cdm.read()) == []


def test_a_load_and_a_reload_leave_every_key_and_index_of_the_facts(cdm: Cdm, tmp_path: Path) -> None:
    snapshot = write_snapshot(tmp_path / "a", small_world(1))
    keys = {(name, table.primary_key) for name, table in cdm_tables().items() if table.schema == "cdm" and table.primary_key}
    indexed = {(name, (field.name,)) for name, table in cdm_tables().items() if table.schema == "cdm" for field in table.fields if field.is_indexed}
    query = """
        SELECT relation.relname, array_agg(attribute.attname ORDER BY attribute.attnum), index.indisprimary
        FROM pg_index AS index
        INNER JOIN pg_class AS relation ON relation.oid = index.indrelid AND relation.relnamespace = %s::regnamespace
        INNER JOIN pg_attribute AS attribute ON attribute.attrelid = index.indexrelid
        GROUP BY index.indexrelid, relation.relname, index.indisprimary
    """
    by_hash_and_person = {(name, (column,)) for name, table in SOURCE_TABLES.items() for column in ("row_hash", table.patient) if column}
    assert keys
    assert indexed
    for kind in ("incremental", "full_reload"):
        cdm.run(snapshot, kind)
        with psycopg.connect(cdm.url) as connection:
            found = [(table, tuple(names), is_key) for table, names, is_key in connection.execute(query, ("cdm",))]
            staged = {(table, tuple(names[:1])) for table, names, _ in connection.execute(query, ("cdm_staging",))}
        assert {(table, names) for table, names, is_key in found if is_key} == keys
        assert indexed <= {(table, names) for table, names, is_key in found if not is_key}
        assert len(found) == len(set(found))
        assert by_hash_and_person <= staged


def _turn_columns(connection: psycopg.Connection[object], schema: str) -> None:
    """Hold the columns of each staged table in the opposite order, as a store of another version may; without the tables of increments."""
    for (run_schema,) in connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'cdm\\_run%'").fetchall():
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(run_schema)))
    tables = [found for (found,) in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = %s", (schema,)).fetchall()]
    for table in tables:
        target = sql.Identifier(schema, table)
        query = "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum DESC"
        names = connection.execute(query, (f"{schema}.{table}",)).fetchall()
        turned = sql.SQL(", ").join(sql.Identifier(column) for (column,) in names)
        indexes = [
            found for (found,) in connection.execute("SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = %s", (schema, table))
        ]
        connection.execute(sql.SQL("CREATE TABLE turned AS SELECT {} FROM {}").format(turned, target))
        connection.execute(sql.SQL("DROP TABLE {}").format(target))
        connection.execute(sql.SQL("ALTER TABLE turned SET SCHEMA {}").format(sql.Identifier(schema)))
        connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(sql.Identifier(schema, "turned"), sql.Identifier(table)))
        for index in indexes:
            connection.execute(index)


def test_a_store_whose_staged_tables_hold_their_columns_in_another_order_goes_on(cdm: Cdm, tmp_path: Path) -> None:
    other, history = Cdm(cdm.url, cdm.state_dir, "other"), History(small_world(3))
    a = write_snapshot(tmp_path / "a", history.step([]))
    changes = [Change("update", "encounters", 0, 2, 3), Change("insert", "claims_transactions", 0, 0, 2), Change("update", "imaging_studies")]
    b = write_snapshot(tmp_path / "b", history.step([*changes, Change("repeat_id", column=2), Change("delete", "procedures")]))
    cdm.run(a)
    with psycopg.connect(cdm.url) as connection:
        _turn_columns(connection, "cdm_staging")
        connection.execute("CREATE VIEW public.people AS SELECT id, birthdate, gender FROM cdm_staging.patients")  # must outlast a reload
    cdm.run(b)
    other.run(b)
    assert differences(cdm.read(), other.read()) == []
    assert cdm.run(b, "verify").status == "no_change"
    cdm.run(a)
    cdm.run(a, "full_reload")
    other.run(a, "full_reload")
    assert differences(cdm.read(), other.read()) == []
    with psycopg.connect(cdm.url) as connection:
        query = "SELECT count(*), count(*) FILTER (WHERE person.birth_datetime::date = people.birthdate) FROM public.people"
        found = connection.execute(query + " JOIN cdm.person ON person_source_value = people.id::text").fetchone()
    assert found is not None and found[0] == found[1] == len(cdm.read().cdm["person"])
