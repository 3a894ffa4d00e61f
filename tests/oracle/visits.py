"""Encounters to visits: which are one stay, which belong to it, what each is called.

Belongs here: visit_occurrence and visit_detail. Does not: events of a visit (events.py).
Source: docs/mapping/visit_occurrence.md, visit_detail.md.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.oracle.concepts import Vocabulary
from tests.oracle.fates import World
from tests.oracle.labels import Record, cut, label
from tests.oracle.source import SourceRow

APART = timedelta(hours=24)
OUTPATIENT, URGENT, EMERGENCY, INPATIENT, BOTH = 9202, 8782, 9203, 9201, 262
DETAIL_CONCEPTS = {
    "ambulatory": OUTPATIENT, "outpatient": OUTPATIENT, "wellness": OUTPATIENT, "urgentcare": URGENT, "emergency": EMERGENCY,
    "inpatient": INPATIENT, "home": 581476, "hospice": 8546, "snf": 42898160, "virtual": 5083,
}  # fmt: skip
VISIT_CONCEPTS = DETAIL_CONCEPTS | {"urgentcare": OUTPATIENT}


@dataclass
class Stay:
    """Inpatient encounters at most a day apart."""

    inpatient: list[SourceRow]
    others: list[SourceRow]
    is_through_emergency: bool = False

    @property
    def start(self) -> datetime:
        """When the first of them starts."""
        return self.inpatient[0]["start"]

    @property
    def end(self) -> datetime:
        """When the last of them ends."""
        return max(end_of(one) for one in self.inpatient)


@dataclass
class Visit:
    """Encounters that are one visit, in order."""

    encounters: list[SourceRow]
    stay: Stay | None = None

    @property
    def first(self) -> SourceRow:
        """The encounter whose id the visit has."""
        return self.encounters[0]

    @property
    def end(self) -> datetime:
        """When the last of its encounters ends."""
        return max(end_of(one) for one in self.encounters)


def kind_of(encounter: SourceRow) -> str:
    """The class of an encounter, whatever its case."""
    return (encounter["encounterclass"] or "").lower()


def end_of(encounter: SourceRow) -> datetime:
    """When an encounter ends: never before it starts."""
    return max(encounter["start"], encounter["stop"] or encounter["start"])


def order_of(encounter: SourceRow) -> tuple[datetime, datetime, str]:
    """The total order of encounters."""
    return encounter["start"], end_of(encounter), encounter["id"]


def visits_of(encounters: list[SourceRow]) -> list[Visit]:
    """The visits of one person's encounters."""
    encounters = sorted(encounters, key=order_of)
    stays = _stays([one for one in encounters if kind_of(one) == "inpatient"])
    alone = []
    for encounter in encounters:
        if kind_of(encounter) != "inpatient" and not _joins(encounter, stays):
            alone.append(Visit([encounter]))
    whole = [Visit(sorted([*stay.inpatient, *stay.others], key=order_of), stay) for stay in stays]
    return sorted([*whole, *alone], key=lambda visit: (visit.first["start"], visit.end, visit.first["id"]))


def _stays(inpatient: list[SourceRow]) -> list[Stay]:
    stays: list[Stay] = []
    for encounter in inpatient:
        if stays and encounter["start"] - stays[-1].end <= APART:
            stays[-1].inpatient.append(encounter)
        else:
            stays.append(Stay([encounter], []))
    return stays


def _joins(encounter: SourceRow, stays: list[Stay]) -> bool:
    """Put an encounter into the earliest stay that it belongs to."""
    start, end, is_emergency = encounter["start"], end_of(encounter), kind_of(encounter) == "emergency"
    for stay in stays if is_emergency else ():
        comes_before = start < stay.start and end.date() >= stay.start.date()
        on_first_day = stay.start <= start <= stay.end and start.date() == stay.start.date()
        if comes_before or on_first_day:
            stay.is_through_emergency = True
            stay.others.append(encounter)
            return True
    for stay in stays:
        if stay.start <= start <= stay.end:
            stay.others.append(encounter)
            return True
    return False


