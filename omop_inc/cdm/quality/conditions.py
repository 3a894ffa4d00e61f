"""What each check type of one row asks, as conditions in SQL: which rows violate it, and of which rows they are a share.

Belongs here: the conditions, over the columns of a row and of what it is looked up in. Does not: putting them into a statement
(counting.py), checks of persons (persons.py) and of concepts (concepts.py).

A condition names the columns of the row's table behind the alias `row`, columns of looked-up rows as `row."<table>/<field>.<column>"`,
and a field's concept behind an alias of its own. What is NULL in a comparison violates nothing, as in DataQualityDashboard.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta

from psycopg import sql

from omop_inc.cdm.quality.facts import Check

# A death may be recorded late: what happens so many days after it is still believed.
DAYS_AFTER_DEATH = 60
# An event may be dated so many days before or after its visit.
DAYS_AROUND_VISIT = 7


@dataclass(frozen=True, kw_only=True)
class Lookup:
    """Another table's row that a row names by a key."""

    field: str  # of the row
    table: str
    key: str  # of the other table
    columns: tuple[str, ...] = ()  # of the other table, that conditions use

    @property
    def name(self) -> str:
        """Under which its columns go."""
        return f"{self.table}/{self.field}"


PERSON = Lookup(
    field="person_id",
    table="person",
    key="person_id",
    columns=("birth_datetime", "year_of_birth", "month_of_birth", "day_of_birth", "gender_concept_id"),
)
DEATH = Lookup(field="person_id", table="death", key="person_id", columns=("death_date",))
VISIT = Lookup(field="visit_occurrence_id", table="visit_occurrence", key="visit_occurrence_id", columns=("visit_start_date", "visit_end_date"))


@dataclass(frozen=True, kw_only=True)
class Condition:
    """A condition on one row, and what it needs to be evaluated."""

    text: sql.Composed
    columns: frozenset[str] = frozenset()  # of the row's table
    lookups: frozenset[Lookup] = frozenset()
    concepts: frozenset[str] = frozenset()  # fields whose concept is looked at

    @functools.cached_property
    def key(self) -> str:
        """Equal conditions have equal keys."""
        return self.text.as_string(None)


@dataclass(frozen=True, kw_only=True)
class Question:
    """What a check asks of each row; without an `among` of all rows."""

    violated: Condition
    among: Condition | None = None

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Both conditions, or the one there is."""
        return (self.violated,) if self.among is None else (self.violated, self.among)


@dataclass(kw_only=True)
class _Parts:
    """Collects what a condition's text names."""

    columns: set[str] = field(default_factory=set)
    lookups: set[Lookup] = field(default_factory=set)
    concepts: set[str] = field(default_factory=set)

    def own(self, name: str) -> sql.Identifier:
        self.columns.add(name)
        return sql.Identifier("row", name)

    def other(self, lookup: Lookup, column: str = "found") -> sql.Identifier:
        self.lookups.add(lookup)
        self.columns.add(lookup.field)
        return sql.Identifier("row", f"{lookup.name}.{column}")

    def concept(self, name: str, column: str) -> sql.Identifier:
        self.concepts.add(name)
        self.columns.add(name)
        return sql.Identifier(concept_alias(name), column)

    def condition(self, text: str, **parts: sql.Composable) -> Condition:
        return Condition(
            text=sql.SQL(text).format(**parts),
            columns=frozenset(self.columns),
            lookups=frozenset(self.lookups),
            concepts=frozenset(self.concepts),
        )


def concept_alias(name: str) -> str:
    """The alias of the concept that a field names."""
    return f"concept of {name}"


def birth_of(parts: _Parts) -> sql.Composed:
    """The date of birth; a missing month or day counts as the first. A month or year that is none gives no date."""
    names = {name: parts.other(PERSON, name) for name in PERSON.columns}
    return sql.SQL(
        "coalesce({birth_datetime}::date, CASE WHEN {year_of_birth} BETWEEN 1 AND 9999 AND coalesce({month_of_birth}, 1) BETWEEN 1 AND 12"
        " THEN make_date({year_of_birth}, coalesce({month_of_birth}, 1), 1) + coalesce({day_of_birth}, 1) - 1 END)"
    ).format(**names)


