"""Links between facts: what was done and the condition it was done for, an imaging procedure and its body sites.

Belongs here: fact_relationship. Does not: the facts themselves (events.py, imaging.py).
Source: docs/mapping/fact_relationship.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date

from tests.oracle.concepts import Vocabulary
from tests.oracle.events import day
from tests.oracle.fates import World
from tests.oracle.imaging import studies_of
from tests.oracle.labels import Record, label
from tests.oracle.routing import route
from tests.oracle.source import SourceRow, ordered

HAVE_REASON = ("procedures", "medications", "careplans")
DOMAINS = {
    "procedure_occurrence": 10, "drug_exposure": 13, "device_exposure": 17, "condition_occurrence": 19, "measurement": 21, "observation": 27,
    "specimen": 36,
}  # fmt: skip
RELEVANT_CONDITION_OF, CONDITION_RELEVANT_TO = 46233684, 46233685
HAS_SITE, SITE_OF = 44818743, 44818841

Fact = tuple[str, str]  # CDM table, what its id stands for


def links(world: World, vocabulary: Vocabulary) -> list[Record]:
    """The rows of fact_relationship."""
    found = []
    for one, other in _reasons(world, vocabulary):
        found += _both_ways(one, other, (RELEVANT_CONDITION_OF, CONDITION_RELEVANT_TO), vocabulary)
    for one, other in _sites(world, vocabulary):
        found += _both_ways(one, other, (HAS_SITE, SITE_OF), vocabulary)
    return found


def _both_ways(one: Fact, other: Fact, relationships: tuple[int, int], vocabulary: Vocabulary) -> list[Record]:
    """The rows of a pair; one where a vocabulary without these concepts lets both say the same."""
    there, back = _link(one, other, relationships[0], vocabulary), _link(other, one, relationships[1], vocabulary)
    return [there] if there == back else [there, back]


def _link(one: Fact, other: Fact, relationship: int, vocabulary: Vocabulary) -> Record:
    return {
        "domain_concept_id_1": vocabulary.fixed(DOMAINS[one[0]]),
        "fact_id_1": one[1],
        "domain_concept_id_2": vocabulary.fixed(DOMAINS[other[0]]),
        "fact_id_2": other[1],
        "relationship_concept_id": vocabulary.fixed(relationship),
    }


def _fact(row: SourceRow, vocabulary: Vocabulary) -> Fact:
    """The CDM row of a coded row: that of the first target."""
    return next(route(row, vocabulary)).table, label(row)


def _reasons(world: World, vocabulary: Vocabulary) -> Iterator[tuple[Fact, Fact]]:
    """What was done, with the condition it was done for."""
    conditions = defaultdict(list)
    for row in world.rows["conditions"]:
        conditions[row.patient, row["code"]].append(row)
    for table in HAVE_REASON:
        for row in world.rows[table]:
            alike = conditions.get((row.patient, row["reasoncode"]))
            if alike:
                yield _fact(row, vocabulary), _fact(min(alike, key=_nearness(day(row.start))), vocabulary)


def _nearness(done: date) -> Callable[[SourceRow], tuple[object, ...]]:
    """The order in which conditions of one code count for what was done on a day."""

    def order(condition: SourceRow) -> tuple[object, ...]:
        start, end = day(condition["start"]), day(condition["stop"])
        holds, is_before = start <= done <= (end or date.max), start <= done
        latest_first = -start.toordinal() if is_before else start.toordinal()
        says = ordered(end, condition["encounter"], condition["description"], condition["system"])
        return not holds, not is_before, latest_first, says

    return order


def _sites(world: World, vocabulary: Vocabulary) -> Iterator[tuple[Fact, Fact]]:
    """The procedures of each imaging study, with the study's body sites."""
    procedures = defaultdict(list)
    for row in world.rows["procedures"]:
        if row["encounter"]:
            procedures[row.patient, row["encounter"], row["code"], day(row["start"])].append(row)
    for study in studies_of(world):
        matched = procedures.get(study.key)
        stand_for_it = [label(row) for row in matched if _is_procedure(row, vocabulary)] if matched else [label(study.first)]
        for procedure in stand_for_it:
            for site in study.sites:
                yield ("procedure_occurrence", procedure), ("observation", label(site))


def _is_procedure(row: SourceRow, vocabulary: Vocabulary) -> bool:
    """Whether a row's id is that of a procedure_occurrence."""
    return any(coded.table == "procedure_occurrence" and coded.is_first for coded in route(row, vocabulary))