@dataclass(frozen=True)
class Visits:
    """The visits of a world."""

    by_person: dict[str, list[Visit]]
    by_encounter: dict[str, Visit]


def read_visits(world: World) -> Visits:
    """All visits, in each person's order."""
    by_person = {patient: visits_of(rows) for patient, rows in world.of_patients("encounters").items()}
    return Visits(by_person, {one["id"]: visit for visits in by_person.values() for visit in visits for one in visit.encounters})


def provider_of(world: World, encounter: SourceRow | None) -> str | None:
    """The provider of an encounter, where there is one of that Id."""
    known = world.by_id["providers"].get(encounter["provider"]) if encounter else None
    return label(known) if known else None


def care_site_of(world: World, encounter: SourceRow) -> str | None:
    """The organization of an encounter; exports without that column name it as the provider."""
    known = world.by_id["organizations"]
    found = known.get(encounter["organization"] or encounter["provider"])
    return label(found) if found else None


def visit_occurrences(world: World, visits: Visits, vocabulary: Vocabulary) -> list[Record]:
    """The rows of visit_occurrence."""
    found = []
    for person, theirs in visits.by_person.items():
        before = None
        for visit in theirs:
            found.append(_visit(world, visit, vocabulary) | {"person_id": f"patients {person}", "preceding_visit_occurrence_id": before})
            before = label(visit.first)
    return found


def _visit(world: World, visit: Visit, vocabulary: Vocabulary) -> Record:
    stay = visit.stay
    named = stay.inpatient[0] if stay else visit.first
    concept = (BOTH if stay.is_through_emergency else INPATIENT) if stay else VISIT_CONCEPTS.get(kind_of(visit.first), 0)
    return {
        "visit_occurrence_id": label(visit.first),
        "visit_concept_id": vocabulary.fixed(concept),
        "visit_start_date": visit.first["start"].date(),
        "visit_start_datetime": visit.first["start"],
        "visit_end_date": visit.end.date(),
        "visit_end_datetime": visit.end,
        "visit_type_concept_id": vocabulary.fixed(32827),
        "provider_id": provider_of(world, visit.first),
        "care_site_id": care_site_of(world, visit.first),
        "visit_source_value": cut(named["encounterclass"], 50),
        "visit_source_concept_id": 0,
    }


def visit_details(world: World, visits: Visits, vocabulary: Vocabulary) -> list[Record]:
    """The rows of visit_detail."""
    found = []
    for person, encounters in world.of_patients("encounters").items():
        before = None
        for encounter in sorted(encounters, key=order_of):
            visit = visits.by_encounter[encounter["id"]]
            links = {"person_id": f"patients {person}", "preceding_visit_detail_id": before, "parent_visit_detail_id": _parent(encounter, visit)}
            found.append(_detail(world, encounter, vocabulary) | links | {"visit_occurrence_id": label(visit.first)})
            before = label(encounter)
    return found


def _parent(encounter: SourceRow, visit: Visit) -> str | None:
    """The first inpatient encounter of the stay that lasts when another kind of encounter starts."""
    if visit.stay is None or kind_of(encounter) == "inpatient":
        return None
    holding = (one for one in visit.stay.inpatient if one["start"] <= encounter["start"] <= end_of(one))
    first = next(holding, None)
    return label(first) if first else None


def _detail(world: World, encounter: SourceRow, vocabulary: Vocabulary) -> Record:
    end = end_of(encounter)
    return {
        "visit_detail_id": label(encounter),
        "visit_detail_concept_id": vocabulary.fixed(DETAIL_CONCEPTS.get(kind_of(encounter), 0)),
        "visit_detail_start_date": encounter["start"].date(),
        "visit_detail_start_datetime": encounter["start"],
        "visit_detail_end_date": end.date(),
        "visit_detail_end_datetime": end,
        "visit_detail_type_concept_id": vocabulary.fixed(32827),
        "provider_id": provider_of(world, encounter),
        "care_site_id": care_site_of(world, encounter),
        "visit_detail_source_value": cut(encounter["encounterclass"], 50),
        "visit_detail_source_concept_id": 0,
    }