def _is_null(check: Check, _today: date) -> Question:
    parts = _Parts()
    return Question(violated=parts.condition("{own} IS NULL", own=parts.own(_field(check))))


def _datatype(check: Check, _today: date) -> Question:
    """A whole number: the CDM's fields of other types are those of the table's definition."""
    parts = _Parts()
    return Question(violated=parts.condition(r"{own}::text !~ '^-?\d+$'", own=parts.own(_field(check))))


def _foreign_key(check: Check, _today: date) -> Question:
    parts, (table, key) = _Parts(), check.argument.split(".")
    own = parts.own(_field(check))
    found = parts.concept(_field(check), "concept_id") if table == "concept" else parts.other(Lookup(field=_field(check), table=table, key=key))
    return Question(violated=parts.condition("{own} IS NOT NULL AND {found} IS NULL", own=own, found=found))


def _concept_is(column: str) -> Callable[[Check, date], Question]:
    """The concept has another domain, or class, than the one that is asked for; concept 0 has none."""

    def ask(check: Check, _today: date) -> Question:
        parts = _Parts()
        concept = {"id": parts.concept(_field(check), "concept_id"), "column": parts.concept(_field(check), column)}
        return Question(violated=parts.condition("{id} <> 0 AND {column} <> {wanted}", wanted=sql.Literal(check.argument), **concept))

    return ask


def _standard(check: Check, _today: date) -> Question:
    parts = _Parts()
    names = {name: parts.concept(_field(check), name) for name in ("concept_id", "standard_concept", "invalid_reason")}
    text = "{concept_id} <> 0 AND ({standard_concept} <> 'S' OR {invalid_reason} IS NOT NULL)"
    return Question(violated=parts.condition(text, **names))


def _no_concept(check: Check, _today: date) -> Question:
    """Concept 0; a unit is wanted of numbers alone."""
    parts = _Parts()
    if check.field == "unit_concept_id" and check.table in ("measurement", "observation"):
        number = {"number": parts.own("value_as_number")}
        among = parts.condition("{number} IS NOT NULL", **number)
        return Question(violated=parts.condition("{own} = 0 AND {number} IS NOT NULL", own=parts.own(_field(check)), **number), among=among)
    return Question(violated=parts.condition("{own} = 0", own=parts.own(_field(check))))


def _bound(operator: str) -> Callable[[Check, date], Question]:
    def ask(check: Check, today: date) -> Question:
        parts = _Parts()
        own, bound = parts.own(_field(check)), bound_of(check, today)
        value = sql.SQL("{}::date").format(own) if isinstance(bound, date) else sql.SQL("{}").format(own)
        return Question(
            violated=parts.condition("{value} " + operator + " {bound}", value=value, bound=sql.Literal(bound)),
            among=parts.condition("{own} IS NOT NULL", own=own),
        )

    return ask


def bound_of(check: Check, today: date) -> date | int | float:
    """The bound of a plausible value; two of them move with the calendar."""
    if check.argument == "tomorrow":
        return today + timedelta(days=1)
    if check.argument == "next_year":
        return today.year + 1
    if len(check.argument) == len("1950-01-01") and check.argument[4] == "-":
        return date.fromisoformat(check.argument)
    return float(check.argument) if "." in check.argument else int(check.argument)


def moves_with_time(check: Check) -> bool:
    """Whether the same rows may violate a check today and not tomorrow."""
    return check.argument in ("tomorrow", "next_year")


