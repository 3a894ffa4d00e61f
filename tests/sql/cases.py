"""SQL cases as files: what a case folder says, and the snapshot files that it stands for.

Belongs here: reading a case, short names, the values that a case leaves out. Does not: runs and databases (world.py).
The format of a case folder: tests/sql/README.md.
"""

import csv
import hashlib
import re
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from omop_inc.source.tables import SOURCE_TABLES, Column

ROOT = Path(__file__).parent
VOCABULARY = ROOT / "vocabulary"
# Tables that say something about the whole database: a case of theirs shares it with no other.
WHOLE_TABLES = frozenset({"cdm_source", "metadata"})
DEFAULTS = {"uuid": "", "text": "", "date": "2020-01-01", "timestamp": "2020-01-01T00:00:00Z", "integer": "0", "numeric": "0"}
PERSON_COLUMNS = ("PATIENT", "PATIENTID")
OWN_DEFAULTS = {"patients.BIRTHDATE": "1980-01-01", "encounters.CODE": "check-up", "claims_transactions.TYPE": "CHARGE"} | {
    f"{name}.{column}": "p1" for name in SOURCE_TABLES for column in PERSON_COLUMNS
}
# Where a source row's own name stands: its Id, else a text that no rule looks at.
NAME_COLUMNS = {name: "id" for name in ("patients", "encounters", "claims", "careplans", "organizations", "providers", "payers")} | {
    "imaging_studies": "sop_description",
    "claims_transactions": "notes",
    "payer_transitions": "owner_name",
}
MAX_NAME = 12

Row = dict[str, str]
Files = dict[str, list[Row]]


@dataclass(frozen=True)
class Case:
    """One folder: snapshots in, rows of one CDM table out."""

    folder: Path

    @property
    def table(self) -> str:
        """The CDM table."""
        return self.folder.parent.name

    @property
    def id(self) -> str:
        """Its name in a test's id."""
        return f"{self.table}/{self.folder.name}"

    @property
    def is_alone(self) -> bool:
        """Whether it has a database of its own, and files with no other columns than those that it names."""
        return self.table in WHOLE_TABLES or any((self.folder / name).exists() for name in ("alone.txt", "vocabulary"))

    @property
    def vocabulary(self) -> Path:
        """The Athena folder that it is loaded with."""
        return self.folder / "vocabulary" if (self.folder / "vocabulary").is_dir() else VOCABULARY

    @property
    def prefix(self) -> str:
        """First eight digits of all of its Ids."""
        return hashlib.sha256(self.id.encode()).hexdigest()[:8]

    @cached_property
    def folders(self) -> list[Path]:
        """The folders of its snapshots, in order."""
        return sorted((path for path in self.folder.iterdir() if path.name.isdigit()), key=lambda path: int(path.name)) or [self.folder]

    @cached_property
    def snapshots(self) -> list[Files]:
        """Its snapshots, each complete: a file that a later one leaves out is as before."""
        result: list[Files] = []
        named: Files = {}
        for folder in self.folders:
            named = named | {path.stem: read_csv(path) for path in sorted(folder.glob("*.csv")) if path.stem in SOURCE_TABLES}
            result.append(self._complete(named))
        return result

    def manifest(self, step: int) -> Path | None:
        """The manifest of a snapshot, if it has one."""
        found = [path for path in (self.folder / str(step + 1) / "manifest.json", self.folder / "manifest.json") if path.is_file()]
        return found[0] if found else None

    def name_of(self, identifier: str | uuid.UUID) -> str | None:
        """The short name that an Id stands for, if it is one of this case."""
        digits = identifier.hex if isinstance(identifier, uuid.UUID) else identifier.replace("-", "")
        return bytes.fromhex(digits[8:]).rstrip(b"\0").decode() if digits.startswith(self.prefix) else None

    def _id(self, name: str) -> str:
        """An Id for a short name; Ids of one case sort as their names do."""
        if not name or re.fullmatch(r"[0-9a-f-]{36}", name):
            return name
        if len(name) > MAX_NAME:
            raise ValueError(f"{self.id}: the name {name!r} is longer than {MAX_NAME} characters")
        return str(uuid.UUID(self.prefix + name.encode().ljust(MAX_NAME, b"\0").hex()))

    def _complete(self, named: Files) -> Files:
        files = {table: [_with_defaults(table, row) for row in rows] for table, rows in named.items()}
        for table, columns in (("claims", ("CLAIMID",)), ("encounters", ("ENCOUNTER", "APPOINTMENTID")), ("patients", PERSON_COLUMNS)):
            if table not in named:
                files[table] = [_with_defaults(table, row) for row in _missing_parents(table, columns, files)]
        return {table: [self._with_ids(table, row) for row in rows] for table, rows in files.items()}

    def _with_ids(self, table: str, row: Row) -> Row:
        known = _columns_by_name(table)
        return {name: self._id(value) if known[name].type == "uuid" else _instant(known[name], value) for name, value in row.items()}


