"""Faults put into a finished CDM: each is seen by a check marked fail, and without a fault none of these finds anything.

DataQualityDashboard passes most of them: it looks at the CDM alone.
"""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from omop_inc.runs.checking import check_committed
from tests.conftest import CreateDatabase, TestServer, _create, _database_url, _drop
from tests.factories import small_world
from tests.stores import Cdm
from tests.worlds import write_snapshot

TEMPLATE = "test_faults_template"
DEAD = {"DEATHDATE": "2020-06-01"}
FREE_KEYS = "ALTER TABLE cdm.{0} DROP CONSTRAINT pk_{0};"

# What is done to the CDM, and which check must see it.
FAULTS: dict[str, tuple[str, str]] = {
    "the CDM is emptied": ("TRUNCATE " + ", ".join(f"cdm.{t}" for t in ("person", "visit_occurrence", "visit_detail", "death")), "empty_table"),
    "a whole event table is emptied": ("DELETE FROM cdm.measurement", "event_as_in_source"),
    "a person is lost": ("DELETE FROM cdm.person WHERE person_id = (SELECT min(person_id) FROM cdm.person)", "patient_as_in_source"),
    "a visit detail is lost": ("DELETE FROM cdm.visit_detail WHERE visit_detail_id = (SELECT max(visit_detail_id) FROM cdm.visit_detail)",
                               "encounter_as_in_source"),
    "a visit is lost": ("DELETE FROM cdm.visit_occurrence WHERE visit_occurrence_id = (SELECT max(visit_occurrence_id) FROM cdm.visit_occurrence)",
                        "visit_as_in_details"),
    **{
        f"a row of {table} is lost": (f"DELETE FROM cdm.{table} WHERE {table}_id = (SELECT min({table}_id) FROM cdm.{table})", "event_as_in_source")
        for table in ("condition_occurrence", "drug_exposure", "measurement", "device_exposure")
    },
    "observations are lost": ("DELETE FROM cdm.observation", "event_as_in_source"),
    "a body site is lost": (
        "DELETE FROM cdm.observation WHERE observation_id IN (SELECT row_id FROM cdm_staging.imaging_studies)",
        "body_site_as_in_source",
    ),
    "procedures are lost": ("DELETE FROM cdm.procedure_occurrence", "event_as_in_source"),
    "an imaging study is lost": (
        "DELETE FROM cdm.procedure_occurrence WHERE procedure_occurrence_id IN (SELECT row_id FROM cdm_staging.imaging_studies)",
        "imaging_as_in_source",
    ),
    "the death is lost": ("DELETE FROM cdm.death", "death_as_in_source"),
    "a cost is lost": ("DELETE FROM cdm.cost WHERE cost_id = (SELECT min(cost_id) FROM cdm.cost)", "cost_as_in_source"),
    "an era is lost": ("DELETE FROM cdm.condition_era WHERE condition_era_id = (SELECT min(condition_era_id) FROM cdm.condition_era)",
                       "condition_era_of_occurrences"),
    "a care site is lost": ("DELETE FROM cdm.care_site WHERE care_site_id = (SELECT min(care_site_id) FROM cdm.care_site)",
                            "organization_as_in_source"),
    "a provider is lost": ("DELETE FROM cdm.provider WHERE provider_id = (SELECT min(provider_id) FROM cdm.provider)", "provider_as_in_source"),
    "measurements are loaded twice under new ids": (
        "INSERT INTO cdm.measurement SELECT (jsonb_populate_record(m, jsonb_build_object('measurement_id', measurement_id + 1000000))).*"
        " FROM cdm.measurement AS m",
        "event_as_in_source",
    ),
    "conditions are loaded twice under their ids": (
        FREE_KEYS.format("condition_occurrence") + "INSERT INTO cdm.condition_occurrence TABLE cdm.condition_occurrence",
        "isPrimaryKey.condition_occurrence.condition_occurrence_id",
    ),
    "deaths are loaded twice": ("INSERT INTO cdm.death TABLE cdm.death", "death_as_in_source"),
    "links are loaded twice": ("INSERT INTO cdm.fact_relationship TABLE cdm.fact_relationship", "repeated_fact"),
    "persons are loaded twice under new ids": (
        "INSERT INTO cdm.person SELECT (jsonb_populate_record(p, jsonb_build_object('person_id', person_id + 1000000))).* FROM cdm.person AS p",
        "patient_as_in_source",
    ),
    "a condition is another": ("UPDATE cdm.condition_occurrence SET condition_source_value = '15777000'", "event_as_in_source"),
    "a number is that of yesterday": ("UPDATE cdm.measurement SET value_as_number = value_as_number + 1", "number_as_written"),
    "a value is that of yesterday": ("UPDATE cdm.measurement SET value_source_value = '171.5', value_as_number = 171.5", "event_as_in_source"),
    "a cost is that of yesterday": ("UPDATE cdm.cost SET total_cost = total_cost + 0.01 WHERE cost_id = (SELECT min(cost_id) FROM cdm.cost)",
                                    "cost_as_in_source"),
    "a gender is another": ("UPDATE cdm.person SET gender_source_value = 'F'", "patient_as_in_source"),
    "a visit's class is another": ("UPDATE cdm.visit_detail SET visit_detail_source_value = 'inpatient'", "encounter_as_in_source"),
    "conditions are shifted by a day": (
        "UPDATE cdm.condition_occurrence SET condition_start_date = condition_start_date + 1, condition_end_date = condition_end_date + 1",
        "event_as_in_source",
    ),
    "a drug ends a day later": ("UPDATE cdm.drug_exposure SET verbatim_end_date = verbatim_end_date + 1", "event_as_in_source"),
    "measurements are shifted by an hour": ("UPDATE cdm.measurement SET measurement_datetime = measurement_datetime + interval '1 hour'",
                                            "event_as_in_source"),
    "visits end a day later": ("UPDATE cdm.visit_occurrence SET visit_end_date = visit_end_date + 1", "visit_as_in_details"),
    "visit details start a day earlier": (
        "UPDATE cdm.visit_detail SET visit_detail_start_date = visit_detail_start_date - 1,"
        " visit_detail_start_datetime = visit_detail_start_datetime - interval '1 day'",
        "encounter_as_in_source",
    ),
    "the death is a day later": ("UPDATE cdm.death SET death_date = death_date + 1", "death_as_in_source"),
    "a birth is a day later": ("UPDATE cdm.person SET birth_datetime = birth_datetime + interval '1 day'", "patient_as_in_source"),
    "two persons' conditions are swapped": (
        "UPDATE cdm.condition_occurrence AS one SET person_id = (SELECT max(p.person_id) FROM cdm.person AS p WHERE p.person_id <> one.person_id)",
        "event_as_in_source",
    ),
    "two persons' visits are swapped": (
        "UPDATE cdm.visit_detail AS one SET person_id = (SELECT max(p.person_id) FROM cdm.person AS p WHERE p.person_id <> one.person_id)",
        "encounter_as_in_source",
    ),
    "two persons are swapped": (
        "UPDATE cdm.person AS one SET person_source_value = (SELECT max(p.person_source_value) FROM cdm.person AS p"
        " WHERE p.person_source_value <> one.person_source_value)",
        "patient_as_in_source",
    ),
    "an event is in a visit of somebody else": (
        "UPDATE cdm.drug_exposure AS one SET (visit_occurrence_id, visit_detail_id) = (SELECT visit_occurrence_id, visit_detail_id"
        " FROM cdm.visit_detail AS other WHERE other.person_id <> one.person_id ORDER BY visit_detail_id LIMIT 1)",
        "visit_of_the_same_person",
    ),
    "a patient who left is still there": ("DELETE FROM cdm_staging.patients WHERE row_id = (SELECT min(person_id) FROM cdm.person)",
                                          "patient_as_in_source"),
    "a condition that left is still there": ("DELETE FROM cdm_staging.conditions WHERE row_id = (SELECT min(row_id) FROM cdm_staging.conditions)",
                                             "event_as_in_source"),
    "an encounter that left is still there": ("DELETE FROM cdm_staging.encounters WHERE row_id = (SELECT min(row_id) FROM cdm_staging.encounters)",
                                              "encounter_as_in_source"),
    "a death that was taken back is still there": ("UPDATE cdm_staging.patients SET deathdate = NULL", "death_as_in_source"),
    "a new row never came": (
        "INSERT INTO cdm_staging.observations SELECT (jsonb_populate_record(o, jsonb_build_object('row_id', row_id + 1000000))).*"
        " FROM cdm_staging.observations AS o",
        "event_as_in_source",
    ),
    "a visit points nowhere": ("UPDATE cdm.measurement SET visit_occurrence_id = -7", "isForeignKey.measurement.visit_occurrence_id"),
    "a concept is unknown": ("UPDATE cdm.measurement SET measurement_concept_id = 2099999999", "isForeignKey.measurement.measurement_concept_id"),
    "a required field is empty": (
        "ALTER TABLE cdm.measurement ALTER COLUMN measurement_date DROP NOT NULL; UPDATE cdm.measurement SET measurement_date = NULL"
        " WHERE measurement_id = (SELECT min(measurement_id) FROM cdm.measurement)",
        "isRequired.measurement.measurement_date",
    ),
    "a table is gone": ("DROP TABLE cdm.specimen", "cdmTable.specimen"),
    "a field is gone": ("ALTER TABLE cdm.person DROP COLUMN provider_id", "cdmField.person.provider_id"),
}  # fmt: skip


