"""The checks of a run: what it counts, keeps and refuses; incremental counts equal those of a full check."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from omop_inc.cdm import results
from omop_inc.cdm.quality import violations
from omop_inc.cdm.quality.queries import CheckQuery
from omop_inc.cdm.transforms import SqlFile
from omop_inc.cli import app
from omop_inc.errors import CheckFailed, CheckFileError, SettingsError
from omop_inc.runs.checking import check_committed
from omop_inc.runs.snapshots import Request, apply_snapshot
from omop_inc.store.db import Connection, execute
from tests.comparing import exact_differences
from tests.factories import World, small_world
from tests.quality import disagreements
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

ALWAYS = """-- Persons, all of them.
-- reads: person (person_id)
-- scope: row
-- denominator: person
-- severity: fail
SELECT person_id FROM person
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder for a user's own checks."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def _next(world: World) -> World:
    world["conditions"][0]["STOP"] = "2020-03-22"
    return world


def test_counts_of_increments_are_those_of_a_full_check(cdm: Cdm, tmp_path: Path) -> None:
    history = History(small_world(3))
    cdm.run(write_snapshot(tmp_path / "a", history.step([])))
    assert disagreements(cdm) == []
    changes = [Change("leave"), Change("update", "encounters", 0, 7, 1), Change("double", "conditions"), Change("arrive", row=3)]
    cdm.run_allowed(write_snapshot(tmp_path / "b", history.step(changes)))
    assert disagreements(cdm) == []


