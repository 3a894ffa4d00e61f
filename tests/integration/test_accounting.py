"""Every row read has a fate, every loaded row its CDM rows or a rule: counted here from the files and the CDM, without the package's SQL."""

from collections import Counter
from pathlib import Path

import psycopg
import pytest

from omop_inc.cdm.outcomes import FATES, RULES, UNEXPLAINED
from omop_inc.errors import CheckFailed
from omop_inc.runs.snapshots import Kind
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.telling.summary import Summary
from tests.comparing import Store
from tests.factories import World, joined, person_rows, row, small_world, uid
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

EVENTS = ("condition_occurrence", "drug_exposure", "procedure_occurrence", "measurement", "device_exposure", "specimen", "observation")
CODED = ("conditions", "medications", "immunizations", "procedures", "observations", "allergies", "careplans", "devices", "supplies")


def busy_world() -> World:
    """Two people with something for every rule, and one without an event."""
    world = joined(small_world(2), {**{t: [] for t in SOURCE_TABLES}, "patients": person_rows(7)["patients"]})
    patient, encounter, claim = uid("patients", 0), uid("encounters", 0), uid("claims", 0)
    person = {"PATIENT": patient, "ENCOUNTER": encounter}
    world["providers"].append(world["providers"][0] | {"NAME": "Eve"})
    world["organizations"].append(world["organizations"][0] | {"NAME": "Annex"})
    world["payers"].append(world["payers"][0] | {"NAME": "Other"})
    study = uid("studies", 50)
    world["imaging_studies"] += [row("imaging_studies", Id=study, **person, SERIES_UID=f"1.{n}", INSTANCE_UID=f"9.{n}") for n in range(3)]
    world["procedures"].append(row("procedures", **person, CODE="74016001"))
    bare = {"Id": uid("studies", 51), **person, "BODYSITE_CODE": "", "BODYSITE_DESCRIPTION": ""}
    world["imaging_studies"].append(row("imaging_studies", **bare))
    world["imaging_studies"].append(row("imaging_studies", **bare, DATE="2020-03-05T10:00:00Z", PROCEDURE_CODE="117015009"))  # of that study
    world["payer_transitions"].append(row("payer_transitions", PATIENT=patient, START_DATE="1980", END_DATE="1980"))  # begins with the birth
    world["conditions"].append(row("conditions", **person, CODE="900000001"))  # three targets, in three domains
    lines = {"CLAIMID": claim, "PATIENTID": patient, "APPOINTMENTID": encounter}
    kinds = [("PAYMENT", "", ""), ("TRANSFEROUT", "", "1"), ("TRANSFERIN", "", "1"), ("TRANSFERIN", "", "p"), ("ADJUSTMENT", "", "")]
    world["claims_transactions"] += [row("claims_transactions", **lines, TYPE=kind, METHOD=how, TRANSFERTYPE=to) for kind, how, to in kinds]
    world["claims"].append(row("claims", Id=uid("claims", 90), PATIENTID=patient))
    world["claims_transactions"].append(row("claims_transactions", CLAIMID=uid("claims", 90), PATIENTID=patient))
    world["claims_transactions"].append(row("claims_transactions", CLAIMID=claim, PATIENTID=patient, AMOUNT="1.00"))
    return world


def counted(store: Store) -> dict[str, Counter[str]]:
    """The outcomes of the tables whose outcome shows in the CDM's ids, from what the store holds."""
    ids = {table: {one[f"{table}_id"] for one in store.cdm[table]} for table in (*EVENTS, "visit_detail", "care_site", "provider", "person")}
    targets = {**dict.fromkeys(CODED, EVENTS), "encounters": ("visit_detail",), "patients": ("person",), "organizations": ("care_site",)}
    targets["providers"] = ("provider",)
    return {
        source: Counter(" + ".join(table for table in tables if one["row_id"] in ids[table]) for one in store.staging[source])
        for source, tables in targets.items()
    }


def check(summary: Summary, store: Store) -> None:
    """The accounts of a run against what the store holds."""
    assert summary.outcomes.keys() == SOURCE_TABLES.keys()
    for table, counts in summary.outcomes.items():
        assert sum(counts.values()) == len(store.staging[table]), table
        assert UNEXPLAINED not in counts and min(counts.values(), default=1) > 0
        allowed = {*FATES[table].rules, *FATES[table].tables}
        assert {part for outcome in counts for part in outcome.split(" + ")} <= allowed, table
    for table, expected in counted(store).items():
        rules = {"person_without_event": "person", "repeated_id": ""}
        found: Counter[str] = Counter()
        for outcome, count in summary.outcomes[table].items():
            found[rules.get(outcome, outcome)] += count
        assert found == expected, table


def test_facts_cover_every_source_table_and_every_rule_has_words() -> None:
    assert FATES.keys() == SOURCE_TABLES.keys()
    assert {rule for fates in FATES.values() for rule in fates.rules} == RULES.keys()