@pytest.fixture(scope="module")
def finished(server: TestServer, vocabulary_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database that holds a CDM of three people, one of them dead; to be copied."""
    folder, database = tmp_path_factory.mktemp("faults"), f"{TEMPLATE}_{tmp_path_factory.getbasetemp().name}".replace("-", "_")
    _create(server, database, vocabulary_template)
    cdm = Cdm(_database_url(server, database), folder / "state")
    world = small_world(3)
    world["patients"][2] |= DEAD
    cdm.run(write_snapshot(folder / "snapshot", world))
    cdm.wait_alone()
    yield database
    _drop(server, database)


@pytest.fixture
def whole(create_database: CreateDatabase, finished: str, tmp_path: Path) -> Cdm:
    return Cdm(create_database(template=finished), tmp_path / "state")


def test_there_are_thirty_kinds_of_fault_and_more() -> None:
    assert len(FAULTS) >= 30


def test_without_a_fault_no_check_marked_fail_finds_anything(whole: Cdm) -> None:
    report = check_committed(whole.settings())
    assert [one.check.id for one in report.checked.results if one.stops] == []
    assert report.differing == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_is_seen(whole: Cdm, fault: str) -> None:
    statements, expected = FAULTS[fault]
    with psycopg.connect(whole.url) as connection:
        assert connection.execute(statements).rowcount != 0  # type: ignore[call-overload]
    report = check_committed(whole.settings(), expected)
    assert report.stops
    assert report.differing == (expected,)
    found = next(one for one in report.checked.results if one.check.id == expected)
    assert found.count.violated > 0
    assert found.samples or found.check.level == "table" or found.check.type == "cdmField"
