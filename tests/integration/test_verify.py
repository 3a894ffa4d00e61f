"""Verify finds whatever was altered behind its back, and names table, count and key, never a value."""

from pathlib import Path

import psycopg
import pytest

from omop_inc.errors import CheckFailed
from omop_inc.runs.snapshots import Request, apply_snapshot
from tests.factories import small_world
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        pytest.param(
            "UPDATE cdm.person SET year_of_birth = 1907 WHERE person_id = (SELECT min(person_id) FROM cdm.person)",
            r"person: 1 rows only in the CDM, 1 only in the rebuild \(person_id=\d+: year_of_birth\)",
            id="a changed value",
        ),
        pytest.param(
            "DELETE FROM cdm.measurement WHERE measurement_id = (SELECT min(measurement_id) FROM cdm.measurement)",
            r"measurement: 0 rows only in the CDM, 1 only in the rebuild \(measurement_id=\d+: not in the CDM\)",
            id="a lost row",
        ),
        pytest.param(
            "INSERT INTO cdm.death (person_id, death_date) SELECT min(person_id), '1907-01-01' FROM cdm.person",
            r"death: 1 rows only in the CDM, 0 only in the rebuild \(person_id=\d+: not in the rebuild\)",
            id="an extra row",
        ),
        pytest.param(
            "INSERT INTO cdm.fact_relationship SELECT * FROM cdm.fact_relationship LIMIT 1",
            r"fact_relationship: 1 rows only in the CDM, 0 only in the rebuild \(domain_concept_id_1=\d+\)",
            id="a row that is there twice",
        ),
        pytest.param(
            "UPDATE cdm.procedure_occurrence AS one SET visit_detail_id = other.visit_detail_id FROM cdm.visit_detail AS other"
            " WHERE other.visit_detail_id <> one.visit_detail_id AND procedure_occurrence_id = (SELECT min(procedure_occurrence_id)"
            " FROM cdm.procedure_occurrence)",
            r"procedure_occurrence: 1 rows only in the CDM, 1 only in the rebuild \(procedure_occurrence_id=\d+: visit_detail_id\)",
            id="another visit",
        ),
        pytest.param(
            "UPDATE cdm.observation SET observation_id = -observation_id WHERE observation_id = (SELECT min(observation_id) FROM cdm.observation)",
            r"observation: 1 rows only in the CDM, 1 only in the rebuild"
            r" \(observation_id=-\d+: not in the rebuild, observation_id=\d+: not in the CDM\)",
            id="another id",
        ),
        pytest.param(
            "UPDATE cdm_staging.patients SET city = 'Xanadu' WHERE row_id = (SELECT min(row_id) FROM cdm_staging.patients)",
            r"staging.patients: 1 rows only in the CDM, 1 only in the rebuild \(row_id=\d+\)",
            id="a staged value",
        ),
        pytest.param(
            "UPDATE cdm_quarantine.careplans SET rule = 'none' WHERE row_id = (SELECT min(row_id) FROM cdm_quarantine.careplans)",
            r"quarantine.careplans: 1 rows only in the CDM, 1 only in the rebuild \(row_id=\d+\)",
            id="the rule of a held row",
        ),
        pytest.param(
            "UPDATE cdm_ledger.run SET summary = jsonb_set(summary, '{outcomes,patients,person}', '7') WHERE generation = 1",
            r"outcomes.patients: 5 rows only in the CDM, 0 only in the rebuild \(person\)",
            id="a stored account",
        ),
    ],
)
def test_altered_store_is_found_and_named(statement: str, message: str, cdm: Cdm, tmp_path: Path) -> None:
    world = small_world()
    world["careplans"].append(world["careplans"][0] | {"CODE": "718361005"})
    a = write_snapshot(tmp_path / "a", world)
    cdm.run(a)
    assert "Equal" in str(cdm.run(a, "verify").message)
    with psycopg.connect(cdm.url) as connection:
        assert connection.execute(statement).rowcount == 1  # type: ignore[call-overload]

    with pytest.raises(CheckFailed, match=rf"^The CDM differs from a rebuild of the same snapshot. {message}. A full reload mends it") as caught:
        cdm.run(a, "verify")

    assert "1907" not in str(caught.value) and "Xanadu" not in str(caught.value)


def test_verify_holds_after_increments_and_leaves_the_cdm_as_it_is(cdm: Cdm, tmp_path: Path) -> None:
    history = History(small_world())
    cdm.run(write_snapshot(tmp_path / "a", history.step([])))
    b = write_snapshot(tmp_path / "b", history.step([Change("update", "encounters", 0, 7, 1), Change("double", "procedures"), Change("leave")]))
    cdm.run_allowed(b)
    before = cdm.tuples_written()
    assert cdm.run(b, "verify").status == "no_change"
    assert {t: n for t, n in cdm.tuples_written().items() if n != before[t]} == {}


def test_another_folder_is_not_verified(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    request = Request(source=write_snapshot(tmp_path / "b", small_world(2)), kind="verify")
    summary, error = apply_snapshot(request, cdm.settings())
    assert isinstance(error, CheckFailed) and "Verify with the folder that was applied last" in str(error)
    steps = {timing.step for timing in summary.timings}
    assert "load" in steps and not steps & {"settle", "transform", "compare"}  # no work in vain
