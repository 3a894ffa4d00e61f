"""Eras: occurrences at most thirty days apart.

Belongs here: condition_era, drug_era, dose_era. Does not: the occurrences (events.py).
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from tests.oracle.concepts import Vocabulary
from tests.oracle.labels import Record

PERSISTENCE = timedelta(days=30)
DAY = timedelta(days=1)


@dataclass
class Era:
    """A time from first start to latest end, with the spans in it."""

    start: date
    end: date
    spans: list[tuple[date, date]]

    @property
    def gap_days(self) -> int:
        """Days of the era that no span covers; both ends of a span are covered."""
        covered: set[date] = set()
        for start, end in self.spans:
            covered |= {start + DAY * n for n in range((end - start).days + 1)}
        return (self.end - self.start).days + 1 - len(covered)


def eras_of(spans: list[tuple[date, date]]) -> list[Era]:
    """The eras of spans: one that starts more than thirty days after the latest end opens another."""
    eras: list[Era] = []
    for start, end in sorted(spans):
        if eras and start - eras[-1].end <= PERSISTENCE:
            eras[-1].end = max(eras[-1].end, end)
            eras[-1].spans.append((start, end))
        else:
            eras.append(Era(start, end, [(start, end)]))
    return eras


def condition_eras(occurrences: list[Record]) -> list[Record]:
    """The rows of condition_era."""
    spans: dict[tuple[str, int], list[tuple[date, date]]] = defaultdict(list)
    for one in occurrences:
        if one["condition_concept_id"]:
            start = one["condition_start_date"]
            spans[one["person_id"], one["condition_concept_id"]].append((start, max(start, one["condition_end_date"] or start + DAY)))
    return [
        {
            "person_id": person,
            "condition_concept_id": concept,
            "condition_era_start_date": era.start,
            "condition_era_end_date": era.end,
            "condition_occurrence_count": len(era.spans),
        }
        for (person, concept), found in spans.items()
        for era in eras_of(found)
    ]


def drug_eras(exposures: list[Record], vocabulary: Vocabulary) -> list[Record]:
    """The rows of drug_era, one ingredient each."""
    spans: dict[tuple[str, int], list[tuple[date, date]]] = defaultdict(list)
    for one in exposures:
        for ingredient in vocabulary.ingredients(one["drug_concept_id"]):
            spans[one["person_id"], ingredient].append(_span(one))
    return [
        {
            "person_id": person,
            "drug_concept_id": ingredient,
            "drug_era_start_date": era.start,
            "drug_era_end_date": era.end,
            "drug_exposure_count": len(era.spans),
            "gap_days": era.gap_days,
        }
        for (person, ingredient), found in spans.items()
        for era in eras_of(found)
    ]


def dose_eras(exposures: list[Record], vocabulary: Vocabulary) -> list[Record]:
    """The rows of dose_era: one ingredient at one dose."""
    spans: dict[tuple[Any, ...], list[tuple[date, date]]] = defaultdict(list)
    for one in exposures:
        for strength in vocabulary.strengths.get(one["drug_concept_id"], ()):
            spans[one["person_id"], strength.ingredient, strength.unit, strength.value].append(_span(one))
    return [
        {
            "person_id": person,
            "drug_concept_id": ingredient,
            "unit_concept_id": unit,
            "dose_value": value,
            "dose_era_start_date": era.start,
            "dose_era_end_date": era.end,
        }
        for (person, ingredient, unit, value), found in spans.items()
        for era in eras_of(found)
    ]


def _span(exposure: Record) -> tuple[date, date]:
    return exposure["drug_exposure_start_date"], exposure["drug_exposure_end_date"]