@dataclass
class Snapshots:
    """The files of several cases put together, step by step."""

    cases: list[Case]
    is_sparse: bool  # only the columns that a case names, as an older export has; else all of the newest header
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        self.steps = max(len(case.snapshots) for case in self.cases)

    def write(self, step: int, folder: Path, cases: Iterable[Case] | None = None) -> Path:
        """Write one step; a case without so many snapshots stays as its last."""
        folder.mkdir(parents=True)
        chosen = list(self.cases if cases is None else cases)
        for table in SOURCE_TABLES:
            parts = [case.snapshots[min(step, len(case.snapshots) - 1)].get(table) for case in chosen]
            rows = [row for part in parts if part for row in part]
            if rows or any(part is not None for part in parts):
                self._write_file(folder / f"{table}.csv", table, rows)
        for case in chosen if self.is_sparse else ():
            if manifest := case.manifest(step):
                (folder / "manifest.json").write_bytes(manifest.read_bytes())
        return folder

    def _write_file(self, path: Path, table: str, rows: list[Row]) -> None:
        used = {name for row in rows for name in row}
        aliased = {column.name for column in SOURCE_TABLES[table].columns if used & set(column.aliases)}
        needed = [c.name for c in SOURCE_TABLES[table].columns if c.required_in_header and c.name not in aliased]
        header = sorted(used | set(needed)) if self.is_sparse else list(SOURCE_TABLES[table].header)
        with path.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, header, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def all_cases() -> list[Case]:
    """Every case, by table and name."""
    return [Case(path) for path in sorted(ROOT.glob("*/*")) if path.is_dir() and (path / "expect.csv").is_file()]


def read_csv(path: Path) -> list[Row]:
    """Read a small CSV; lines that start with # are comments."""
    return list(csv.DictReader(without_comments(path), restval=""))


def without_comments(path: Path) -> list[str]:
    """The lines of a CSV that are no comments."""
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


def _columns_by_name(table: str) -> dict[str, Column]:
    return {name: column for column in SOURCE_TABLES[table].columns for name in (column.name, *column.aliases)}


def _with_defaults(table: str, row: Row) -> Row:
    """A row with the values that no row may leave empty."""
    known = _columns_by_name(table)
    if unknown := set(row) - set(known):
        raise ValueError(f"{table}: no columns {sorted(unknown)}; known are {sorted(known)}")
    given = {known[name].name for name in row}
    missing = [column for column in SOURCE_TABLES[table].columns if not column.nullable and column.name not in given]
    return {column.name: OWN_DEFAULTS.get(f"{table}.{column.name}", DEFAULTS[column.type]) for column in missing} | row


def _missing_parents(table: str, columns: tuple[str, ...], files: Files) -> list[Row]:
    """Plain rows for the names that other rows use."""
    found: dict[tuple[str, str], Row] = {}
    for row in (row for rows in files.values() for row in rows):
        person = next((row[name] for name in PERSON_COLUMNS if name in row), "")
        for name in (row[column] for column in columns if row.get(column)):
            parent = {"Id": name}
            if table == "encounters":
                parent["PATIENT"] = person
            if table == "claims":
                parent |= {"PATIENTID": person, "APPOINTMENTID": row.get("APPOINTMENTID", "")}
            found.setdefault((name, person), parent)
    return list(found.values())


def _instant(column: Column, value: str) -> str:
    """A time as Synthea writes it: '2020-01-01 10:00' is short for '2020-01-01T10:00:00Z'."""
    if column.type == "timestamp" and re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)?", value):
        return value.replace(" ", "T") + ("Z" if value.count(":") == 2 else ":00Z")
    return value
