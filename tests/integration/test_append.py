"""Append mode: rows are added or replaced, none is removed."""

from pathlib import Path

from tests.comparing import differences, exact_differences, row_ids
from tests.factories import empty_world, joined, person_rows, row, small_world, uid
from tests.stores import Cdm
from tests.worlds import write_snapshot


def test_folder_of_new_rows_adds_them_to_what_is_there(cdm: Cdm, tmp_path: Path) -> None:
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    before = row_ids(cdm.read())
    summary = cdm.run(write_snapshot(tmp_path / "b", person_rows(1, 1)), mode="append")
    assert summary.source_tables["patients"].new == 1
    assert not any(counts.removed or counts.changed for counts in summary.source_tables.values())
    assert not any(one.rows_removed for one in summary.timings if one.step == "stage")
    assert all(counts.adds_up for counts in summary.source_tables.values())
    fresh.run(write_snapshot(tmp_path / "both", joined(small_world(1), person_rows(1, 1))))
    assert differences(cdm.read(), fresh.read()) == []
    after = row_ids(cdm.read())
    assert all(after[key] == numbers for key, numbers in before.items())


def test_full_snapshot_whose_window_moved_on_removes_nothing(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(2)
    cdm.run(write_snapshot(tmp_path / "a", world))
    later = joined(world)
    gone = later["observations"].pop(0)
    later["observations"].append(row("observations", PATIENT=gone["PATIENT"], ENCOUNTER=gone["ENCOUNTER"], DATE="2020-03-09T00:00:00Z"))
    summary = cdm.run(write_snapshot(tmp_path / "b", later), mode="append")
    counts = summary.source_tables["observations"]
    assert (counts.read, counts.unchanged, counts.new, counts.removed) == (2, 1, 1, 0)
    assert cdm.query("SELECT count(*) FROM cdm_staging.observations") == [(3,)]


def test_row_of_a_unique_key_is_changed_and_keeps_its_id(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    cdm.run(write_snapshot(tmp_path / "a", world))
    before = cdm.query("SELECT condition_occurrence_id FROM cdm.condition_occurrence")
    delta = empty_world()
    delta["conditions"].append(world["conditions"][0] | {"STOP": "2020-04-01"})
    summary = cdm.run(write_snapshot(tmp_path / "b", delta), mode="append")
    assert (summary.source_tables["conditions"].changed, summary.source_tables["conditions"].new) == (1, 0)
    assert cdm.query("SELECT condition_occurrence_id FROM cdm.condition_occurrence") == before
    assert cdm.query("SELECT condition_end_date::text FROM cdm.condition_occurrence") == [("2020-04-01",)]


def test_row_of_a_key_that_is_there_twice_is_new(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["conditions"].append(world["conditions"][0] | {"DESCRIPTION": "again"})
    cdm.run(write_snapshot(tmp_path / "a", world))
    delta = empty_world()
    delta["conditions"].append(world["conditions"][0] | {"STOP": "2020-04-01"})
    summary = cdm.run(write_snapshot(tmp_path / "b", delta), mode="append")
    assert (summary.source_tables["conditions"].changed, summary.source_tables["conditions"].new) == (0, 1)
    assert cdm.query("SELECT count(*) FROM cdm.condition_occurrence") == [(3,)]


def test_same_folder_again_changes_nothing(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    b = write_snapshot(tmp_path / "b", person_rows(1, 1))
    cdm.run(b, mode="append")
    before = cdm.read()
    written = cdm.tuples_written()
    assert cdm.run(b, mode="append").status == "no_change"
    assert cdm.tuples_written() == written
    assert exact_differences(before, cdm.read()) == []


def test_file_that_holds_all_rows_need_not_be_hashed_again(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    cdm.run(write_snapshot(tmp_path / "b", small_world(2)), mode="append")
    unknown = "SELECT source_table FROM cdm_state.source_state WHERE rows > 0 AND file_digest IS NULL"
    assert cdm.query(unknown) == []
    cdm.run(write_snapshot(tmp_path / "c", {**small_world(2), "conditions": person_rows(2)["conditions"]}), mode="append")
    assert cdm.query(unknown) == [("conditions",)]  # of which the image holds more than the file


def test_reload_rebuilds_from_the_image_and_keeps_what_no_file_holds(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    b = write_snapshot(tmp_path / "b", person_rows(2, 1))
    cdm.run(b, mode="append")
    before = cdm.read()
    reload = cdm.run(b, "full_reload", mode="append")
    assert reload.cdm_tables["person"] == {"inserted": 0, "deleted": 0, "total": 3}
    assert exact_differences(before, cdm.read()) == []
    assert cdm.run(b, "verify", mode="append").status == "no_change"


def test_pending_row_is_loaded_when_a_later_folder_brings_its_parent(cdm: Cdm, tmp_path: Path) -> None:
    person = person_rows(1, 0)
    without = joined(small_world(1), person)
    without["patients"] = [one for one in without["patients"] if one["Id"] != uid("patients", 1)]
    cdm.run(write_snapshot(tmp_path / "a", without))
    assert cdm.query("SELECT count(*) FROM cdm.person") == [(1,)]
    late = empty_world()
    late["patients"] = person["patients"]
    cdm.run(write_snapshot(tmp_path / "b", late), mode="append")
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    fresh.run(write_snapshot(tmp_path / "c", joined(small_world(1), person)))
    assert differences(cdm.read(), fresh.read()) == []


def test_snapshot_after_append_removes_what_it_does_not_hold(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    cdm.run(a)
    before = cdm.read()
    cdm.run(write_snapshot(tmp_path / "b", person_rows(1, 1)), mode="append")
    cdm.run_allowed(a)
    assert exact_differences(before, cdm.read()) == []


def test_folder_that_lacks_files_says_nothing_of_them(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["conditions"].append(row("conditions", PATIENT=uid("patients", 0), ENCOUNTER=uid("unknown", 0)))
    a = write_snapshot(tmp_path / "a", world)
    cdm.run(a)
    before = cdm.read()
    b = write_snapshot(tmp_path / "b", small_world(1) | {"patients": person_rows(1)["patients"]})
    for table in ("conditions", "observations", "claims", "providers"):
        (b / f"{table}.csv").unlink()
    summary = cdm.run(b, mode="append")
    assert summary.source_tables["patients"].new == 1
    assert vars(summary.source_tables["conditions"]) == dict.fromkeys(vars(summary.source_tables["conditions"]), 0)
    assert cdm.run(b, mode="append").status == "no_change"
    assert cdm.run(a, mode="append").source_tables["conditions"].pending == 1
    assert cdm.run_allowed(a).status == "applied"
    assert exact_differences(before, cdm.read()) == []


def test_fates_add_up_when_the_store_holds_more_copies_than_the_folder(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    orphan = row("conditions", PATIENT=uid("patients", 1))
    bad = row("observations", PATIENT=uid("patients", 0), DATE="2020-02-30")
    world["conditions"] += [orphan, orphan]
    world["observations"] += [bad, bad]
    cdm.run(write_snapshot(tmp_path / "a", world))
    delta = empty_world() | {"conditions": [orphan], "observations": [bad]}
    again = cdm.run(write_snapshot(tmp_path / "b", delta), mode="append")
    assert (again.status, again.source_tables["conditions"].pending, again.source_tables["observations"].quarantined) == ("no_change", 1, 1)
    parent = person_rows(1)["patients"]
    with_parent = cdm.run(write_snapshot(tmp_path / "c", delta | {"patients": parent}), mode="append")
    assert (with_parent.source_tables["conditions"].read, with_parent.source_tables["conditions"].new) == (1, 1)
    assert cdm.query("SELECT count(*) FROM cdm_staging.conditions WHERE patient = %s", uid("patients", 1)) == [(2,)]
