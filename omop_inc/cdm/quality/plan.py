"""What the checks of a table need: columns, lookups, and by what its rows are grouped.

Belongs here: finding that out from the checks. Does not: the statement that counts them (counting.py).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date

from omop_inc.cdm.quality.concepts import GENDER_TYPES
from omop_inc.cdm.quality.conditions import Lookup, Question, is_of_rows, question
from omop_inc.cdm.quality.facts import Check
from omop_inc.cdm.quality.rows import World

GENDER = Lookup(field="person_id", table="person", key="person_id", columns=("gender_concept_id",))


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How the checks of a table are counted together."""

    table: str
    checks: tuple[Check, ...]  # all that can be counted
    questions: Mapping[str, Question]  # of the checks of rows
    keys: tuple[str, ...]  # columns by which rows are grouped
    lookups: tuple[Lookup, ...]
    related: tuple[str, ...]  # columns with which rows are looked up, or that are compared with what is found
    columns: tuple[str, ...]  # all that are needed
    has_gender: bool
    has_number: bool  # whether it is a key that value_as_number is there

    @property
    def looked_up(self) -> tuple[Lookup, ...]:
        """Every lookup, that of the gender too."""
        return (*self.lookups, GENDER) if self.has_gender else self.lookups

    def of_type(self, *types: str) -> list[Check]:
        """The checks of some types."""
        return [check for check in self.checks if check.type in types]


def plan_counts(world: World, table: str, checks: Iterable[Check], today: date) -> Plan:
    """Find out what the checks of a table need; those of missing tables and columns are left out."""
    there = world.catalogue
    asked = {check.id: question(check, today) for check in checks if is_of_rows(check)}
    asked = {
        one: q
        for one, q in asked.items()
        if all(there.has(table, *c.columns) and all(there.has(look.table, look.key, *look.columns) for look in c.lookups) for c in q.conditions)
    }
    counted = [c for c in checks if c.id in asked or (c.field and not is_of_rows(c) and c.type in _OTHER and there.has(table, *_OTHER[c.type](c)))]
    fields = {check.field for check in counted if check.type in _GROUPING} | {c for q in asked.values() for x in q.conditions for c in x.concepts}
    by_value = [check for check in counted if check.type == "sourceValueCompleteness"]
    keys = {str(one) for one in fields} | {x for check in by_value for x in (str(check.field), check.argument)}
    units = any(check.type == "plausibleUnitConceptIds" for check in counted)
    keys |= {"unit_concept_id"} if units else set()
    lookups = _merged(look for q in asked.values() for c in q.conditions for look in c.lookups)
    has_gender = any(check.type in GENDER_TYPES for check in counted) and there.has("person", "person_id", "gender_concept_id")
    related = {c for q in asked.values() for x in q.conditions if x.lookups for c in x.columns}
    has_number = there.has(table, "value_as_number") and bool(keys)
    own = {c for q in asked.values() for x in q.conditions for c in x.columns} | keys | ({"person_id"} if has_gender else set())
    own |= {str(check.field) for check in counted if check.field}
    return Plan(
        table=table,
        checks=tuple(counted),
        questions=asked,
        keys=tuple(sorted(keys)),
        lookups=lookups,
        related=tuple(sorted(related)),
        columns=tuple(sorted(own | ({"value_as_number"} if has_number else set()))),
        has_gender=has_gender,
        has_number=has_number,
    )


_GROUPING = frozenset({"plausibleUnitConceptIds", *GENDER_TYPES})
# The tables in which checks look rows up, told without making their conditions.
_LOOKED_UP = {
    "plausibleAfterBirth": "person",
    "plausibleTemporalAfter": "person",
    "plausibleGender": "person",
    "plausibleGenderUseDescendants": "person",
    "plausibleDuringLife": "death",
    "plausibleBeforeDeath": "death",
    "withinVisitDates": "visit_occurrence",
}


def looked_up_in(check: Check) -> tuple[str, ...]:
    """The tables whose change may alter a check's count although its own rows stay."""
    if check.type == "isForeignKey":
        return (check.argument.split(".")[0],)
    return (_LOOKED_UP[check.type],) if check.type in _LOOKED_UP else ()


# What the checks that are not of rows need: columns of the table.
_OTHER: Mapping[str, Callable[[Check], tuple[str, ...]]] = {
    "isPrimaryKey": lambda c: (str(c.field),),
    "sourceValueCompleteness": lambda c: (str(c.field), c.argument),
    "plausibleGender": lambda c: (str(c.field), "person_id"),
    "plausibleGenderUseDescendants": lambda c: (str(c.field), "person_id"),
    "plausibleUnitConceptIds": lambda c: (str(c.field), "unit_concept_id", "value_as_number"),
}


def _merged(lookups: Iterable[Lookup]) -> tuple[Lookup, ...]:
    """One lookup per field and table, with all columns that are wanted."""
    found: dict[str, Lookup] = {}
    for one in lookups:
        known = found.get(one.name, one)
        found[one.name] = Lookup(field=one.field, table=one.table, key=one.key, columns=tuple(dict.fromkeys((*known.columns, *one.columns))))
    return tuple(found[key] for key in sorted(found))
