"""Rows that are not loaded: where they are, why, and when they are decided again; and that no message quotes a row."""

import json
import traceback
from pathlib import Path

import pytest

from omop_inc.runs.snapshots import Request, apply_snapshot
from tests.comparing import IdHistory, differences
from tests.factories import Row, World, joined, person_rows, row, small_world, uid
from tests.stores import Cdm
from tests.worlds import write_snapshot

CANARY = "canary4711"
_P0 = {"PATIENT": uid("patients", 0)}
BAD: list[tuple[str, Row, str, str]] = [
    ("conditions", row("conditions", **_P0, START="2020-02-30"), "start", "date"),
    ("conditions", row("conditions", **_P0, START="now"), "start", "date"),
    ("conditions", row("conditions", PATIENT="not-an-id"), "patient", "uuid"),
    ("conditions", row("conditions", **_P0, CODE=""), "code", "not_null"),
    ("observations", row("observations", **_P0, DATE="01/02/2020"), "date", "timestamp"),
    ("encounters", row("encounters", **_P0, Id=uid("encounters", 9), BASE_ENCOUNTER_COST="NaN"), "base_encounter_cost", "numeric"),
    ("medications", row("medications", **_P0, DISPENSES="1.5"), "dispenses", "integer"),
    ("patients", row("patients", Id=uid("patients", 9), BIRTHDATE="infinity"), "birthdate", "date"),
]


@pytest.mark.parametrize(("table", "bad", "column", "rule"), BAD)
def test_bad_row_goes_to_quarantine_and_is_decided_again_when_it_changes(
    cdm: Cdm, tmp_path: Path, table: str, bad: Row, column: str, rule: str
) -> None:
    world = small_world(1)
    cdm.run(write_snapshot(tmp_path / "a", world))
    clean = cdm.read()
    world[table].append(bad)
    counts = cdm.run(write_snapshot(tmp_path / "b", world)).source_tables[table]
    assert (counts.quarantined, counts.new, counts.adds_up) == (1, 0, True)
    found = cdm.query("SELECT source_table, column_name, rule, line FROM cdm_quarantine.bad_record")
    assert found == [(table, column, rule, len(world[table]) + 1)]
    del world[table][-1]
    counts = cdm.run(write_snapshot(tmp_path / "c", world)).source_tables[table]
    assert (counts.quarantined, counts.removed) == (0, 0)
    assert differences(clean, cdm.read()) == []


def test_bad_version_of_a_loaded_row_takes_it_out_and_the_good_one_brings_its_id_back(cdm: Cdm, tmp_path: Path) -> None:
    world, ids = small_world(1), IdHistory()
    cdm.run(write_snapshot(tmp_path / "a", world))
    assert ids.check(cdm.read()) == []
    before = cdm.query("SELECT condition_occurrence_id FROM cdm.condition_occurrence")
    good = world["conditions"][0]
    world["conditions"][0] = good | {"STOP": "soon"}
    counts = cdm.run(write_snapshot(tmp_path / "b", world)).source_tables["conditions"]
    assert (counts.read, counts.quarantined, counts.removed) == (1, 1, 1)
    assert cdm.query("SELECT count(*) FROM cdm.condition_occurrence") == [(0,)]
    world["conditions"][0] = good | {"STOP": "2020-03-21"}
    cdm.run(write_snapshot(tmp_path / "c", world))
    assert cdm.query("SELECT condition_occurrence_id FROM cdm.condition_occurrence") == before


