"""Snapshots as values, how they change from one to the next, and how they are written as files.

Belongs here: changes of a snapshot (drawn by Hypothesis or named by a test) and the ways an exporter may write it.
Does not: rows (factories.py), runs and comparisons (stores.py, comparing.py).
"""

import copy
import csv
import gzip
import io
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omop_inc.source.tables import SOURCE_TABLES, Column
from tests.factories import Row, World, dimension_rows, empty_world, joined, person_rows, uid

TABLES = tuple(SOURCE_TABLES)
WITH_ID = ("payers", "organizations", "providers", "patients", "encounters", "claims", "careplans", "imaging_studies")
MOST_COPIES = 3

_DATES = ("2020-03-01", "2020-03-02", "2020-03-25", "2020-04-30", "2019-12-31")
_TIMES = ("2020-03-01T10:00:00Z", "2020-03-02T08:00:00Z", "2020-03-03T09:30:00Z", "2020-03-05T07:59:59Z", "2020-04-30T23:59:59Z", "2020-02-28")
_NUMBERS = ("0", "1", "1.0", "85.55", "-3.5", "310.00", "2e1")
_COUNTS = ("0", "1", "2", "7")
_TEXTS = ("", "one", "two, three", 'fo"ur', "back\\slash", "ünï", "NULL")
_CODES = {
    "conditions": ("43878008", "15777000", "314529007", "900000001", "90000-none", "54550000"),
    "medications": ("313782", "857005", "562251", "1049630", "99999999"),
    "immunizations": ("140", "08", "115", "zz"),
    "procedures": ("430193006", "74016001", "117015009", "900000001", "90000-none"),
    "observations": ("8302-2", "29463-7", "72166-2", "94531-1", "900000002", "99999-0", "300359004"),
    "allergies": ("84489001", "419199007", "1191", "723", "90000-none"),
    "careplans": ("384758001", "736376001", "718361005"),
    "devices": ("228869008", "170615005", "90000-none"),
    "supplies": ("337414009", "261352009", "90000-none"),
    "encounters": ("185345009", "308646001", "50849002"),
}
_REASONS = ("", "43878008", "15777000", "900000001", "90000-none")
_CLASSES = ("ambulatory", "inpatient", "emergency", "EMERGENCY", "urgentcare", "wellness", "outpatient", "home", "snf", "hospice", "virtual", "odd")
# Values of columns that mean something to a transform, by column name, or by table and column.
_VALUES: dict[str, Sequence[str]] = {
    "ENCOUNTERCLASS": _CLASSES,
    "REASONCODE": _REASONS,
    "DIAGNOSIS1": _REASONS,
    "DIAGNOSIS2": _REASONS,
    "REACTION1": ("", "247472004", "90000-none"),
    "REACTION2": ("", "422587007"),
    "SEVERITY1": ("", "MILD", "SEVERE"),
    "SYSTEM": ("", "SNOMED-CT", "RxNorm", "Unknown", "http://snomed.info/sct"),
    "RACE": ("white", "Black", "asian", "native", "hawaiian", "other"),
    "ETHNICITY": ("hispanic", "nonhispanic", ""),
    "GENDER": ("M", "F", ""),
    "SPECIALITY": ("GENERAL PRACTICE", "CARDIOLOGY", ""),
    "CITY": ("Boston", "Salem", ""),
    "ZIP": ("02134", "", "01970"),
    "STATE": ("MA", "Massachusetts", ""),
    "METHOD": ("", "CASH", "CC", "CHECK", "COPAY", "ECHECK"),
    "TRANSFERTYPE": ("", "1", "2", "p"),
    "UNITS": ("cm", "kg", "{score}", "mmHg", ""),
    "VALUE": ("170.5", "-1e2", "Detected", "Not detected", "text", ""),
    "CATEGORY": ("vital-signs", "laboratory", "survey", "", "medication", "food"),
    "NAME": ("Medicare", "Humana", "NO_INSURANCE", "Clinic"),
    "PLAN_OWNERSHIP": ("Self", "Guardian", "Spouse", ""),
    "END_DATE": ("2020-12-31T00:00:00Z", "292278994-08-17T07:12:55Z", "2020", "2020-03-02T00:00:00Z", ""),
    "START_DATE": ("2020-01-01T00:00:00Z", "2020", "2020-12-31T00:00:00Z", "2019-01-01T00:00:00Z"),
    "PROCEDURECODE": ("185345009", "430193006", "313782", "140", ""),
    "claims_transactions.TYPE": ("CHARGE", "PAYMENT", "TRANSFERIN", "TRANSFEROUT"),
    "claims_transactions.UNITS": _COUNTS,
    "observations.TYPE": ("numeric", "text", ""),
    "allergies.TYPE": ("allergy", "intolerance"),
    "MODALITY_CODE": ("DX", "CT"),
    "BODYSITE_CODE": ("72696002", "", "51185008"),
    "PROCEDURE_CODE": ("74016001", "430193006", ""),
}
_REFERS = {
    "PATIENT": "patients", "PATIENTID": "patients", "ENCOUNTER": "encounters", "APPOINTMENTID": "encounters", "CLAIMID": "claims",
    "ORGANIZATION": "organizations", "PROVIDER": "providers", "PROVIDERID": "providers", "SUPERVISINGPROVIDERID": "providers",
    "REFERRINGPROVIDERID": "providers", "PAYER": "payers", "SECONDARY_PAYER": "payers",
}  # fmt: skip
_BAD = {"uuid": "not-an-id", "date": "2020-02-30", "timestamp": "01/02/2020", "integer": "1.5", "numeric": "NaN", "text": ""}