def test_every_rule_counts_the_rows_that_it_names(cdm: Cdm, tmp_path: Path) -> None:
    summary = cdm.run(write_snapshot(tmp_path / "a", busy_world()))
    check(summary, cdm.read())
    assert summary.outcomes["patients"] == {"person": 2, "person_without_event": 1}
    assert summary.outcomes["providers"] == {"provider": 2, "repeated_id": 1}
    assert summary.outcomes["organizations"] == {"care_site": 2, "repeated_id": 1}
    assert summary.outcomes["payers"] == {"payer_of_periods": 2, "repeated_id": 1}
    assert summary.outcomes["claims"] == {"claim_of_transactions": 3}
    assert summary.outcomes["payer_transitions"] == {"payer_plan_period": 3}
    assert summary.outcomes["claims_transactions"] == {
        "cost": 5, "no_amount_of_cost": 1, "no_encounter": 1, "transfer_out": 1, "transfer_to_payer": 1,
    }  # fmt: skip
    assert summary.outcomes["conditions"] == {"condition_occurrence": 2, "condition_occurrence + procedure_occurrence + observation": 1}
    assert summary.outcomes["imaging_studies"] == {
        "observation": 2, "procedure_occurrence + observation": 1, "row_of_procedures": 2, "row_of_same_study": 2,
    }  # fmt: skip


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"])
def test_rows_whose_day_another_zone_moves_are_explained(cdm: Cdm, tmp_path: Path, zone: str) -> None:
    world = busy_world()
    patient, encounter = uid("patients", 0), uid("encounters", 0)
    for moment, ownership in (("2020-06-01T20:00:00Z", "Spouse"), ("2020-06-01T03:00:00Z", "Guardian")):
        world["payer_transitions"].append(row("payer_transitions", PATIENT=patient, START_DATE=moment, END_DATE=moment, PLAN_OWNERSHIP=ownership))
    here = {"PATIENT": patient, "ENCOUNTER": encounter}
    world["procedures"].append(row("procedures", **here, CODE="117015009", START="2020-03-02T01:00:00Z"))
    study = {"Id": uid("studies", 52), "DATE": "2020-03-01T23:00:00Z", "PROCEDURE_CODE": "117015009", "BODYSITE_CODE": ""}
    world["imaging_studies"].append(row("imaging_studies", **here, **study))  # in both zones on the day of the procedure, in UTC on the one before
    summary = cdm.run(write_snapshot(tmp_path / "a", world), time_zone=zone)
    check(summary, cdm.read())
    assert summary.outcomes["payer_transitions"] == {"payer_plan_period": 5}
    assert summary.outcomes["imaging_studies"]["row_of_procedures"] == 3


def test_increments_move_the_counts_to_those_of_a_first_load(cdm: Cdm, tmp_path: Path) -> None:
    history = History(busy_world())
    check(cdm.run(write_snapshot(tmp_path / "0", history.step([]))), cdm.read())
    claim = history.world["claims"][-1]
    steps: list[list[Change]] = [
        [Change("delete", "encounters", 0), Change("delete", "imaging_studies", 2)],
        [Change("restore"), Change("restore"), Change("insert", "imaging_studies", 0, 2, 1), Change("delete", "procedures", 2)],
        [Change("leave"), Change("delete", "providers", 0), Change("update", "observations", 0, 4, 2)],
        [Change("back"), Change("double", "conditions"), Change("repeat_id", column=2)],
    ]
    for number, changes in enumerate(steps, start=1):
        snapshot = write_snapshot(tmp_path / str(number), history.step(changes))
        summary = cdm.run_allowed(snapshot)
        assert summary.status == "applied"
        check(summary, cdm.read())
        assert cdm.run(snapshot).outcomes == summary.outcomes  # nothing changed
        assert cdm.run(snapshot, "verify").status == "no_change"  # which counts all of them anew
        assert cdm.run_allowed(snapshot, "full_reload").outcomes == summary.outcomes
    history.world["claims"] = [one for one in history.world["claims"] if one["Id"] != claim["Id"]] + [claim | {"APPOINTMENTID": uid("encounters", 0)}]
    summary = cdm.run(write_snapshot(tmp_path / "claim", history.step([])))  # brings a transaction an encounter that did not change itself
    assert "no_encounter" not in summary.outcomes["claims_transactions"]


def test_append_mode_counts_the_whole_image(cdm: Cdm, tmp_path: Path) -> None:
    cdm.run(write_snapshot(tmp_path / "a", small_world(1)))
    summary = cdm.run(write_snapshot(tmp_path / "b", person_rows(1, 1)), mode="append")
    check(summary, cdm.read())
    assert summary.outcomes["patients"] == {"person": 2}
    assert cdm.run(tmp_path / "b", "full_reload", mode="append").outcomes == summary.outcomes


