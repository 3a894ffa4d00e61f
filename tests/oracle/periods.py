"""Times of observation and of insurance.

Belongs here: observation_period, payer_plan_period. Does not: eras (eras.py).
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache

from tests.oracle.concepts import Vocabulary
from tests.oracle.events import day
from tests.oracle.fates import World
from tests.oracle.labels import Record, cut, label
from tests.oracle.source import SourceRow, ordered

EVENT_FILES = [
    "encounters",
    "conditions",
    "medications",
    "procedures",
    "devices",
    "allergies",
    "careplans",
    "immunizations",
    "observations",
    "supplies",
    "imaging_studies",
]
# The Source of Payment Typology's codes of the payers that Synthea names.
PAYERS = {
    "medicare": "1", "medicaid": "2", "dual eligible": "14", "blue cross blue shield": "6", "no_insurance": "81",
    "humana": "5", "unitedhealthcare": "5", "aetna": "5", "cigna health": "5", "anthem": "5",
}  # fmt: skip
OWNERSHIPS = {"private": "5", "no_insurance": "81"}

Span = tuple[date, date, SourceRow]  # a transition from its start to its end


@lru_cache(maxsize=1)
def event_days(world: World) -> dict[str, tuple[date, date]]:
    """First and last day of anything that happened to a person."""
    starts, ends = defaultdict(set), defaultdict(set)
    for table in EVENT_FILES:
        for row in world.rows[table]:
            starts[row.patient].add(day(row.start))
            ends[row.patient].add(day(row.get("stop")) or day(row.start))
    return {patient: (min(found), max(found | ends[patient])) for patient, found in starts.items()}


def observation_periods(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of observation_period."""
    days = event_days(world)
    found = []
    for row in world.rows["patients"]:
        if row["id"] in days:
            first, last = days[row["id"]]
            death = row["deathdate"] or last
            found.append(
                {
                    "observation_period_id": label(row),
                    "person_id": label(row),
                    "observation_period_start_date": min(first, death),
                    "observation_period_end_date": min(last, death),
                    "period_type_concept_id": vocabulary.fixed(32882),
                }
            )
    return found


@dataclass(frozen=True)
class PayerPeriod:
    """An uninterrupted time with one payer and ownership."""

    patient: str
    payer: str | None  # Id
    ownership: str | None
    start: date
    end: date
    family: str | None
    record: Record

    @property
    def order(self) -> tuple[object, ...]:
        """Which of several periods that began on one day counts: the first in this order."""
        record = self.record
        return self.end, ordered(record["payer_source_value"], record["plan_source_value"], record["family_source_value"])


def payer_periods(world: World, vocabulary: Vocabulary) -> list[PayerPeriod]:
    """All times of insurance."""
    days, found = event_days(world), []
    groups = defaultdict(list)
    for row in world.rows["payer_transitions"]:
        groups[row.patient, row["payer"], row["plan_ownership"]].append(row)
    for (patient, payer, ownership), rows in groups.items():
        last = days.get(patient, (None, None))[1]
        spans = [(_start_of(row, world), _end_of(row, world, last), row) for row in rows]
        for start, end, theirs in _joined(spans):
            family = next((one["memberid"] for _, _, one in sorted(theirs, key=_member_order) if one["memberid"]), None)
            record = _record(world, vocabulary, patient, payer, ownership) | {
                "payer_plan_period_start_date": start,
                "payer_plan_period_end_date": end,
                "family_source_value": cut(family, 50),
            }
            found.append(PayerPeriod(patient, payer, ownership, start, end, family, record))
    return found


def _member_order(span: Span) -> tuple[object, ...]:
    start, end, row = span
    return start, end, ordered(row["memberid"])


def _start_of(row: SourceRow, world: World) -> date:
    """The start of a transition: the year of birth begins with the birth."""
    birth = world.by_id["patients"][row.patient]["birthdate"]
    return birth if row["start_date"] == datetime(birth.year, 1, 1) else day(row["start_date"])


def _end_of(row: SourceRow, world: World, last: date | None) -> date:
    """The end of a transition: an open one is the day of death or of the last event; never after death, never before the start."""
    start, death = _start_of(row, world), world.by_id["patients"][row.patient]["deathdate"]
    end = day(row["end_date"]) or death or last or start
    return max(start, min(end, death) if death else end)


def _joined(spans: list[Span]) -> list[tuple[date, date, list[Span]]]:
    """Spans that touch or overlap, put together."""
    found: list[tuple[date, date, list[Span]]] = []
    for span in sorted(spans, key=lambda span: span[:2]):
        start, end, _ = span
        if found and start <= found[-1][1] + timedelta(days=1):
            first, until, parts = found.pop()
            found.append((first, max(until, end), [*parts, span]))
        else:
            found.append((start, end, [span]))
    return found


def _record(world: World, vocabulary: Vocabulary, patient: str, payer: str | None, ownership: str | None) -> Record:
    row = world.by_id["payers"].get(payer)
    name = row["name"] if row else None
    code = PAYERS.get((name or "").lower()) or OWNERSHIPS.get(((row["ownership"] if row else None) or "").lower())
    return {
        "person_id": f"patients {patient}",
        "payer_concept_id": vocabulary.standard("SOPT", code),
        "payer_source_value": cut(name, 50),
        "payer_source_concept_id": 0,
        "plan_concept_id": 0,
        "plan_source_value": cut(ownership, 50),
        "plan_source_concept_id": 0,
        "sponsor_concept_id": 0,
        "sponsor_source_concept_id": 0,
        "stop_reason_concept_id": 0,
        "stop_reason_source_concept_id": 0,
    }