def _temporal_after(check: Check, _today: date) -> Question:
    """Before another date of the same row, or before birth, where a birth without a day counts as in mid-year."""
    parts, (table, other) = _Parts(), check.argument.split(".")
    own = parts.own(_field(check))
    if table == check.table:
        return Question(violated=parts.condition("{other}::date > {own}::date", other=parts.own(other), own=own))
    year = parts.other(PERSON, "year_of_birth")
    text = "coalesce({birth}::date, CASE WHEN {year} BETWEEN 1 AND 9999 THEN make_date({year}, 6, 1) END) > {own}::date"
    return Question(violated=parts.condition(text, birth=parts.other(PERSON, "birth_datetime"), year=year, own=own))


def _after_death(*, of_dated: bool) -> Callable[[Check, date], Question]:
    """Long after death; among the rows of the dead, or among those of them that have the date."""

    def ask(check: Check, _today: date) -> Question:
        parts, dead = _Parts(), _Parts()
        violated = parts.condition(
            "{own}::date > {death} + {days}",
            own=parts.own(_field(check)),
            death=parts.other(DEATH, "death_date"),
            days=sql.Literal(DAYS_AFTER_DEATH),
        )
        if not of_dated:
            return Question(violated=violated, among=dead.condition("{dead} IS NOT NULL", dead=dead.other(DEATH)))
        names = {"own": dead.own(_field(check)), "dead": dead.other(DEATH)}
        return Question(violated=violated, among=dead.condition("{own} IS NOT NULL AND {dead} IS NOT NULL", **names))

    return ask


def _within_visit(check: Check, _today: date) -> Question:
    parts, seen = _Parts(), _Parts()
    names = {"start": parts.other(VISIT, "visit_start_date"), "end": parts.other(VISIT, "visit_end_date")}
    violated = parts.condition(
        "({own} < {start} - {days} OR {own} > {end} + {days})", own=parts.own(_field(check)), days=sql.Literal(DAYS_AROUND_VISIT), **names
    )
    return Question(violated=violated, among=seen.condition("{found} IS NOT NULL", found=seen.other(VISIT)))


def _after_birth(check: Check, _today: date) -> Question:
    parts, dated = _Parts(), _Parts()
    return Question(
        violated=parts.condition("{own}::date < {birth}", own=parts.own(_field(check)), birth=birth_of(parts)),
        among=dated.condition("{own} IS NOT NULL", own=dated.own(_field(check))),
    )


def _start_before_end(check: Check, _today: date) -> Question:
    parts = _Parts()
    names = {"start": parts.own(_field(check)), "end": parts.own(check.argument)}
    return Question(
        violated=parts.condition("{start}::date > {end}::date", **names),
        among=parts.condition("{start} IS NOT NULL AND {end} IS NOT NULL", **names),
    )


def _field(check: Check) -> str:
    assert check.field is not None
    return check.field


# Presence, keys, source values, persons and concepts are counted otherwise.
_ASKED: dict[str, Callable[[Check, date], Question]] = {
    "isRequired": _is_null,
    "measureValueCompleteness": _is_null,
    "cdmDatatype": _datatype,
    "isForeignKey": _foreign_key,
    "fkDomain": _concept_is("domain_id"),
    "fkClass": _concept_is("concept_class_id"),
    "isStandardValidConcept": _standard,
    "standardConceptRecordCompleteness": _no_concept,
    "sourceConceptRecordCompleteness": _no_concept,
    "plausibleValueLow": _bound("<"),
    "plausibleValueHigh": _bound(">"),
    "plausibleTemporalAfter": _temporal_after,
    "plausibleDuringLife": _after_death(of_dated=False),
    "plausibleBeforeDeath": _after_death(of_dated=True),
    "withinVisitDates": _within_visit,
    "plausibleAfterBirth": _after_birth,
    "plausibleStartBeforeEnd": _start_before_end,
}


def is_of_rows(check: Check) -> bool:
    """Whether a check asks something of each row by itself."""
    return check.type in _ASKED


@functools.lru_cache(maxsize=4096)  # a run asks for the same ones again, and they are costly to make
def question(check: Check, today: date) -> Question:
    """What a check asks of each row."""
    return _ASKED[check.type](check, today)
