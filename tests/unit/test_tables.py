import csv
import gzip
from pathlib import Path

import pytest

from omop_inc.source.hashing import FOLDS
from omop_inc.source.tables import REQUIRED_TABLES, SOURCE_TABLES, SourceTable

EVERY = [pytest.param(table, id=name) for name, table in SOURCE_TABLES.items()]
WORKSHOP = Path(__file__).parents[2].parent / "shared"


def test_source_tables_are_exhaustive() -> None:
    assert sorted(SOURCE_TABLES) == [
        "allergies", "careplans", "claims", "claims_transactions", "conditions", "devices", "encounters",
        "imaging_studies", "immunizations", "medications", "observations", "organizations", "patients",
        "payer_transitions", "payers", "procedures", "providers", "supplies",
    ]  # fmt: skip
    assert set(REQUIRED_TABLES) <= set(SOURCE_TABLES)


def test_parents_come_before_children() -> None:
    order = list(SOURCE_TABLES)
    for table in SOURCE_TABLES.values():
        assert all(order.index(parent.table) < order.index(table.name) for parent in table.parents)


@pytest.mark.parametrize("table", EVERY)
def test_every_name_in_the_facts_is_a_staged_column(table: SourceTable) -> None:
    named = {*table.key, *(parent.column for parent in table.parents), *(reference.column for reference in table.references)}
    if table.patient:
        named.add(table.patient)
    assert named <= set(table.staged)
    assert {name for reference in table.references for name in reference.tables} <= set(SOURCE_TABLES)
    assert {column.fold for column in table.columns if column.fold} <= set(FOLDS)


@pytest.mark.parametrize("table", EVERY)
def test_ids_that_refer_are_uuids(table: SourceTable) -> None:
    for name in (*(parent.column for parent in table.parents), *(reference.column for reference in table.references)):
        assert table.column(name).type == "uuid"


@pytest.mark.parametrize("table", EVERY)
def test_names_and_aliases_are_unique(table: SourceTable) -> None:
    names = [name.upper() for column in table.columns for name in (column.name, *column.aliases)]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("table", EVERY)
def test_everything_of_a_person_names_the_patient(table: SourceTable) -> None:
    dimensions = {"payers", "organizations", "providers"}
    assert (table.patient is None) == (table.name in dimensions)
    if table.name not in {*dimensions, "patients"}:
        assert table.parents[0].table == "patients"


def test_volatile_columns_are_the_measured_ones() -> None:
    volatile = {name: [column.name for column in table.columns if column.volatile] for name, table in SOURCE_TABLES.items()}
    assert volatile.pop("claims_transactions") == ["ID", "CHARGEID", "TRANSFEROUTID"]
    assert volatile.pop("patients") == ["HEALTHCARE_EXPENSES", "HEALTHCARE_COVERAGE"]
    assert volatile.pop("organizations") == ["REVENUE", "UTILIZATION"]
    assert volatile.pop("providers") == ["ENCOUNTERS", "PROCEDURES", "UTILIZATION"]
    assert SOURCE_TABLES["payers"].staged == ("id", "name", "ownership", "address", "city", "state_headquartered", "zip", "phone")
    del volatile["payers"]
    assert not any(volatile.values())


def test_claims_transactions_have_no_key_because_they_never_change() -> None:
    assert [name for name, table in SOURCE_TABLES.items() if not table.key] == ["claims_transactions"]


@pytest.mark.workshop
@pytest.mark.skipif(not (WORKSHOP / "data").is_dir(), reason="the real exports are not here")
@pytest.mark.parametrize("table", EVERY)
def test_canonical_header_is_that_of_a_real_export(table: SourceTable) -> None:
    with gzip.open(WORKSHOP / f"data/synthea/ma100/20240501/{table.name}.csv.gz", "rt") as file:
        assert tuple(next(csv.reader(file))) == table.header
