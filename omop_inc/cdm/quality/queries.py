"""The checks that are queries of violating rows: the files of sql/check and of a user, and the checks of persons from the facts.

Belongs here: reading the files and their headers; the queries that follow from facts. Does not: running them (violations.py).
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from omop_inc.cdm.quality.facts import COUNTING_VERSION, Check, Severity, fact_checks
from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import views
from omop_inc.errors import CheckFileError
from omop_inc.resources import list_sql, read_sql
from omop_inc.source.tables import SOURCE_TABLES

Scope = Literal["row", "person", "whole"]
CONTENT_ID = "content_id"  # the ids that were given to content, as transforms see them

_LINE = re.compile(r"^-- ([a-z]+(?: up)?):\s*(.+?)\s*$")
_TABLE = re.compile(r"(\w+)\s*(?:\(([^)]*)\))?$")
_BALANCE = re.compile(r"(\w+) \((\w+)(?: where (.+))?\)$")
_KNOWN = frozenset({"grain", "reads", "looks up", "balance", "scope", "denominator", "severity", "threshold", "source"})


@dataclass(frozen=True, kw_only=True)
class Amount:
    """A sum per person that a check compares with another one."""

    table: str
    column: str
    where: str = "true"


@dataclass(frozen=True, kw_only=True)
class CheckQuery:
    """A check whose query gives the rows that violate it, the id first."""

    check: Check
    text: str
    reads: Mapping[str, tuple[str, ...]]  # tables, whose changes matter, with the columns that do
    looks_up: Mapping[str, tuple[str, ...]]  # tables that are seen whole and whose changes do not matter; by columns of the touched rows, if named
    scope: Scope  # row: joins by id alone; person: within a person; whole: anything
    denominator: str  # what follows FROM
    balance: tuple[Amount, ...] = ()  # equal sums per person, of source tables and of CDM tables: who keeps them equal is not touched
    text_of_touched: str = ""  # asks the same of the few that an increment touches, where another form is cheaper

    @property
    def tables(self) -> tuple[str, ...]:
        """Every table and view that the query may name."""
        return tuple(dict.fromkeys((*self.reads, *self.looks_up)))


def check_queries(folder: Path | None = None) -> dict[str, CheckQuery]:
    """All checks that are queries, by id.

    Args:
        folder: A user's own files.

    Raises:
        CheckFileError: If a file's header is not what it should be; it names the file.
    """
    found = {**_person_queries(), **_shipped()}
    for path in sorted(folder.glob("*.sql")) if folder else ():
        if path.stem in found:
            raise CheckFileError(f"{path}: the name '{path.stem}' is that of another check. Rename the file.")
        found[path.stem] = parse_check(path.stem, path.read_text(encoding="utf-8"), str(path))
    return found


@functools.cache
def _shipped() -> Mapping[str, CheckQuery]:
    return {name: parse_check(name, read_sql(f"check/{name}.sql"), f"sql/check/{name}.sql") for name in list_sql("check")}


def parse_check(name: str, text: str, file: str) -> CheckQuery:
    """Read a check's file.

    Raises:
        CheckFileError: If a line of its header is missing or not understood.
    """
    header = _read_header(text, file)
    reads = _read_tables(header.get("reads", []), file)
    looks_up = _read_tables(header.get("looks up", []), file)
    scope = _one_of(header, "scope", ("row", "person", "whole"), file, "whole")
    severity: Severity = _one_of(header, "severity", ("fail", "warn"), file, "warn")  # type: ignore[assignment]
    denominator = " ".join(header.get("denominator", []))
    if not reads or not denominator:
        raise CheckFileError(f"{file}: expected the lines '-- reads: <table> (<columns>)' and '-- denominator: <table>' in its header.")
    check = Check(
        id=name,
        type=name,
        level="file",
        category="lineage",
        severity=severity,
        table=_main_table(denominator, reads),
        threshold=_read_threshold(header, file),
        fingerprint=hashlib.sha256(f"{COUNTING_VERSION}|{text}".encode()).hexdigest()[:16],
    )
    return CheckQuery(
        check=check,
        text=text.rstrip().rstrip(";"),
        reads=reads,
        looks_up=looks_up,
        scope=scope,  # type: ignore[arg-type]
        denominator=denominator,
        balance=_read_balance(header.get("balance", []), reads, file),
    )


def _read_header(text: str, file: str) -> dict[str, list[str]]:
    header: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if match := _LINE.match(line):
            if match[1] not in _KNOWN:
                raise CheckFileError(f"{file}: unknown line '-- {match[1]}:' in its header; expected some of {', '.join(sorted(_KNOWN))}.")
            header.setdefault(match[1], []).append(match[2])
    return header


def _read_tables(lines: list[str], file: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for line in lines:
        match = _TABLE.match(line)
        if not match or not _is_table(match[1]):
            raise CheckFileError(f"{file}: '{line}' names no source table, CDM table, vocabulary table or shared view.")
        listed = tuple(c.strip() for c in (match[2] or "").split(",") if c.strip())
        found[match[1]] = (*found.get(match[1], ()), *listed)
    return found


def _read_balance(lines: list[str], reads: Mapping[str, tuple[str, ...]], file: str) -> tuple[Amount, ...]:
    found = []
    for line in lines:
        match = _BALANCE.match(line)
        if not match or match[1] not in reads or (match[1] not in SOURCE_TABLES and match[1] not in cdm_tables()):
            raise CheckFileError(
                f"{file}: '-- balance: {line}'; expected '<table that is read> (<column> where <condition>)', the condition optional."
            )
        found.append(Amount(table=match[1], column=match[2], where=match[3] or "true"))
    return tuple(found)


def _is_table(name: str) -> bool:
    return name in SOURCE_TABLES or name in cdm_tables() or name in views() or name == CONTENT_ID


def _one_of(header: Mapping[str, list[str]], key: str, values: tuple[str, ...], file: str, default: str) -> str:
    value = header.get(key, [default])[0]
    if value not in values:
        raise CheckFileError(f"{file}: '-- {key}: {value}'; expected {' or '.join(values)}.")
    return value


def _read_threshold(header: Mapping[str, list[str]], file: str) -> float:
    value = header.get("threshold", ["0"])[0]
    try:
        threshold = float(value)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 100:
        raise CheckFileError(f"{file}: '-- threshold: {value}'; expected a percentage from 0 to 100.")
    return threshold


def _main_table(denominator: str, reads: Mapping[str, tuple[str, ...]]) -> str:
    """The CDM table that a check is listed with."""
    named = [denominator, *reads]
    return next((name for name in named if name in cdm_tables()), named[1])


def _person_queries() -> dict[str, CheckQuery]:
    """Persons without a row where each should have one, and periods of a person that overlap."""
    made = {
        "measurePersonCompleteness": _without_row,
        "measureConditionEraCompleteness": _without_era,
        "measureObservationPeriodOverlap": _overlapping,
    }
    return {check.id: made[check.type](check) for check in fact_checks().values() if check.type in made}


def _without_row(check: Check) -> CheckQuery:
    """Touched persons are looked up one by one, until the first row: all that they have is much more."""
    text = "SELECT person.person_id FROM person WHERE NOT EXISTS (SELECT FROM {} AS other WHERE other.person_id = person.person_id{})"
    reads = {"person": ("person_id",), check.table: ("person_id",)}
    query = _person_query(check, text.format(check.table, ""), reads, "person")
    return replace(query, looks_up={check.table: ()}, text_of_touched=text.format(check.table, " OFFSET 0"))


def _without_era(check: Check) -> CheckQuery:
    people = "(SELECT DISTINCT person_id FROM condition_occurrence) AS ill"
    text = f"SELECT ill.person_id FROM {people} WHERE NOT EXISTS (SELECT FROM condition_era AS era WHERE era.person_id = ill.person_id)"
    return _person_query(check, text, {"condition_occurrence": ("person_id",), "condition_era": ("person_id",)}, people)


def _overlapping(check: Check) -> CheckQuery:
    """Periods that touch count as well: a day must lie between two of a person."""
    text = (
        "SELECT DISTINCT one.person_id FROM observation_period AS one INNER JOIN observation_period AS other"
        " ON other.person_id = one.person_id AND other.observation_period_id <> one.observation_period_id"
        " AND one.observation_period_start_date <= other.observation_period_end_date + 1"
        " AND other.observation_period_start_date <= one.observation_period_end_date + 1"
    )
    reads = {"observation_period": ("person_id", "observation_period_start_date", "observation_period_end_date")}
    return _person_query(check, text, reads, "(SELECT DISTINCT person_id FROM observation_period) AS seen")


def _person_query(check: Check, text: str, reads: Mapping[str, tuple[str, ...]], denominator: str) -> CheckQuery:
    return CheckQuery(check=check, text=text, reads=reads, looks_up={}, scope="person", denominator=denominator)


def iterate_tables(queries: Mapping[str, CheckQuery]) -> Iterator[str]:
    """The tables that queries are listed with, each once."""
    yield from dict.fromkeys(query.check.table for query in queries.values())
