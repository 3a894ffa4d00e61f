"""Allergies: what somebody is allergic to, and each reaction.

Belongs here: allergies as rows of observation and condition_occurrence. Does not: other coded rows (events.py).
Source: docs/mapping/observation.md, "Allergies".
"""

from collections.abc import Iterator

from tests.oracle.concepts import Target, Vocabulary
from tests.oracle.events import Chart, condition, observation
from tests.oracle.labels import Record, cut
from tests.oracle.routing import TABLES, Coded, vocabulary_of
from tests.oracle.source import SourceRow

TO_DRUG, TO_SUBSTANCE = "416098002", "419199007"
SEVERITIES = {"mild": "255604002", "moderate": "6736007", "severe": "24484000"}
EVENT_FIELDS = {"observation": 1147165, "condition_occurrence": 1147127}


def allergy_rows(chart: Chart) -> Iterator[tuple[str, Record]]:
    """All allergies as rows of CDM tables."""
    for row in chart.world.rows["allergies"]:
        allergies = _allergy(row, chart.vocabulary)
        for coded in allergies:
            yield coded.table, _record(coded, chart)
        yield from (("observation", reaction) for reaction in _reactions(row, allergies, chart))


def _allergy(row: SourceRow, vocabulary: Vocabulary) -> list[Coded]:
    system = vocabulary_of(row)
    source = vocabulary.source_concept(system, row["code"])
    targets = vocabulary.targets(system, row["code"])
    if not targets:
        return [Coded(row, "observation", 0, source)]
    found: list[Coded] = []
    for target in targets:
        table, concept, value = _as_allergy(target, vocabulary)
        found.append(Coded(row, table, concept, source, value, all(one.table != table for one in found)))
    return found


def _as_allergy(target: Target, vocabulary: Vocabulary) -> tuple[str, int, int | None]:
    """Table, concept and value of an allergen: a thing with a domain of its own is the value of an allergy to it."""
    concept = target.concept
    if concept.domain == "Condition":
        return "condition_occurrence", concept.concept_id, target.value
    if concept.domain == "Observation" or concept.domain not in TABLES:
        return "observation", concept.concept_id, target.value
    to_drug = vocabulary.standard("SNOMED", TO_DRUG) if concept.domain == "Drug" else 0
    return "observation", to_drug or vocabulary.standard("SNOMED", TO_SUBSTANCE), concept.concept_id


def _severity(text: str | None, vocabulary: Vocabulary) -> int | None:
    if text is None:
        return None
    return vocabulary.standard("SNOMED", SEVERITIES.get(text.lower()))


def _record(coded: Coded, chart: Chart) -> Record:
    if coded.table == "condition_occurrence":
        return condition(coded, chart)
    row = coded.row
    what = " ".join(word for word in (row["category"], row["type"]) if word) or None
    return observation(coded, chart) | {
        "value_as_string": cut(what, 60),
        "value_source_value": cut(what, 50),
        "value_as_number": None,
        "value_as_concept_id": coded.value,
        "qualifier_concept_id": _severity(row["severity1"], chart.vocabulary),
        "qualifier_source_value": cut(row["severity1"], 50),
    }


def _reactions(row: SourceRow, allergies: list[Coded], chart: Chart) -> Iterator[Record]:
    first = allergies[0]
    for number in ("1", "2"):
        code, description, severity = (row[f"{what}{number}"] for what in ("reaction", "description", "severity"))
        if code or description or severity:
            concept = chart.vocabulary.standard("SNOMED", code)
            source = chart.vocabulary.source_concept("SNOMED", code) if code else 0
            coded = Coded(row, "observation", concept, source, is_first=False)
            yield observation(coded, chart) | {
                "observation_source_value": cut(code or description, 50),
                "value_as_string": cut(severity, 60),
                "value_source_value": cut(severity, 50),
                "value_as_number": None,
                "value_as_concept_id": _severity(severity, chart.vocabulary),
                "qualifier_source_value": cut(description, 50),
                "observation_event_id": first.event_id,
                "obs_event_field_concept_id": chart.vocabulary.fixed(EVENT_FIELDS[first.table]),
            }
