"""The checks that follow from tables of facts: one per check type and table, field or concept.

Belongs here: reading the facts (the CSV files beside this module). Does not: SQL (conditions.py, counting.py).

types.csv names the check types; tables.csv and fields.csv have one column per type, and a cell holds the threshold (percent of rows
that may violate the check) and, behind a blank, what the type needs besides: a domain, a bound, another field. genders.csv and
units_by_concept.csv have one row per check of a concept. An empty cell means that the check does not apply.

Source: check types, thresholds and severities are those of OHDSI's DataQualityDashboard 2.8.4 for CDM 5.4, vocabulary tables left out.
"""

import csv
import functools
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Severity = Literal["fail", "warn"]
Level = Literal["table", "field", "concept", "file"]

# Raise it when the SQL of a check type comes to count something else: all counts are then made anew.
COUNTING_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check: what it looks at and how much of it may be wrong."""

    id: str  # type, table, field, concept, joined by dots; of a file its name
    type: str
    level: Level
    category: str  # conformance, completeness, plausibility, lineage
    severity: Severity  # fail stops a run before its commit
    table: str  # the CDM table whose rows are counted
    field: str | None = None
    threshold: float = 0.0  # percent of the denominator that may violate it
    argument: str = ""  # domain, bound, other field, gender, units
    concepts: tuple[int, ...] = ()
    fingerprint: str = ""  # changes when its meaning does; counts made under another are made anew


@dataclass(frozen=True, kw_only=True)
class CheckType:
    """What all checks of a type have in common."""

    name: str
    level: Level
    category: str
    severity: Severity
    is_deprecated: bool  # an older twin of another type, kept for comparison with DataQualityDashboard


def _rows(file: str) -> list[dict[str, str]]:
    text = resources.files("omop_inc").joinpath("cdm", "quality", file).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def check_types() -> Mapping[str, CheckType]:
    """The check types by name."""
    return {
        row["check"]: CheckType(
            name=row["check"],
            level=row["level"],  # type: ignore[arg-type]
            category=row["category"],
            severity=row["severity"],  # type: ignore[arg-type]
            is_deprecated=row["deprecated"] == "yes",
        )
        for row in _rows("types.csv")
    }


@functools.cache
def fact_checks() -> Mapping[str, Check]:
    """Every check that follows from the facts, by id."""
    found = [*_table_checks(), *_field_checks(), *_gender_checks(), *_unit_checks()]
    checks = {check.id: check for check in found}
    assert len(checks) == len(found), "two facts make one check"
    return checks


def _make(check_type: str, table: str, field: str | None, threshold: str, argument: str = "", concepts: str = "") -> Check:
    facts = check_types()[check_type]
    parts = [part for part in (check_type, table, field, concepts) if part]
    definition = "|".join((*parts, argument, str(COUNTING_VERSION)))
    return Check(
        id=".".join(parts),
        type=check_type,
        level=facts.level,
        category=facts.category,
        severity=facts.severity,
        table=table,
        field=field,
        threshold=float(threshold),
        argument=argument,
        concepts=tuple(int(one) for one in concepts.split("+") if one),
        fingerprint=hashlib.sha256(definition.encode()).hexdigest()[:16],
    )


def _cells(file: str, keys: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str, str, str]]:
    """Each filled cell of a table of facts: its row, check type, threshold and argument."""
    for row in _rows(file):
        for check_type, cell in row.items():
            if check_type not in keys and cell:
                threshold, _, argument = cell.partition(" ")
                yield row, check_type, threshold, argument


def _table_checks() -> Iterator[Check]:
    for row, check_type, threshold, argument in _cells("tables.csv", ("table",)):
        yield _make(check_type, row["table"], None, threshold, argument)


def _field_checks() -> Iterator[Check]:
    for row, check_type, threshold, argument in _cells("fields.csv", ("table", "field")):
        yield _make(check_type, row["table"], row["field"], threshold, argument)


def _gender_checks() -> Iterator[Check]:
    for row in _rows("genders.csv"):
        check_type = "plausibleGenderUseDescendants" if row["with_descendants"] == "yes" else "plausibleGender"
        yield _make(check_type, row["table"], row["field"], row["threshold"], row["gender"], row["concepts"])


def _unit_checks() -> Iterator[Check]:
    for row in _rows("units_by_concept.csv"):
        yield _make("plausibleUnitConceptIds", row["table"], row["field"], row["threshold"], row["units"], row["concept"])


@functools.cache
def checked_tables() -> tuple[str, ...]:
    """The CDM tables that the facts name, in their order."""
    return tuple(dict.fromkeys(check.table for check in fact_checks().values()))


def checks_of(table: str) -> list[Check]:
    """The checks whose rows are those of a table."""
    return [check for check in fact_checks().values() if check.table == table]