def values_of(table: str, column: Column) -> Sequence[str]:
    """The good values that a column of a small world takes; the first are the usual ones."""
    name = column.name
    if name in _REFERS:
        known = tuple(uid(_REFERS[name], number) for number in range(6))
        return (*known, uid("unknown", 0)) if not column.nullable else (*known, "", uid("unknown", 0))
    if column.type == "uuid":
        return tuple(uid(table, number) for number in range(4))
    if name == "CODE":
        return _CODES[table]
    if name == "DEATHDATE":
        return ("", "2020-03-03", "2020-06-01")
    found = _VALUES.get(f"{table}.{name}") or _VALUES.get(name)
    if found:
        return found
    pool = {"date": _DATES, "timestamp": _TIMES, "integer": _COUNTS, "numeric": _NUMBERS, "text": _TEXTS}[column.type]
    return pool if not column.nullable or column.type == "text" else (*pool, "")


@dataclass(frozen=True)
class Change:
    """One change of a snapshot; every number counts modulo what there is to choose from."""

    kind: str
    table: str = "patients"
    row: int = 0
    column: int = 0
    value: int = 0


@dataclass
class History:
    """A world as it changes, with what it was and what was taken out of it."""

    world: World = field(default_factory=empty_world)
    past: list[World] = field(default_factory=list)
    taken: list[tuple[str, Row]] = field(default_factory=list)

    def step(self, changes: Sequence[Change]) -> World:
        """Make the next snapshot."""
        for change in changes:
            _KINDS[change.kind](self, change)
        self.past.append(copy.deepcopy(self.world))
        return self.past[-1]

    def pick(self, change: Change) -> Row | None:
        """The row that a change means."""
        rows = self.world[change.table]
        return rows[change.row % len(rows)] if rows else None


def _columns(table: str) -> list[Column]:
    return [column for column in SOURCE_TABLES[table].columns if not column.legacy]


def _update(history: History, change: Change) -> None:
    if found := history.pick(change):
        columns = _columns(change.table)
        column = columns[change.column % len(columns)]
        values = values_of(change.table, column)
        found[column.name] = values[change.value % len(values)]


def _delete(history: History, change: Change) -> None:
    rows = history.world[change.table]
    if rows:
        history.taken.append((change.table, rows.pop(change.row % len(rows))))


def _restore(history: History, change: Change) -> None:
    if history.taken:
        table, gone = history.taken.pop(change.row % len(history.taken))
        history.world[table].append(gone)


def _double(history: History, change: Change) -> None:
    found = history.pick(change)
    if found and history.world[change.table].count(found) < MOST_COPIES:
        history.world[change.table].append(dict(found))