def test_rows_whose_person_or_visit_changes_are_counted_again_although_they_stay(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(2)
    cdm.run(write_snapshot(tmp_path / "a", world))
    world["patients"][0] |= {"BIRTHDATE": "2021-01-01", "DEATHDATE": "2021-06-01"}
    world["encounters"][0] |= {"START": "2019-03-01T10:00:00Z", "STOP": "2019-03-01T11:00:00Z"}
    cdm.run(write_snapshot(tmp_path / "b", world))
    assert disagreements(cdm) == []
    late = cdm.query("SELECT violated FROM cdm_ledger.check_current WHERE check_id = 'plausibleAfterBirth.measurement.measurement_date'")
    early = cdm.query("SELECT violated FROM cdm_ledger.check_current WHERE check_id = 'withinVisitDates.measurement.measurement_date'")
    assert (late, early) == ([(1,)], [(1,)])


def test_an_increment_looks_at_what_it_touches_and_a_repeat_at_nothing(cdm: Cdm, tmp_path: Path) -> None:
    first = cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    assert first.checks["counted"] > 1500
    second = cdm.run(write_snapshot(tmp_path / "b", _next(small_world(2))))
    looked_at = {t.table for t in second.timings if t.step == "check" and t.rows_in}
    assert looked_at <= {"", "condition_occurrence", "condition_era", "observation_period", "person"}  # person: empty_table
    assert 0 < second.checks["counted"] < 500
    third = cdm.run(tmp_path / "b")
    assert third.status == "no_change"
    assert third.checks == {**second.checks, "counted": 0}


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The checks that are queries and that a run evaluates; to be emptied between runs."""
    found: set[str] = set()
    original = violations.run_query

    def noting(connection: Connection, query: CheckQuery, *others: Any, **named: Any) -> violations.Found:
        found.add(query.check.id)
        return original(connection, query, *others, **named)

    monkeypatch.setattr(violations, "run_query", noting)
    return found


def _step(cdm: Cdm, folder: Path, world: World, looked_at: set[str]) -> set[str]:
    """Apply an increment; the kept counts are those of a full check."""
    looked_at.clear()
    cdm.run(write_snapshot(folder, world))
    seen = set(looked_at)
    assert disagreements(cdm) == []
    return seen


def test_a_change_touches_only_the_checks_that_can_see_it(cdm: Cdm, tmp_path: Path, looked_at: set[str]) -> None:
    world = small_world(2)
    cdm.run(write_snapshot(tmp_path / "a", world))
    world["procedures"][0]["BASE_COST"] = "77.25"
    assert _step(cdm, tmp_path / "b", world, looked_at) == {"cost_as_in_source"}
    world["claims_transactions"][0]["AMOUNT"] = "1234.56"
    assert _step(cdm, tmp_path / "c", world, looked_at) == set()  # charged and recorded alike
    world["claims_transactions"][0]["AMOUNT"] = "12.50"
    world["patients"][0]["SUFFIX"] = "Jr."
    assert _step(cdm, tmp_path / "person", world, looked_at) == {"empty_table"}  # of a person who changes as well
    world["encounters"][0]["DESCRIPTION"] = "Another word for it"
    assert _step(cdm, tmp_path / "d", world, looked_at) == {"empty_table"}  # which looks at tables, not at rows


def test_charges_that_do_not_move_alike_are_found_and_forgotten_when_they_do(
    cdm: Cdm, tmp_path: Path, looked_at: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = small_world(2)
    cdm.run(write_snapshot(tmp_path / "a", world))
    original = results.execute_transform

    def dearer(connection: Connection, transform: SqlFile, path: list[str]) -> None:
        original(connection, transform, path)
        if transform.name == "cost":
            execute(connection, "UPDATE cdm_run_result.cost SET total_charge = total_charge + 1")

    world["claims_transactions"][0]["AMOUNT"] = "1234.56"
    with monkeypatch.context() as patched:
        patched.setattr(results, "execute_transform", dearer)
        assert "charge_as_in_source" in _step(cdm, tmp_path / "b", world, looked_at)
    found = "SELECT violated, denominator FROM cdm_ledger.check_current WHERE check_id = 'charge_as_in_source'"
    assert cdm.query(found) == [(1, 2)]
    world["claims_transactions"][0]["AMOUNT"] = "1234.57"
    assert "charge_as_in_source" in _step(cdm, tmp_path / "c", world, looked_at)
    assert cdm.query(found) == [(0, 2)]


def test_without_claim_lines_what_is_charged_is_compared_with_what_claims_and_drugs_came_to(cdm: Cdm, tmp_path: Path, looked_at: set[str]) -> None:
    world = small_world(2)
    world["claims_transactions"] = []
    cdm.run(write_snapshot(tmp_path / "a", world))
    charged = "SELECT sum(total_charge) FROM cdm.cost"
    assert cdm.query(charged) == cdm.query(
        "SELECT (SELECT sum(total_claim_cost) FROM cdm_staging.encounters) + (SELECT sum(totalcost) FROM cdm_staging.medications)"
    )
    world["encounters"][0]["TOTAL_CLAIM_COST"] = "4321.05"
    assert "charge_as_in_source" in _step(cdm, tmp_path / "b", world, looked_at)
    found = "SELECT violated, denominator FROM cdm_ledger.check_current WHERE check_id = 'charge_as_in_source'"
    assert cdm.query(found) == [(0, 2)]
    cdm.query(
        "WITH dearer AS (UPDATE cdm.cost SET total_charge = total_charge + 1 WHERE cost_domain_id = 'Drug' RETURNING 1) SELECT count(*) FROM dearer"
    )
    assert any(text.startswith("charge_as_in_source") for text in map(str, disagreements(cdm)))


def test_only_results_that_differ_are_kept_again(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    every = cdm.query("SELECT count(*) FROM cdm_ledger.check_result")[0][0]
    cdm.run(write_snapshot(tmp_path / "b", _next(small_world(2))))
    assert cdm.query("SELECT count(*) FROM cdm_ledger.check_result WHERE generation = 1") == [(every,)]
    assert cdm.query("SELECT count(*) < 20 FROM cdm_ledger.check_result WHERE generation = 2") == [(True,)]
    assert cdm.query("SELECT count(*) FROM cdm_ledger.check_current") == [(every,)]


def test_a_check_that_fails_leaves_the_cdm_as_it_was(cdm: Cdm, tmp_path: Path, own: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    before, written = cdm.read(), cdm.tuples_written()
    kept = cdm.query("SELECT * FROM cdm_ledger.check_current ORDER BY check_id")
    (own / "nobody.sql").write_text(ALWAYS)
    for kind in ("incremental", "full_reload"):
        with pytest.raises(CheckFailed, match=r"nobody: 2 of 2 \(ids \d+, \d+\).*the CDM is as it was"):
            cdm.run(write_snapshot(tmp_path / kind, _next(small_world(2))), kind, checks_dir=own)  # type: ignore[arg-type]
    assert exact_differences(before, cdm.read()) == []
    assert cdm.tuples_written() == written
    assert cdm.query("SELECT * FROM cdm_ledger.check_current ORDER BY check_id") == kept
    failed = cdm.query("SELECT summary -> 'checks' -> 'not_passed' FROM cdm_ledger.run WHERE status = 'failed'")
    assert len(failed) == 2
    assert all({"nobody"} == {one["check"] for one in listed if one["severity"] == "fail"} for (listed,) in failed)


def test_a_check_that_only_warns_is_kept_and_told(cdm: Cdm, tmp_path: Path, own: Path) -> None:
    (own / "nobody.sql").write_text(ALWAYS)
    summary = cdm.run(write_snapshot(tmp_path / "a", small_world(2)), checks_dir=own, checks="warn")
    assert (summary.status, summary.checks["failed"]) == ("applied", 1)
    assert cdm.query("SELECT violated, denominator, status FROM cdm_ledger.check_current WHERE check_id = 'nobody'") == [(2, 2, "failed")]


@pytest.mark.parametrize("kind", ["first load", "increment"])
def test_a_transform_that_loses_a_row_is_stopped(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    if kind == "increment":
        cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    original = results.execute_transform

    def lossy(connection: Connection, transform: SqlFile, path: list[str]) -> None:
        original(connection, transform, path)
        if transform.name == "condition_occurrence":
            schema = "cdm_run_result" if kind == "increment" else "cdm_run_cdm"
            execute(connection, f"DELETE FROM {schema}.condition_occurrence")

    monkeypatch.setattr(results, "execute_transform", lossy)
    with pytest.raises(CheckFailed, match="event_as_in_source"):
        cdm.run(write_snapshot(tmp_path / "b", _next(small_world(2))))


def test_dates_of_another_zone_are_compared_in_it(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(2)
    world["encounters"][0] |= {"START": "2020-03-02T01:00:00Z", "STOP": "2020-03-02T02:00:00Z"}
    cdm.run(write_snapshot(tmp_path / "a", world))
    zone = {"time_zone": "America/New_York"}
    cdm.run(tmp_path / "a", **zone)
    assert cdm.query("SELECT count(*) FROM cdm.visit_detail WHERE visit_detail_start_date = '2020-03-01'") != [(0,)]
    assert disagreements(cdm) == []
    summary = cdm.run(write_snapshot(tmp_path / "b", _next(world)), **zone)
    assert summary.checks["failed"] == 0
    assert disagreements(cdm) == []


def test_a_run_without_checks_forgets_them_and_the_next_counts_in_full(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    assert cdm.run(write_snapshot(tmp_path / "b", _next(small_world(2))), checks="off").checks == {}
    assert cdm.query("SELECT count(*) FROM cdm_ledger.check_result") == [(0,)]
    summary = cdm.run(write_snapshot(tmp_path / "c", small_world(3)))
    assert summary.checks["counted"] > 1500
    assert disagreements(cdm) == []


def test_a_check_of_another_meaning_is_counted_in_full(cdm: Cdm, tmp_path: Path, own: Path) -> None:
    (own / "young.sql").write_text(ALWAYS.replace("severity: fail", "severity: warn") + "WHERE year_of_birth > 2000\n")
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)), checks_dir=own)
    (own / "young.sql").write_text(ALWAYS.replace("severity: fail", "severity: warn") + "WHERE year_of_birth > 1900\n")
    cdm.run(write_snapshot(tmp_path / "b", _next(small_world(2))), checks_dir=own)
    found = cdm.query("SELECT generation, violated FROM cdm_ledger.check_result WHERE check_id = 'young' ORDER BY 1")
    assert found == [(1, 0), (2, 2)]


def test_a_broken_file_names_itself(cdm: Cdm, tmp_path: Path, own: Path) -> None:
    (own / "broken.sql").write_text(ALWAYS.replace("person_id FROM person", "no_such_column FROM person"))
    summary, error = apply_snapshot(Request(source=write_snapshot(tmp_path / "a", small_world(1))), cdm.settings(checks_dir=own))
    assert isinstance(error, CheckFileError)
    assert summary.status == "failed"
    assert "'broken'" in str(error) and "no_such_column" in str(error)


def test_check_command_tells_what_does_not_pass_and_ends_with_1(cdm: Cdm, tmp_path: Path, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    options = ["check", "--database-url", cdm.url, "--state-dir", str(cdm.state_dir)]
    passed = CliRunner().invoke(app, [*options, "--severity", "fail", "--json", str(tmp_path / "checks.json")])
    assert passed.exit_code == 0, passed.output
    written: dict[str, Any] = json.loads((tmp_path / "checks.json").read_text())
    assert written["failed"] == written["warned"] == 0
    assert {one["severity"] for one in written["checks"]} == {"fail"}
    cdm.query("UPDATE cdm.death SET death_date = death_date RETURNING 1")
    (own / "nobody.sql").write_text(ALWAYS)
    monkeypatch.setenv("OMOP_INC_CHECKS_DIR", str(own))
    failed = CliRunner().invoke(app, [*options, "--only", "no*"])
    assert failed.exit_code == 1
    assert "1 failed" in failed.output and "nobody" in failed.output


def test_changes_by_others_are_told(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(2)))
    cdm.query("UPDATE cdm.measurement SET unit_concept_id = 0 RETURNING 1")
    report = check_committed(cdm.settings(), "standardConceptRecordCompleteness.measurement.*")
    assert report.differing == ("standardConceptRecordCompleteness.measurement.unit_concept_id",)


def test_there_is_nothing_to_check_before_the_first_run_and_no_check_of_an_unknown_name(cdm: Cdm) -> None:
    with pytest.raises(CheckFailed, match="holds no CDM yet"):
        check_committed(cdm.settings())
    with pytest.raises(SettingsError, match="No check has an id like 'nothing'"):
        check_committed(cdm.settings(), "nothing")
