"""Coded source rows as rows of the clinical tables.

Belongs here: condition_occurrence, drug_exposure, procedure_occurrence, measurement, observation, device_exposure, specimen of coded rows.
Does not: which table (routing.py), allergies (allergies.py), imaging studies (imaging.py).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from tests.oracle.concepts import Vocabulary
from tests.oracle.fates import World
from tests.oracle.labels import Record, cut, label
from tests.oracle.routing import CODED, Coded, route
from tests.oracle.source import SourceRow, Value
from tests.oracle.visits import Visits, provider_of

TYPES = {"medications": 32838, "immunizations": 32818}
ENCOUNTER_RECORD, RECORD = 32827, 32817
PRIMARY = 32902
DAYS_OF_A_DISPENSE = 30
A_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?0*[0-9]{1,2})?")
LONGEST_NUMBER = 100
DEVICE_PART = re.compile(r"\(01\)[0-9]+")


@dataclass(frozen=True)
class Chart:
    """Everything that an event's fields may come from."""

    world: World
    visits: Visits
    vocabulary: Vocabulary
    diagnoses: frozenset[tuple[str, str, str]]  # patient, encounter, code of a claim's first diagnosis
    modalities: dict[tuple[str, str | None, str, date], str]  # of imaging studies by patient, encounter, code, day

    def links(self, row: SourceRow) -> Record:
        """Person, visit, provider and type of an event."""
        encounter = self.world.encounter(row)
        visit = self.visits.by_encounter[encounter["id"]] if encounter else None
        return {
            "person_id": f"patients {row.patient}",
            "visit_occurrence_id": label(visit.first) if visit else None,
            "visit_detail_id": label(encounter) if encounter else None,
            "provider_id": provider_of(self.world, encounter),
        }

    def type_of(self, row: SourceRow) -> int:
        """The kind of record that an event comes from."""
        return self.vocabulary.fixed(TYPES.get(row.table, ENCOUNTER_RECORD if row.get("encounter") else RECORD))

    def death_of(self, row: SourceRow) -> date | None:
        """The day on which the event's person died."""
        return self.world.by_id["patients"][row.patient]["deathdate"]


def day(value: Value) -> date | None:
    """The day of a day or a moment."""
    return value.date() if isinstance(value, datetime) else value


def moment(value: Value) -> datetime | None:
    """The moment of a moment, or the midnight of a day."""
    if value is None or isinstance(value, datetime):
        return value
    return datetime(value.year, value.month, value.day)


def first_diagnoses(world: World) -> frozenset[tuple[str, str, str]]:
    """Patient, encounter and code of every claim's first diagnosis."""
    return frozenset((one.patient, one["appointmentid"], one["diagnosis1"]) for one in world.rows["claims"] if one["appointmentid"])


def coded_rows(world: World, vocabulary: Vocabulary) -> list[Coded]:
    """All coded source rows but allergies, as rows of CDM tables."""
    return [coded for table in CODED if table != "allergies" for row in world.rows[table] for coded in route(row, vocabulary)]


def event(coded: Coded, chart: Chart) -> Record:
    """The CDM row of a coded source row."""
    return _MAKERS[coded.table](coded, chart)


def condition(coded: Coded, chart: Chart) -> Record:
    """A row of condition_occurrence."""
    row = coded.row
    is_primary = (row.patient, row.get("encounter"), row["code"]) in chart.diagnoses
    return chart.links(row) | {
        "condition_occurrence_id": coded.event_id,
        "condition_concept_id": coded.concept_id,
        "condition_start_date": day(row.start),
        "condition_start_datetime": moment(row.start),
        "condition_end_date": day(row.get("stop")),
        "condition_end_datetime": moment(row.get("stop")),
        "condition_type_concept_id": chart.type_of(row),
        "condition_status_concept_id": chart.vocabulary.fixed(PRIMARY) if is_primary else 0,
        "condition_source_value": cut(row["code"], 50),
        "condition_source_concept_id": coded.source_concept_id,
        "condition_status_source_value": "DIAGNOSIS1" if is_primary else None,
    }


def drug(coded: Coded, chart: Chart) -> Record:
    """A row of drug_exposure."""
    row, stop = coded.row, coded.row.get("stop")
    ended = max(moment(stop), moment(row.start)) if stop else None
    quantity = {"medications": row.get("dispenses"), "immunizations": 1, "supplies": row.get("quantity")}.get(row.table)
    dispenses = row.get("dispenses")
    return chart.links(row) | {
        "drug_exposure_id": coded.event_id,
        "drug_concept_id": coded.concept_id,
        "drug_exposure_start_date": day(row.start),
        "drug_exposure_start_datetime": moment(row.start),
        "drug_exposure_end_date": ended.date() if ended else _inferred_end(row, chart),
        "drug_exposure_end_datetime": moment(row.start) if row.table == "immunizations" else ended,
        "verbatim_end_date": day(stop),
        "drug_type_concept_id": chart.type_of(row),
        "refills": max(dispenses - 1, 0) if dispenses is not None else None,
        "quantity": quantity,
        "days_supply": _days_supply(row),
        "route_concept_id": 0,
        "drug_source_value": cut(row["code"], 50),
        "drug_source_concept_id": coded.source_concept_id,
    }


def _inferred_end(row: SourceRow, chart: Chart) -> date:
    """The end of a drug without STOP: by its dispenses (at least one, where nothing is said), not after death, not before its start."""
    start, dispenses = day(row.start), row.get("dispenses")
    if row.table != "medications":
        return start
    dispenses = 1 if dispenses is None else dispenses
    end = start + timedelta(days=DAYS_OF_A_DISPENSE * dispenses - 1)
    death = chart.death_of(row)
    return max(start, min(end, death) if death else end)