def _repeat_id(history: History, change: Change) -> None:
    """Another row of the same Id, different in one column."""
    table = WITH_ID[change.column % len(WITH_ID)]
    there = Change("", table, change.row)
    if found := history.pick(there):
        twin = dict(found)
        columns = [column for column in _columns(table) if column.name != "Id"]
        column = columns[change.value % len(columns)]
        values = values_of(table, column)
        twin[column.name] = values[(change.value // len(columns)) % len(values)]
        history.world[table].append(twin)


def _insert(history: History, change: Change) -> None:
    """Another row like one of the table, of a changed code or key."""
    if found := history.pick(change):
        twin = dict(found)
        history.world[change.table].append(twin)
        columns = [c for c in _columns(change.table) if c.name in ("Id", "CODE", "START", "DATE", "START_DATE", "ENCOUNTER", "PROCEDURECODE")]
        for column in columns[change.column % len(columns) :]:
            values = values_of(change.table, column)
            twin[column.name] = values[change.value % len(values)]


def _bad(history: History, change: Change) -> None:
    if found := history.pick(change):
        columns = [column for column in _columns(change.table) if not column.volatile and (column.type != "text" or not column.nullable)]
        column = columns[change.column % len(columns)]
        found[column.name] = _BAD[column.type]


def _empty(history: History, change: Change) -> None:
    history.taken += [(change.table, gone) for gone in history.world[change.table]]
    history.world[change.table].clear()


def _back(history: History, change: Change) -> None:
    """The snapshot of an earlier step again (A, B, A)."""
    if history.past:
        history.world = copy.deepcopy(history.past[change.row % len(history.past)])


def _arrive(history: History, change: Change) -> None:
    number = change.row % 4
    if not any(one["Id"] == uid("patients", number) for one in history.world["patients"]):
        history.world = joined(history.world, person_rows(number, change.value % 2))


def _leave(history: History, change: Change) -> None:
    """A person goes with all rows."""
    if found := history.pick(Change("", "patients", change.row)):
        for table, facts in SOURCE_TABLES.items():
            if facts.patient:
                owner = next(column.name for column in facts.columns if column.staged == facts.patient)
                history.world[table] = [one for one in history.world[table] if one[owner] != found["Id"]]


_KINDS: dict[str, Callable[[History, Change], None]] = {
    "update": _update, "insert": _insert, "delete": _delete, "restore": _restore, "double": _double, "repeat_id": _repeat_id,
    "bad": _bad, "empty": _empty, "back": _back, "arrive": _arrive, "leave": _leave,
}  # fmt: skip
KINDS = tuple(_KINDS)


def first_world(people: int) -> World:
    """The usual start of a history."""
    return joined(dimension_rows(0), dimension_rows(1), *(person_rows(number, number % 2) for number in range(people)))


def write_snapshot(folder: Path, world: World, seed: int = 0, *, old: bool = False) -> Path:
    """Write a snapshot's files, the ways of writing drawn from a seed; seed 0 writes as Synthea does.

    Args:
        folder: Is made.
        world: The rows.
        seed: Decides order of rows and columns, line ends, BOM, gzip and letter case of the header.
        old: Whether columns may have the names of older generations and optional empty ones be absent.
    """
    folder.mkdir(parents=True)
    for table in TABLES:
        way = random.Random(f"{seed} {table}")
        if seed and not world[table] and table not in ("patients", "encounters") and way.random() < 0.3:
            continue
        data = _bytes_of(table, world[table], way if seed else None, old=old)
        if seed and way.random() < 0.3:
            (folder / f"{table}.csv.gz").write_bytes(gzip.compress(data, mtime=0))
        else:
            (folder / f"{table}.csv").write_bytes(data)
    return folder


def _bytes_of(table: str, rows: list[Row], way: random.Random | None, *, old: bool) -> bytes:
    columns, rows, end, bom = _columns(table), list(rows), "\n", b""
    titles = {column.name: column.name for column in columns}
    if way is not None:
        way.shuffle(rows)
        if way.random() < 0.5:
            way.shuffle(columns)
        end = way.choice(("\n", "\r\n"))
        bom = way.choice((b"", b"\xef\xbb\xbf"))
        if way.random() < 0.2:
            titles = {name: name.lower() for name in titles}
        if old:
            titles |= {column.name: way.choice((column.name, *column.aliases)) for column in columns}
            columns = [c for c in columns if c.required_in_header or way.random() < 0.7 or any(one[c.name] for one in rows)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator=end)
    writer.writerow([titles[column.name] for column in columns])
    writer.writerows([one[column.name] for column in columns] for one in rows)
    return bom + out.getvalue().encode()
