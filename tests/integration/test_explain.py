"""Explain: from a CDM row to its source rows and back, what became of rows that are not loaded, and which runs saw them."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from omop_inc.cdm import descent, lineage
from omop_inc.cli import app
from omop_inc.errors import SettingsError
from omop_inc.store import held, history
from omop_inc.store.schemas import Schemas
from omop_inc.telling.explaining import explain_cdm_row, explain_source_rows
from tests.factories import uid
from tests.integration.test_accounting import busy_world
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

SCHEMAS = Schemas(cdm="cdm", vocabulary="vocab")


def explain(cdm: Cdm, table: str, asked: object, folder: Path | None = None) -> str:
    with psycopg.connect(cdm.url) as connection:
        return "\n".join(explain_cdm_row(connection, SCHEMAS, table, str(asked), folder))


def explain_source(cdm: Cdm, table: str, folder: Path | None = None, **columns: str) -> str:
    with psycopg.connect(cdm.url) as connection:
        found = held.find_by_columns(connection, SCHEMAS, table, columns)
        return "\n".join(explain_source_rows(connection, SCHEMAS, found, folder))


def cdm_rows(store_cdm: dict[str, list[dict[str, object]]]) -> Iterator[tuple[str, dict[str, object]]]:
    for table, rows in store_cdm.items():
        if rows and table not in lineage.WITHOUT_ROWS:
            yield from ((table, row) for row in rows)


def test_every_cdm_row_leads_to_source_rows_that_lead_back_to_it(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", busy_world()))
    store = cdm.read()
    tables = set()
    with psycopg.connect(cdm.url) as connection:
        lineage.prepare(connection, SCHEMAS)
        for table, row in cdm_rows(store.cdm):
            sources = lineage.sources_of(connection, table, row)
            assert sources, (table, row)
            own = row.get(f"{table}_id", row.get("person_id"))
            for link in sources:
                (found,) = held.find_by_row_id(connection, SCHEMAS, link.row_id, link.table)
                ahead = descent.targets_of(connection, found.table, dict(found.columns))
                assert (table, own) in {(one.table, one.row_id) for one in ahead}, (table, own, link)
            tables.add(table)
    assert tables >= {
        "location",
        "condition_era",
        "drug_era",
        "payer_plan_period",
        "visit_occurrence",
        "cost",
        "observation",
        "care_site",
        "provider",
    }


def test_transitions_and_periods_lead_to_each_other_in_another_time_zone(cdm: Cdm, tmp_path: Path) -> None:
    world = busy_world()
    world["payer_transitions"][0] |= {"START_DATE": "2019-03-01T02:30:00Z", "END_DATE": "2019-03-01T03:00:00Z"}  # an evening in February there
    summary = cdm.run(write_snapshot(tmp_path / "a", world), time_zone="America/New_York")
    assert summary.outcomes["payer_transitions"] == {"payer_plan_period": len(world["payer_transitions"])}
    ((period, day),) = cdm.query(
        "SELECT payer_plan_period_id, payer_plan_period_start_date::text FROM cdm.payer_plan_period WHERE payer_plan_period_end_date = '2019-02-28'"
    )
    assert day == "2019-02-28"
    ((transition,),) = cdm.query("SELECT row_id FROM cdm_staging.payer_transitions WHERE start_date = '2019-03-01 02:30:00'")
    assert f"payer_transitions.csv, row_id {transition}: loaded (a transition merged into this period)" in explain(cdm, "payer_plan_period", period)
    with psycopg.connect(cdm.url) as connection:
        (found,) = held.find_by_row_id(connection, SCHEMAS, transition, "payer_transitions")
        assert f"-> payer_plan_period {period}" in "\n".join(explain_source_rows(connection, SCHEMAS, [found], None))


def test_second_targets_and_reactions_lead_to_their_row(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", busy_world()))
    ((condition,),) = cdm.query("SELECT row_id FROM cdm_staging.conditions WHERE code = '900000001'")
    further = cdm.query(
        "SELECT condition_occurrence_id FROM cdm.condition_occurrence WHERE condition_source_value = '900000001' AND condition_occurrence_id <> %s",
        condition,
    )
    assert further
    assert f"conditions.csv, row_id {condition}: loaded (a further target of its code, or a reaction)" in explain(
        cdm, "condition_occurrence", further[0][0]
    )
    ((reaction, allergy),) = cdm.query(
        "SELECT observation_id, observation_event_id FROM cdm.observation WHERE observation_event_id IS NOT NULL ORDER BY 1 LIMIT 1"
    )
    assert f"allergies.csv, row_id {allergy}: loaded" in explain(cdm, "observation", reaction)


def test_runs_that_saw_a_row_are_told(cdm: Cdm, tmp_path: Path) -> None:
    history_ = History(busy_world())
    first = cdm.run(write_snapshot(tmp_path / "a", history_.step([])))
    row = history_.world["conditions"][0]
    row["STOP"] = "2020-05-05"
    second = cdm.run(write_snapshot(tmp_path / "b", history_.step([])))
    history_.world["conditions"].remove(row)
    third = cdm.run_allowed(write_snapshot(tmp_path / "c", history_.step([])))
    key = {"patient": row["PATIENT"], "encounter": row["ENCOUNTER"], "code": row["CODE"], "start": row["START"]}
    gone = explain_source(cdm, "conditions", **key)
    assert "row_id" in gone and ": removed" in gone
    for summary, word in ((first, "first seen"), (second, "changed"), (third, "removed")):
        assert f"{word} by run {summary.run_id}, incremental, generation {summary.generation}, " in gone
    history_.world["conditions"].append(row)
    fourth = cdm.run(write_snapshot(tmp_path / "d", history_.step([])))
    back = explain_source(cdm, "conditions", tmp_path / "d", **key)
    assert f"returned by run {fourth.run_id}" in back
    assert "conditions.csv, line 4" in back
    assert "-> condition_occurrence " in back and "-> condition_era " in back
    ((number,),) = cdm.query("SELECT row_id FROM cdm_staging.conditions WHERE stop = '2020-05-05'")
    assert f"written last by run {fourth.run_id}" in explain(cdm, "condition_occurrence", number)
    assert cdm.query("SELECT count(*) FROM cdm_state.row_event") == [(3,)]  # none for new and unchanged rows


def test_reload_notes_what_changed_and_left(cdm: Cdm, tmp_path: Path) -> None:
    history_ = History(busy_world())
    cdm.run(write_snapshot(tmp_path / "a", history_.step([])))
    history_.world["conditions"][0]["STOP"] = "2020-05-05"
    history_.world["procedures"].pop()
    cdm.run_allowed(write_snapshot(tmp_path / "b", history_.step([])), "full_reload")
    found = cdm.query("SELECT source_table, event, generation FROM cdm_state.row_event ORDER BY 1")
    assert found == [("conditions", "changed", 2), ("procedures", "removed", 2)]
    cdm.run(tmp_path / "b", "full_reload", renumber=True)
    assert cdm.query("SELECT count(*) FROM cdm_state.row_event") == [(0,)]
    with psycopg.connect(cdm.url) as connection:
        number = held.id_of_row(connection, SCHEMAS, "patients", uid("patients", 0))
        assert number is not None and history.read_first_seen(connection, SCHEMAS, number) == 3


def test_rows_that_are_not_loaded_are_told_with_their_reason(cdm: Cdm, tmp_path: Path) -> None:
    world = busy_world()
    world["encounters"] = [one for one in world["encounters"] if one["Id"] != uid("encounters", 0)]
    world["careplans"].append(world["careplans"][1] | {"CODE": "718361005"})
    world["observations"].append(world["observations"][1] | {"DATE": "2020-02-30", "VALUE": "9.75"})
    cdm.run(write_snapshot(tmp_path / "a", world))
    pending = explain_source(cdm, "conditions", patient=uid("patients", 0), code="43878008")
    assert f"pending by rule parent_encounter: the row of encounters with Id {uid('encounters', 0)} has not come" in pending
    twice = explain_source(cdm, "careplans", id=uid("careplans", 1))
    assert twice.count("quarantined by rule repeated_id: several rows of this Id have different content") == 2
    bad = explain_source(cdm, "observations", value="9.75")
    assert "quarantined by rule timestamp" in bad and "2020-02-30" in bad
    line = explain_source(cdm, "claims_transactions", claimid=uid("claims", 0))
    assert "pending by rule parent_claimid: the row of claims with Id" in line
    assert "is not loaded for this patient: pending by rule parent_appointmentid" in line


def test_rule_of_a_loaded_row_without_cdm_row_is_told(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", busy_world()))
    assert "rule transfer_out: comes back as a transfer in" in explain_source(cdm, "claims_transactions", type="TRANSFEROUT")
    assert "rule person_without_event" in explain_source(cdm, "patients", id=uid("patients", 7))
    assert "rule row_of_procedures" in explain_source(cdm, "imaging_studies", id=uid("studies", 51))
    assert "rule payer_of_periods" in explain_source(cdm, "payers", id=uid("payers", 1))
    assert "-> cost " in explain_source(cdm, "claims_transactions", type="CHARGE", amount="85.55")
    assert "rule claim_of_transactions" in explain_source(cdm, "claims", id=uid("claims", 0))


@pytest.mark.parametrize(
    ("table", "asked", "message"),
    [
        pytest.param("note", "1", "No transform fills 'note'; expected one of care_site, ", id="a table that nothing fills"),
        pytest.param("cdm_source", "1", "comes from no source row of its own", id="a table without source rows"),
        pytest.param("person", "7007", r"'cdm.person' has no row 7007", id="no such row"),
        pytest.param("person", "Bo", r"Expected an id of 'person' \(a number\)", id="no id"),
        pytest.param("person", uid("patients", 77), "No loaded row that 'person' is named after has this Id", id="no such Id"),
    ],
)
def test_question_without_an_answer_says_so(table: str, asked: str, message: str, cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", busy_world()))
    with pytest.raises(SettingsError, match=message):
        explain(cdm, table, asked)


def test_command_line(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMOP_INC_DATABASE_URL", cdm.url)
    monkeypatch.setenv("OMOP_INC_STATE_DIR", str(tmp_path / "state"))
    runner = CliRunner()
    assert isinstance(runner.invoke(app, ["explain", "person", "1"]).exception, SettingsError)  # no CDM yet
    cdm.run(write_snapshot(tmp_path / "a", busy_world()))
    told = runner.invoke(app, ["explain", "person", uid("patients", 0), "--folder", str(tmp_path / "a")])
    assert told.exit_code == 0, told.exception
    assert "patients.csv, line 2" in told.stdout
    key = f"patient={uid('patients', 0)},code=43878008,stop=2020-03-20"
    assert "-> condition_occurrence" in runner.invoke(app, ["explain", "--source", "conditions", "--key", key]).stdout
    ((number,),) = cdm.query("SELECT min(row_id) FROM cdm_staging.devices")
    assert "source row of devices.csv" in runner.invoke(app, ["explain", "--row-id", str(number)]).stdout
    for arguments, message in (
        (["--source", "nothing", "--id", "1"], "'nothing' is no source table"),
        (["--source", "patients", "--key", "colour=red"], "'patients' has no columns colour"),
        (["--source", "patients", "--id", "red"], "not of its column's type; expected id: uuid"),
        (["--source", "patients", "--key", "red"], "expected column=value"),
        (["--source", "patients", "--id", uid("patients", 99)], "No such source row"),
        (["person"], "Expected a CDM table and an id"),
    ):
        failed = runner.invoke(app, ["explain", *arguments])
        assert isinstance(failed.exception, SettingsError) and message in str(failed.exception), arguments


def test_store_of_an_older_version_tells_its_rows(cdm: Cdm, tmp_path: Path) -> None:
    a = write_snapshot(tmp_path / "a", busy_world())
    cdm.run(a)
    with psycopg.connect(cdm.url) as connection:
        connection.execute("DROP TABLE cdm_state.row_event, cdm_state.row_id_range")
    assert cdm.run(a).status == "no_change"
    assert "first seen by a run before these were noted" in explain(cdm, "person", uid("patients", 0))


def test_row_without_a_key_is_removed_and_never_changed(cdm: Cdm, tmp_path: Path) -> None:
    """A claim transaction has no key: its rows are new or removed, never changed."""
    history_ = History(busy_world())
    cdm.run(write_snapshot(tmp_path / "a", history_.step([])))
    cdm.run(write_snapshot(tmp_path / "b", history_.step([Change("update", "claims_transactions", 0, 5, 2)])))
    assert cdm.query("SELECT event FROM cdm_state.row_event WHERE source_table = 'claims_transactions'") == [("removed",)]