def _days_supply(row: SourceRow) -> int | None:
    if row.table != "medications" or row["stop"] is None:
        return None
    days = (moment(row["stop"]) - moment(row["start"])) // timedelta(days=1)
    return days if days >= 1 else None


def procedure(coded: Coded, chart: Chart) -> Record:
    """A row of procedure_occurrence."""
    row = coded.row
    modality = chart.modalities.get((row.patient, row.get("encounter"), row["code"], day(row.start))) if row.table == "procedures" else None
    return chart.links(row) | {
        "procedure_occurrence_id": coded.event_id,
        "procedure_concept_id": coded.concept_id,
        "procedure_date": day(row.start),
        "procedure_datetime": moment(row.start),
        "procedure_end_date": day(row.get("stop")),
        "procedure_end_datetime": moment(row.get("stop")),
        "procedure_type_concept_id": chart.type_of(row),
        "modifier_concept_id": chart.vocabulary.standard("DICOM", modality) if modality else None,
        "modifier_source_value": cut(modality, 50),
        "procedure_source_value": cut(row["code"], 50),
        "procedure_source_concept_id": coded.source_concept_id,
    }


def number_of(text: str | None) -> Decimal | None:
    """The number that a result is, if it is a finite decimal."""
    if text and len(text) <= LONGEST_NUMBER and A_NUMBER.fullmatch(text):
        return Decimal(text)
    return None


def _answer(coded: Coded, chart: Chart) -> int | None:
    """The concept of a result that is a text by its TYPE, 0 for a text without one; what the code implies goes before."""
    text = coded.row.get("value") if coded.row.get("type") == "text" else None
    if coded.value is not None:
        return coded.value
    return chart.vocabulary.answer(text) if text else None


def measurement(coded: Coded, chart: Chart) -> Record:
    """A row of measurement."""
    row, result = coded.row, coded.row.get("value")
    number = number_of(result)
    return chart.links(row) | {
        "measurement_id": coded.event_id,
        "measurement_concept_id": coded.concept_id,
        "measurement_date": day(row.start),
        "measurement_datetime": moment(row.start),
        "measurement_time": moment(row.start).strftime("%H:%M:%S"),
        "measurement_type_concept_id": chart.type_of(row),
        "value_as_number": number,
        "value_as_concept_id": _answer(coded, chart),
        "unit_concept_id": chart.vocabulary.unit(row.get("units")),
        "measurement_source_value": cut(row["code"], 50),
        "measurement_source_concept_id": coded.source_concept_id,
        "unit_source_value": cut(row.get("units"), 50),
        "value_source_value": cut(result, 50),
    }


def observation(coded: Coded, chart: Chart) -> Record:
    """A row of observation."""
    row, result = coded.row, coded.row.get("value")
    number = number_of(result) if row.get("type") == "numeric" else None
    text = result if number is None else None
    return chart.links(row) | {
        "observation_id": coded.event_id,
        "observation_concept_id": coded.concept_id,
        "observation_date": day(row.start),
        "observation_datetime": moment(row.start),
        "observation_type_concept_id": chart.type_of(row),
        "value_as_number": number,
        "value_as_string": cut(text, 60),
        "value_as_concept_id": _answer(coded, chart),
        "unit_concept_id": chart.vocabulary.unit(row.get("units")),
        "observation_source_value": cut(row["code"], 50),
        "observation_source_concept_id": coded.source_concept_id,
        "unit_source_value": cut(row.get("units"), 50),
        "value_source_value": cut(result, 50),
    }


def device(coded: Coded, chart: Chart) -> Record:
    """A row of device_exposure."""
    row, udi = coded.row, coded.row.get("udi")
    part = DEVICE_PART.match(udi or "")
    given = row.get("quantity") if row.table == "supplies" else None
    return chart.links(row) | {
        "device_exposure_id": coded.event_id,
        "device_concept_id": coded.concept_id,
        "device_exposure_start_date": day(row.start),
        "device_exposure_start_datetime": moment(row.start),
        "device_exposure_end_date": day(row.get("stop")),
        "device_exposure_end_datetime": moment(row.get("stop")),
        "device_type_concept_id": chart.type_of(row),
        "unique_device_id": cut(part[0] if part else udi, 255),
        "production_id": (cut(udi[part.end() :], 255) or None) if part else None,
        "quantity": 1 if given is None else given,
        "device_source_value": cut(row["code"], 50),
        "device_source_concept_id": coded.source_concept_id,
    }


def specimen(coded: Coded, chart: Chart) -> Record:
    """A row of specimen."""
    row = coded.row
    return {
        "specimen_id": coded.event_id,
        "person_id": f"patients {row.patient}",
        "specimen_concept_id": coded.concept_id,
        "specimen_type_concept_id": chart.type_of(row),
        "specimen_date": day(row.start),
        "specimen_datetime": moment(row.start),
        "quantity": row.get("quantity"),
        "anatomic_site_concept_id": 0,
        "disease_status_concept_id": 0,
        "specimen_source_value": cut(row["code"], 50),
    }


_MAKERS: dict[str, Callable[[Coded, Chart], Record]] = {
    "condition_occurrence": condition,
    "drug_exposure": drug,
    "procedure_occurrence": procedure,
    "measurement": measurement,
    "observation": observation,
    "device_exposure": device,
    "specimen": specimen,
}
