"""Rows of Synthea's 18 files, few words each: what a test does not name gets a plain value.

Belongs here: one row, one person's rows. Does not: how a snapshot changes or is written (worlds.py).
"""

import uuid
from collections.abc import Mapping

from omop_inc.source.tables import SOURCE_TABLES

Row = dict[str, str]
World = dict[str, list[Row]]

_NAMESPACE = uuid.UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")

# What a row holds that a test says nothing of; a column that is not named is empty.
DEFAULTS: Mapping[str, Mapping[str, str]] = {
    "payers": {"NAME": "Medicare", "OWNERSHIP": "GOVERNMENT", "CITY": "Boston", "AMOUNT_COVERED": "10.50", "QOLS_AVG": "0.9"},
    "organizations": {"NAME": "Clinic", "ADDRESS": "1 Road", "CITY": "Boston", "STATE": "MA", "ZIP": "02134", "REVENUE": "12.0"},
    "providers": {"NAME": "Ada", "GENDER": "F", "SPECIALITY": "GENERAL PRACTICE", "CITY": "Boston", "STATE": "MA", "ENCOUNTERS": "3"},
    "patients": {
        "BIRTHDATE": "1980-02-29", "SSN": "999-12-3456", "FIRST": "Bo", "LAST": "Li", "RACE": "white", "ETHNICITY": "nonhispanic",
        "GENDER": "M", "ADDRESS": "2 Street", "CITY": "Boston", "STATE": "Massachusetts", "COUNTY": "Suffolk County", "ZIP": "02134",
        "LAT": "42.1", "LON": "-71.2", "HEALTHCARE_EXPENSES": "1.5", "INCOME": "100",
    },
    "encounters": {
        "START": "2020-03-01T10:00:00Z", "STOP": "2020-03-01T11:00:00Z", "ENCOUNTERCLASS": "ambulatory", "CODE": "185345009",
        "DESCRIPTION": "Encounter", "BASE_ENCOUNTER_COST": "85.55", "TOTAL_CLAIM_COST": "90.00", "PAYER_COVERAGE": "10.00",
    },
    "claims": {
        "DEPARTMENTID": "1", "PATIENTDEPARTMENTID": "1", "DIAGNOSIS1": "43878008", "SERVICEDATE": "2020-03-01T10:00:00Z",
        "STATUS1": "CLOSED", "HEALTHCARECLAIMTYPEID1": "1",
    },
    "claims_transactions": {
        "CHARGEID": "1", "TYPE": "CHARGE", "AMOUNT": "85.55", "FROMDATE": "2020-03-01T10:00:00Z", "TODATE": "2020-03-01T11:00:00Z",
        "PROCEDURECODE": "185345009", "UNITS": "1", "TRANSFERTYPE": "1",
    },
    "conditions": {"START": "2020-03-01", "STOP": "2020-03-20", "SYSTEM": "SNOMED-CT", "CODE": "43878008", "DESCRIPTION": "Sore throat"},
    "medications": {
        "START": "2020-03-01T10:00:00Z", "STOP": "2020-03-11T10:00:00Z", "CODE": "313782", "DESCRIPTION": "Acetaminophen",
        "BASE_COST": "10.00", "PAYER_COVERAGE": "0.00", "DISPENSES": "2", "TOTALCOST": "20.00", "REASONCODE": "43878008",
    },
    "immunizations": {"DATE": "2020-03-01T10:00:00Z", "CODE": "140", "DESCRIPTION": "Influenza", "BASE_COST": "136.00"},
    "procedures": {
        "START": "2020-03-01T10:00:00Z", "STOP": "2020-03-01T10:15:00Z", "SYSTEM": "SNOMED-CT", "CODE": "430193006",
        "DESCRIPTION": "Reconciliation", "BASE_COST": "310.00", "REASONCODE": "43878008",
    },
    "observations": {
        "DATE": "2020-03-01T10:00:00Z", "CATEGORY": "vital-signs", "CODE": "8302-2", "DESCRIPTION": "Height", "VALUE": "170.5",
        "UNITS": "cm", "TYPE": "numeric",
    },
    "allergies": {
        "START": "2020-03-01", "CODE": "84489001", "SYSTEM": "Unknown", "DESCRIPTION": "Mold", "TYPE": "allergy",
        "CATEGORY": "environment", "REACTION1": "247472004", "SEVERITY1": "MILD",
    },
    "careplans": {"START": "2020-03-01", "CODE": "384758001", "DESCRIPTION": "Self-care", "REASONCODE": "43878008"},
    "devices": {"START": "2020-03-01T10:00:00Z", "CODE": "228869008", "DESCRIPTION": "Wheelchair", "UDI": "(01)1"},
    "supplies": {"DATE": "2020-03-01", "CODE": "337414009", "DESCRIPTION": "Glucometer", "QUANTITY": "1"},
    "imaging_studies": {
        "DATE": "2020-03-01T10:00:00Z", "SERIES_UID": "1.2", "BODYSITE_CODE": "72696002", "BODYSITE_DESCRIPTION": "Knee",
        "MODALITY_CODE": "DX", "INSTANCE_UID": "1.2.3", "SOP_CODE": "1.1", "PROCEDURE_CODE": "74016001",
    },
    "payer_transitions": {
        "START_DATE": "2020-01-01T00:00:00Z", "END_DATE": "2020-12-31T00:00:00Z", "PLAN_OWNERSHIP": "Self", "MEMBERID": "m1",
    },
}  # fmt: skip