def test_store_of_an_older_version_is_counted_anew(cdm: Cdm, tmp_path: Path) -> None:
    history = History(small_world(2))
    cdm.run(write_snapshot(tmp_path / "a", history.step([])))
    with psycopg.connect(cdm.url) as connection:
        connection.execute("UPDATE cdm_ledger.run SET summary = summary - 'outcomes'")
        connection.execute("DROP TABLE cdm_state.row_event, cdm_state.row_id_range")
    summary = cdm.run_allowed(write_snapshot(tmp_path / "b", history.step([Change("leave")])))
    check(summary, cdm.read())
    assert cdm.query("SELECT generation FROM cdm_state.row_id_range") == [(2,)]


@pytest.mark.parametrize("kind", ["incremental", "full_reload"])
def test_references_to_what_no_file_holds_are_counted(cdm: Cdm, tmp_path: Path, kind: Kind) -> None:
    world = small_world(2)
    assert cdm.run(write_snapshot(tmp_path / "a", world)).unknown_references == {}
    world["encounters"] = [one | {"PROVIDER": uid("unknown", 0)} if one["Id"] == uid("encounters", 0) else one for one in world["encounters"]]
    assert cdm.run(write_snapshot(tmp_path / "b", world), kind).unknown_references == {"encounters.provider": 1}


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("DELETE FROM cdm.measurement", id="rows lost"),
        pytest.param("DELETE FROM cdm.cost WHERE cost_domain_id = 'Procedure'", id="a cost lost"),
    ],
)
def test_run_whose_sums_do_not_add_up_is_not_committed(statement: str, cdm: Cdm, tmp_path: Path) -> None:
    """A lost CDM row shows when its source row is touched; untouched ones are verify's."""
    history = History(small_world(2))
    cdm.run(write_snapshot(tmp_path / "a", history.step([])))
    with psycopg.connect(cdm.url) as connection:
        connection.execute(statement)  # type: ignore[call-overload]
    before = cdm.read()
    with pytest.raises(CheckFailed, match="Loaded rows and what became of them do not add up"):
        cdm.run_allowed(write_snapshot(tmp_path / "b", history.step([Change("leave")])))
    assert cdm.read() == before


def test_transform_that_loses_a_row_fails_the_full_load(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from omop_inc.cdm import results

    real = results.execute_transform

    def losing(connection: psycopg.Connection[object], transform: results.SqlFile, path: list[str]) -> None:
        real(connection, transform, path)
        if transform.name == "drug_exposure":
            connection.execute(
                "DELETE FROM cdm_run_cdm.drug_exposure WHERE drug_exposure_id = (SELECT min(drug_exposure_id) FROM cdm_run_cdm.drug_exposure)"
            )

    monkeypatch.setattr(results, "execute_transform", losing)
    with pytest.raises(CheckFailed, match=r"medications: 2 rows loaded, \{'drug_exposure': 1, 'unexplained': 1\}"):
        cdm.run(write_snapshot(tmp_path / "a", small_world(2)), checks="off")  # they see it as well, and earlier
    assert cdm.query("SELECT to_regclass('cdm.person')") == [(None,)]


def test_reload_counts_as_an_increment_does(cdm: Cdm, tmp_path: Path) -> None:
    """Of the same two snapshots, rows that are released from quarantine or fall into it included."""
    other = Cdm(cdm.url, cdm.state_dir, "other")
    history = History(busy_world())
    steps: list[list[Change]] = [
        [Change("delete", "encounters", 1), Change("repeat_id", column=3, value=2), Change("double", "careplans"), Change("double", "conditions")],
        [Change("restore"), Change("delete", "patients", 0), Change("update", "conditions", 0, 1, 1), Change("insert", "observations", 0, 0, 2)],
        [Change("delete", "careplans", 0), Change("delete", "conditions", 0), Change("arrive", row=2)],
    ]
    first = write_snapshot(tmp_path / "0", history.step([]))
    assert cdm.run(first).source_tables == other.run(first, "full_reload").source_tables
    for number, changes in enumerate(steps, start=1):
        snapshot = write_snapshot(tmp_path / str(number), history.step(changes))
        increment, reload = cdm.run_allowed(snapshot), other.run_allowed(snapshot, "full_reload")
        assert reload.source_tables == increment.source_tables
        assert reload.outcomes == increment.outcomes
    ((renumbered, before),) = [(other.run(snapshot, "full_reload", renumber=True), increment)]
    for table, counts in renumbered.source_tables.items():
        assert counts.adds_up and (counts.unchanged, counts.changed) == (0, 0)
        assert (
            counts.new
            == counts.removed
            == counts.read - counts.quarantined - counts.pending
            == before.source_tables[table].read - (counts.quarantined + counts.pending)
        )
