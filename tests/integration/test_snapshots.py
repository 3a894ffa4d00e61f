"""One snapshot after another: what a run says and writes."""

from pathlib import Path

import pytest

from tests.comparing import IdHistory, differences, exact_differences
from tests.factories import empty_world, joined, person_rows, row, small_world, uid
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot


def test_a_then_b_then_a_ends_as_a_with_the_same_ids(cdm: Cdm, tmp_path: Path) -> None:
    history = History(small_world())
    a = write_snapshot(tmp_path / "a", history.step([]))
    b = write_snapshot(tmp_path / "b", history.step([Change("leave"), Change("update", "encounters", 0, 7, 1), Change("double", "conditions")]))
    cdm.run(a)
    first = cdm.read()
    assert cdm.run(b).status == "applied"
    assert differences(first, cdm.read())
    third = cdm.run(a)
    assert third.status == "applied"
    assert exact_differences(first, cdm.read()) == []
    assert third.generation == 3


def test_id_of_the_only_row_goes_to_no_other(cdm: Cdm, tmp_path: Path) -> None:
    world = empty_world()
    for number in range(3):
        world["patients"].append(row("patients", Id=uid("patients", number)))
        cdm.run(write_snapshot(tmp_path / str(number), world))
    assert cdm.query("SELECT count(*), count(DISTINCT person_id) FROM cdm.person") == [(3, 3)]
    assert cdm.query("SELECT count(*) FROM cdm.person INNER JOIN cdm.location ON location.location_id = person.person_id") == [(0,)]


