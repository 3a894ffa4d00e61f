"""The whole CDM that a folder of Synthea's files should become.

Belongs here: putting the themes together. Does not: rules of any table.
"""

from collections import defaultdict
from pathlib import Path

from tests.oracle.allergies import allergy_rows
from tests.oracle.concepts import Vocabulary
from tests.oracle.costs import costs
from tests.oracle.eras import condition_eras, dose_eras, drug_eras
from tests.oracle.events import Chart, coded_rows, event, first_diagnoses
from tests.oracle.fates import World, read_world
from tests.oracle.imaging import imaging_rows, modalities
from tests.oracle.labels import Record
from tests.oracle.links import links
from tests.oracle.people import care_sites, deaths, locations, persons, providers
from tests.oracle.periods import observation_periods, payer_periods
from tests.oracle.visits import read_visits, visit_details, visit_occurrences

# Tables that the oracle derives; those that are left out say so in tests/oracle/README.md.
TABLES = [
    "location",
    "care_site",
    "provider",
    "person",
    "death",
    "visit_occurrence",
    "visit_detail",
    "condition_occurrence",
    "drug_exposure",
    "procedure_occurrence",
    "measurement",
    "observation",
    "device_exposure",
    "specimen",
    "observation_period",
    "payer_plan_period",
    "cost",
    "condition_era",
    "drug_era",
    "dose_era",
    "fact_relationship",
]


def derive(folder: Path, vocabulary: Vocabulary) -> dict[str, list[Record]]:
    """The rows of each CDM table; fields that a row does not have are empty."""
    return derive_world(read_world(folder), vocabulary)


def derive_world(world: World, vocabulary: Vocabulary) -> dict[str, list[Record]]:
    """The same of rows that count."""
    visits = read_visits(world)
    chart = Chart(world, visits, vocabulary, first_diagnoses(world), modalities(world))
    found: dict[str, list[Record]] = defaultdict(list)
    for coded in coded_rows(world, vocabulary):
        found[coded.table].append(event(coded, chart))
    for table, record in (*allergy_rows(chart), *imaging_rows(chart)):
        found[table].append(record)
    periods = payer_periods(world, vocabulary)
    return dict(found) | {
        "location": locations(world, vocabulary),
        "care_site": care_sites(world, vocabulary),
        "provider": providers(world, vocabulary),
        "person": persons(world, vocabulary),
        "death": deaths(world, vocabulary),
        "visit_occurrence": visit_occurrences(world, visits, vocabulary),
        "visit_detail": visit_details(world, visits, vocabulary),
        "observation_period": observation_periods(world, vocabulary),
        "payer_plan_period": [period.record for period in periods],
        "cost": costs(world, visits, periods, vocabulary),
        "condition_era": condition_eras(found["condition_occurrence"]),
        "drug_era": drug_eras(found["drug_exposure"], vocabulary),
        "dose_era": dose_eras(found["drug_exposure"], vocabulary),
        "fact_relationship": links(world, vocabulary),
    }