def uid(kind: str, number: int) -> str:
    """The Id of the nth thing of a kind, the same in every test."""
    return str(uuid.uuid5(_NAMESPACE, f"{kind} {number}"))


def row(table: str, **values: str) -> Row:
    """A row of a file with every column of its newest header."""
    known = SOURCE_TABLES[table].header
    made = dict.fromkeys(known, "") | dict(DEFAULTS[table]) | values
    if unknown := set(made) - set(known):
        raise ValueError(f"{table} has no columns {sorted(unknown)}")
    return made


def empty_world() -> World:
    """A snapshot without a row."""
    return {table: [] for table in SOURCE_TABLES}


def dimension_rows(number: int) -> World:
    """The nth payer, organization and provider."""
    world = empty_world()
    world["payers"].append(row("payers", Id=uid("payers", number)))
    world["organizations"].append(row("organizations", Id=uid("organizations", number), ADDRESS=f"{number} Road"))
    world["providers"].append(row("providers", Id=uid("providers", number), ORGANIZATION=uid("organizations", number)))
    return world


def person_rows(number: int, dimension: int = 0) -> World:
    """The nth person: two encounters and one row in every other file."""
    patient, first, second = uid("patients", number), uid("encounters", 2 * number), uid("encounters", 2 * number + 1)
    provider, organization, payer = (uid(kind, dimension) for kind in ("providers", "organizations", "payers"))
    claim = uid("claims", number)
    place = {"ORGANIZATION": organization, "PROVIDER": provider, "PAYER": payer}
    world = empty_world()
    world["patients"].append(row("patients", Id=patient))
    world["encounters"] += [
        row("encounters", Id=first, PATIENT=patient, **place),
        row("encounters", Id=second, PATIENT=patient, START="2020-03-02T08:00:00Z", STOP="2020-03-04T08:00:00Z", ENCOUNTERCLASS="inpatient", **place),
    ]
    world["claims"].append(row("claims", Id=claim, PATIENTID=patient, APPOINTMENTID=first, PROVIDERID=provider))
    world["claims_transactions"].append(
        row("claims_transactions", ID=uid("transactions", number), CLAIMID=claim, PATIENTID=patient, APPOINTMENTID=first, PROVIDERID=provider)
    )
    world["payer_transitions"].append(row("payer_transitions", PATIENT=patient, PAYER=payer))
    extra = {"medications": {"PAYER": payer}, "careplans": {"Id": uid("careplans", number)}, "imaging_studies": {"Id": uid("studies", number)}}
    for table in CLINICAL:
        world[table].append(row(table, PATIENT=patient, ENCOUNTER=first, **extra.get(table, {})))
    return world


CLINICAL = (
    "conditions", "medications", "immunizations", "procedures", "observations", "allergies", "careplans", "devices", "supplies",
    "imaging_studies",
)  # fmt: skip


def joined(*worlds: World) -> World:
    """One snapshot of several."""
    return {table: [dict(one) for world in worlds for one in world[table]] for table in SOURCE_TABLES}


def small_world(people: int = 2) -> World:
    """A snapshot of some people who share two of each payer, organization and provider."""
    people_rows = [person_rows(number, number % 2) for number in range(people)]
    return joined(dimension_rows(0), dimension_rows(1), *people_rows)
