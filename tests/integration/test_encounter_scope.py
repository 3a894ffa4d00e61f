"""Increments look at encounters where these are enough, at the whole person where not, and come out as a rebuild does."""

from decimal import Decimal
from pathlib import Path

import pytest

from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import PRESENCE_VIEW, transforms, views_of
from omop_inc.telling.summary import Summary
from tests.factories import Row, row, small_world, uid
from tests.stores import Cdm

PATIENT, FIRST, SECOND, CLAIM = uid("patients", 0), uid("encounters", 0), uid("encounters", 1), uid("claims", 0)


def looked_at(summary: Summary) -> dict[str, int]:
    """How many rows each transform wrote in this run, changed or not."""
    return {one.table: one.rows_written for one in summary.timings if one.step == "transform" and one.rows_written}


def observation(encounter: str, value: str) -> Row:
    """A height measured in an encounter."""
    return row("observations", PATIENT=PATIENT, ENCOUNTER=encounter, VALUE=value)


def line(appointment: str, **values: str) -> Row:
    """A claim line of the person."""
    return row("claims_transactions", CLAIMID=CLAIM, PATIENTID=PATIENT, APPOINTMENTID=appointment, **values)


def test_a_changed_row_brings_its_encounter_alone(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["observations"] = [observation(FIRST, "170.5"), observation(FIRST, "171"), observation(SECOND, "172")]
    after = {**world, "observations": [observation(FIRST, "170.5"), observation(FIRST, "169"), observation(SECOND, "172")]}
    assert looked_at(cdm.run_in_turn(tmp_path, world, after)) == {"measurement": 2}


def test_a_row_without_an_encounter_brings_the_person(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["observations"] = [observation("", "170.5"), observation(FIRST, "171"), observation(SECOND, "172")]
    after = {**world, "observations": [observation("", "169"), *world["observations"][1:]]}
    assert looked_at(cdm.run_in_turn(tmp_path, world, after))["measurement"] == 3


def test_a_row_that_moves_brings_both_encounters(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["observations"] = [observation(FIRST, "170.5"), observation(FIRST, "171"), observation(SECOND, "172")]
    after = {**world, "observations": [observation(FIRST, "170.5"), observation(SECOND, "171"), observation(SECOND, "172")]}
    assert looked_at(cdm.run_in_turn(tmp_path, world, after))["measurement"] == 3


def test_a_visit_that_changes_brings_the_events_of_its_encounters(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    after = {**world, "encounters": [{**one, "PROVIDER": ""} if one["Id"] == FIRST else one for one in world["encounters"]]}
    written = looked_at(cdm.run_in_turn(tmp_path, world, after))
    assert written["measurement"] == 1
    assert written["visit_detail"] == 2  # visits follow from all encounters of the person


@pytest.mark.parametrize("lines", [[line(FIRST)], [line(FIRST), line(FIRST, TYPE="TRANSFEROUT")]])
def test_the_first_claim_line_changes_the_costs_of_all_encounters(cdm: Cdm, tmp_path: Path, lines: list[Row]) -> None:
    world = {**small_world(1), "claims_transactions": lines[1:]}
    cdm.run_in_turn(tmp_path, world, {**world, "claims_transactions": lines})
    paid = {one["cost_id"]: one["paid_by_payer"] for one in cdm.read().cdm["cost"]}
    assert set(paid.values()) == {None, Decimal(0)}  # 0 beside the charge, unknown elsewhere
    cdm.run_in_turn(tmp_path / "back", world)
    assert len({one["paid_by_payer"] for one in cdm.read().cdm["cost"]}) > 1  # what the payer covers, again


def test_one_more_claim_line_brings_its_encounter_alone(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    after = {**world, "claims_transactions": [*world["claims_transactions"], line(SECOND, AMOUNT="7.00")]}
    assert looked_at(cdm.run_in_turn(tmp_path, world, after)) == {"cost": 1}


def test_of_several_claim_lines_that_stay_one_tells_it(cdm: Cdm, tmp_path: Path) -> None:
    world = {**small_world(1), "claims_transactions": [line(FIRST), line(FIRST, AMOUNT="3.00"), line(SECOND, AMOUNT="4.00")]}
    after = {**world, "claims_transactions": [*world["claims_transactions"][:2], line(SECOND, AMOUNT="5.00")]}
    assert looked_at(cdm.run_in_turn(tmp_path, world, after))["cost"] == 1


def test_when_several_claim_lines_leave_one_that_stays_tells_it_unless_it_is_a_transfer_out(cdm: Cdm, tmp_path: Path) -> None:
    lines = [line(SECOND), line(SECOND, AMOUNT="3.00"), line(FIRST, AMOUNT="4.00"), line(FIRST, TYPE="TRANSFEROUT")]
    world = {**small_world(1), "claims_transactions": lines}
    assert looked_at(cdm.run_in_turn(tmp_path, world, {**world, "claims_transactions": lines[2:]}))["cost"] == 1
    all_costs = len(cdm.read().cdm["cost"])
    assert looked_at(cdm.run_in_turn(tmp_path / "next", {**world, "claims_transactions": lines[3:]}))["cost"] == all_costs > 1
    assert len({one["paid_by_payer"] for one in cdm.read().cdm["cost"]}) > 1  # what the payer covers


def test_a_claim_line_without_appointment_is_not_forgotten(cdm: Cdm, tmp_path: Path) -> None:
    world = small_world(1)
    world["claims_transactions"] = [line(""), line(FIRST, AMOUNT="3.00")]
    after = {**world, "claims_transactions": [line(""), line(FIRST, AMOUNT="4.00")]}
    cdm.run_in_turn(tmp_path, world, after)
    assert sum(one["total_charge"] or 0 for one in cdm.read().cdm["cost"]) == Decimal("89.55")


def test_only_transforms_whose_rows_name_their_encounter_are_of_encounters() -> None:
    by_encounter = {name: file for name, file in transforms().items() if file.is_by_encounter}
    assert by_encounter
    for name, file in by_encounter.items():
        assert name == "cost" or "visit_detail_id" in cdm_tables()[name].columns
        assert set(file.cdm_reads) <= {"visit_detail", "payer_plan_period"}  # the latter brings the person
        assert {view.name for view in views_of(file)} <= {"clinical_event", "source_event", "imaging_study", "claim_line", PRESENCE_VIEW}