def test_same_snapshot_again_writes_no_tuple_however_it_is_written(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world()
    world["conditions"].append(row("conditions", PATIENT=uid("patients", 0), ENCOUNTER=uid("unknown", 0)))
    world["observations"].append(row("observations", PATIENT=uid("patients", 0), DATE="2020-02-30"))
    cdm.run(write_snapshot(tmp_path / "first", world))
    before = cdm.tuples_written()
    for seed in range(4):
        summary = cdm.run(write_snapshot(tmp_path / f"again{seed}", world, seed))
        assert summary.status == "no_change"
        assert summary.source_tables["conditions"].pending == summary.source_tables["observations"].quarantined == 1
        assert all(counts.adds_up for counts in summary.source_tables.values())
        assert all(not counts["inserted"] and not counts["deleted"] for counts in summary.cdm_tables.values())
    assert cdm.tuples_written() == before


def test_column_that_no_export_keeps_is_no_change(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world()
    cdm.run(write_snapshot(tmp_path / "a", world))
    world["claims_transactions"][0] |= {"ID": uid("other", 1), "CHARGEID": "77", "TRANSFEROUTID": "3"}
    world["payers"][0]["REVENUE"] = world["organizations"][0]["UTILIZATION"] = world["patients"][0]["HEALTHCARE_EXPENSES"] = "9"
    assert cdm.run(write_snapshot(tmp_path / "b", world)).status == "no_change"


def test_changed_row_keeps_its_id_and_touches_its_own_person_alone(cdm: Cdm, tmp_path: Path) -> None:
    world, ids = small_world(3), IdHistory()
    cdm.run(write_snapshot(tmp_path / "a", world))
    before = cdm.query("SELECT condition_occurrence_id, person_id FROM cdm.condition_occurrence ORDER BY 1")
    assert ids.check(cdm.read()) == []
    world["conditions"][1]["STOP"] = "2020-03-22"
    summary = cdm.run(write_snapshot(tmp_path / "b", world))
    counts = summary.source_tables["conditions"]
    assert (counts.read, counts.unchanged, counts.changed, counts.new, counts.removed) == (3, 2, 1, 0, 0)
    assert summary.cdm_tables["condition_occurrence"] == {"inserted": 1, "deleted": 1, "total": 3}
    assert {table for table, c in summary.cdm_tables.items() if c["inserted"]} <= {"condition_occurrence", "condition_era", "observation_period"}
    assert cdm.query("SELECT condition_occurrence_id, person_id FROM cdm.condition_occurrence ORDER BY 1") == before
    assert ids.check(cdm.read()) == []


def test_change_feed_names_every_changed_row(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    cdm.run(write_snapshot(tmp_path / "a", world))
    summary = cdm.run(write_snapshot(tmp_path / "b", joined(world, person_rows(1))))
    feed = cdm.query('SELECT "table", kind, count(*) FROM cdm_ledger.change_feed WHERE run_id = %s GROUP BY 1, 2', summary.run_id)
    assert ("person", "new", 1) in feed
    assert sum(number for _, kind, number in feed if kind in ("new", "changed")) == sum(c["inserted"] for c in summary.cdm_tables.values())


def test_two_cdm_schemas_of_one_database_know_nothing_of_each_other(cdm: Cdm, tmp_path: Path) -> None:
    other = Cdm(cdm.url, cdm.state_dir, "other")
    one_folder = write_snapshot(tmp_path / "one", small_world(1))
    two_folder = write_snapshot(tmp_path / "two", small_world(2))
    cdm.run(one_folder)
    before = cdm.read()
    assert other.run(two_folder).generation == 1
    assert exact_differences(before, cdm.read()) == []
    assert other.query("SELECT count(*) FROM other.person") == [(2,)]
    assert cdm.run(one_folder).status == "no_change"


def test_every_encounter_has_its_visit_and_every_death_its_day(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(3)
    world["patients"][0]["DEATHDATE"] = "2020-06-01"
    cdm.run(write_snapshot(tmp_path / "a", world))
    assert cdm.query("SELECT death_date::text FROM cdm.death") == [("2020-06-01",)]
    lonely = (
        "SELECT count(*) FROM cdm_staging.encounters LEFT JOIN cdm.visit_detail ON visit_detail_id = row_id"
        " LEFT JOIN cdm.visit_occurrence USING (visit_occurrence_id) WHERE visit_occurrence_id IS NULL"
    )
    assert cdm.query(lonely) == [(0,)]


def test_removed_dimension_row_leaves_its_visits_without_it(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    cdm.run(write_snapshot(tmp_path / "a", world))
    assert cdm.query("SELECT count(*) FROM cdm.visit_detail WHERE provider_id IS NULL") == [(0,)]
    del world["providers"][0]
    cdm.run(write_snapshot(tmp_path / "b", world))
    assert cdm.query("SELECT count(*) FROM cdm.visit_detail WHERE provider_id IS NOT NULL") == [(0,)]


@pytest.mark.parametrize("kind", ["incremental", "full_reload"])
def test_summary_and_ledger_count_alike(cdm: Cdm, tmp_path: Path, kind: str) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    summary = cdm.run(write_snapshot(tmp_path / "b", small_world(2)), kind)  # type: ignore[arg-type]
    stored = cdm.query("SELECT summary -> 'source_tables' FROM cdm_ledger.run WHERE run_id = %s", summary.run_id)
    assert stored[0][0] == summary.as_json()["source_tables"]
    totals = {table: cdm.query(f"SELECT count(*) FROM cdm.{table}")[0][0] for table in summary.cdm_tables}
    assert totals == {table: counts["total"] for table, counts in summary.cdm_tables.items()}


def test_a_row_that_left_has_its_id_again_after_others_came(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    place = {"PATIENT": uid("patients", 0), "ENCOUNTER": uid("encounters", 0)}
    steps = [
        [row("conditions", **place), row("conditions", **place, CODE="195662009")],
        [row("conditions", **place), row("conditions", **place, CODE="10509002")],  # one comes as the other leaves
        [row("conditions", **place), row("conditions", **place, CODE="444814009")],
        [row("conditions", **place), row("conditions", **place, CODE="444814009"), row("conditions", **place, CODE="195662009")],
    ]
    ids = []
    for number, conditions in enumerate(steps):
        cdm.run_allowed(write_snapshot(tmp_path / str(number), {**world, "conditions": conditions}))
        ids.append({one["code"]: one["row_id"] for one in cdm.read().staging["conditions"]})
    assert ids[3]["195662009"] == ids[0]["195662009"]
    assert ids[3]["444814009"] == ids[2]["444814009"] not in ids[0].values()


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param(["", None, "", ("", "")], id="a copy of a row that came back"),
        pytest.param(["", "2020-04-01", ("2020-04-01", "")], id="what a row was beside what it is"),
        pytest.param(["", None, ("", "2020-04-01")], id="what came back beside another of its key"),
    ],
)
def test_no_id_is_given_twice_whatever_left_and_came(cdm: Cdm, tmp_path: Path, steps: list[str | tuple[str, ...] | None]) -> None:
    """Each step: the ends of the rows of a code, beside a row that stays."""
    world, place = small_world(1), {"PATIENT": uid("patients", 0), "ENCOUNTER": uid("encounters", 0)}
    for number, step in enumerate(steps):
        ends = () if step is None else (step,) if isinstance(step, str) else step
        rows = [row("conditions", **place), *(row("conditions", **place, CODE="195662009", STOP=end) for end in ends)]
        cdm.run(write_snapshot(tmp_path / str(number), {**world, "conditions": rows}))
    assert cdm.query("SELECT count(*), count(DISTINCT row_id) FROM cdm_staging.conditions") == [(3, 3)]


def test_rows_of_a_file_that_is_gone_leave(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    b = write_snapshot(tmp_path / "b", small_world(1))
    (b / "conditions.csv").unlink()
    counts = cdm.run_allowed(b).source_tables["conditions"]
    assert (counts.read, counts.removed) == (0, 1)
    assert cdm.read().staging["conditions"] == []
    assert cdm.run(b).status == "no_change"  # no row to remove a second time