def test_damaged_records_are_bad_rows_of_their_own(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", small_world(1))
    file = a / "conditions.csv"
    lines = file.read_bytes()
    file.write_bytes(lines + b"2020-01-01,too,few\n" + b'2020-01-01,"stray\n' + b"\\.\n" + b"2020-03-01,\xff\xfe,x,y,z,1,2\n" + b"a\x00b,,,,,,\n")
    summary = cdm.run(a)
    counts = summary.source_tables["conditions"]
    assert (counts.read, counts.new, counts.quarantined) == (6, 1, 5)
    found = cdm.query("SELECT line, rule FROM cdm_quarantine.bad_record ORDER BY 1")
    assert [line for line, _ in found] == [3, 4, 5, 6, 7]
    assert cdm.run(a).status == "no_change"


REPEATED = ("patients", "encounters", "claims", "careplans")


@pytest.mark.parametrize("table", REPEATED)
def test_repeated_id_waits_with_all_its_children_until_one_leaves(cdm: Cdm, tmp_path: Path, table: str) -> None:
    column = {"patients": "CITY", "encounters": "DESCRIPTION", "claims": "STATUS1", "careplans": "DESCRIPTION"}[table]
    fresh, world = Cdm(cdm.url, cdm.state_dir, "fresh"), small_world(2)
    cdm.run(write_snapshot(tmp_path / "a", world))
    before, ids = cdm.read(), IdHistory()
    ids.check(before)
    world[table].append(world[table][0] | {column: "another"})
    b = write_snapshot(tmp_path / "b", world)
    counts = cdm.run(b).source_tables[table]
    assert (counts.quarantined, counts.adds_up) == (2, True)
    fresh.run(b)
    assert differences(cdm.read(), fresh.read()) == []
    del world[table][-1]
    cdm.run(write_snapshot(tmp_path / "c", world))
    assert differences(before, cdm.read()) == []
    assert ids.check(cdm.read()) == []


@pytest.mark.parametrize("table", REPEATED)
def test_identical_copies_are_one(cdm: Cdm, tmp_path: Path, table: str) -> None:
    world = small_world(1)
    cdm.run(write_snapshot(tmp_path / "a", world))
    before = cdm.read()
    world[table] += [dict(world[table][0])] * 2
    counts = cdm.run(write_snapshot(tmp_path / "b", world)).source_tables[table]
    assert (counts.quarantined, counts.new, counts.adds_up) == (0, 2, True)
    assert before.cdm == cdm.read().cdm
    del world[table][0]
    counts = cdm.run(write_snapshot(tmp_path / "c", world)).source_tables[table]
    assert (counts.removed, counts.adds_up) == (1, True)
    assert before.cdm == cdm.read().cdm


def _without(world: World, table: str) -> World:
    return joined(world) | {table: []}


@pytest.mark.parametrize("table", ["patients", "encounters", "claims"])
def test_orphans_wait_and_come_when_their_parent_does(cdm: Cdm, tmp_path: Path, table: str) -> None:
    whole = joined(small_world(1), person_rows(1))
    orphaned = joined(small_world(1), _without(person_rows(1), table))
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    fresh.run(write_snapshot(tmp_path / "whole", whole))
    summary = cdm.run(write_snapshot(tmp_path / "a", orphaned))
    assert sum(counts.pending for counts in summary.source_tables.values()) > 0
    assert all(counts.adds_up for counts in summary.source_tables.values())
    cdm.run(tmp_path / "whole")
    assert differences(cdm.read(), fresh.read()) == []
    back = cdm.run_allowed(tmp_path / "a")
    again = {name: counts.pending for name, counts in back.source_tables.items()}
    assert again == {name: counts.pending for name, counts in summary.source_tables.items()}


def test_encounter_of_another_patient_is_no_parent(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(2)
    world["conditions"][0]["ENCOUNTER"] = uid("encounters", 2)
    assert cdm.run(write_snapshot(tmp_path / "a", world)).source_tables["conditions"].pending == 1


def test_no_message_and_no_summary_quotes_a_value(cdm: Cdm, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    world = small_world(1)
    for rows in world.values():
        rows.append(dict.fromkeys(rows[0], CANARY))  # bad: its ids are none
        rows.append({name: value or CANARY for name, value in rows[0].items()})  # a repeated Id, bad, or good with odd texts
    told = [_told(cdm, write_snapshot(tmp_path / "bad", world))]
    cut = write_snapshot(tmp_path / "cut", world)
    for name in ("patients", "conditions"):
        data = (cut / f"{name}.csv").read_bytes()
        (cut / f"{name}.csv").write_bytes(data + CANARY.encode())
        told.append(_told(cdm, cut))
    header = write_snapshot(tmp_path / "none", world)
    (header / "claims.csv").write_text("Id\n" + CANARY + "\n")
    told.append(_told(cdm, header))
    (header / "claims.csv").unlink()
    told.append(_told(cdm, header))
    output = capfd.readouterr()
    assert CANARY not in "".join([*told, output.out, output.err])
    stored = cdm.query("SELECT string_agg(summary::text, '') FROM cdm_ledger.run")
    assert CANARY not in stored[0][0]


def _told(cdm: Cdm, folder: Path) -> str:
    """All that a run says: its summary, and its error with what lies behind it."""
    summary, error = apply_snapshot(Request(source=folder), cdm.settings())
    return json.dumps(summary.as_json()) + "".join(traceback.format_exception(error) if error else [])
