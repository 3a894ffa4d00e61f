"""The oracle's own reading of Synthea's CSV files: records with typed values under lower-case names.

Belongs here: what each file's columns are called and mean, and the reading of them. Does not: which records count (fates.py).
Plain csv, datetime and decimal; nothing of the package.
"""

import csv
import gzip
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from tests.oracle.labels import row_label

Value = Any  # str, date, datetime, int, Decimal or None

# The columns that mean something, in the file's order; what each export computes anew is not among them.
COLUMNS = {
    "payers": "id name ownership address city state_headquartered zip phone",
    "organizations": "id name address city state zip lat lon phone",
    "providers": "id organization name gender speciality address city state zip lat lon",
    "patients": "id birthdate deathdate ssn drivers passport prefix first middle last suffix maiden marital race ethnicity gender birthplace"
    " address city state county fips zip lat lon income",
    "encounters": "id start stop patient organization provider payer encounterclass code description base_encounter_cost total_claim_cost"
    " payer_coverage reasoncode reasondescription",
    "claims": "id patientid providerid primarypatientinsuranceid secondarypatientinsuranceid departmentid patientdepartmentid diagnosis1"
    " diagnosis2 diagnosis3 diagnosis4 diagnosis5 diagnosis6 diagnosis7 diagnosis8 referringproviderid appointmentid currentillnessdate"
    " servicedate supervisingproviderid status1 status2 statusp outstanding1 outstanding2 outstandingp lastbilleddate1 lastbilleddate2"
    " lastbilleddatep healthcareclaimtypeid1 healthcareclaimtypeid2",
    "claims_transactions": "claimid patientid type amount method fromdate todate placeofservice procedurecode modifier1 modifier2 diagnosisref1"
    " diagnosisref2 diagnosisref3 diagnosisref4 units departmentid notes unitamount transfertype payments adjustments transfers outstanding"
    " appointmentid linenote patientinsuranceid feescheduleid providerid supervisingproviderid",
    "conditions": "start stop patient encounter system code description",
    "medications": "start stop patient payer encounter code description base_cost payer_coverage dispenses totalcost reasoncode reasondescription",
    "immunizations": "date patient encounter code description base_cost",
    "procedures": "start stop patient encounter system code description base_cost reasoncode reasondescription",
    "observations": "date patient encounter category code description value units type",
    "allergies": "start stop patient encounter code system description type category reaction1 description1 severity1 reaction2 description2"
    " severity2",
    "careplans": "id start stop patient encounter code description reasoncode reasondescription",
    "devices": "start stop patient encounter code description udi",
    "supplies": "date patient encounter code description quantity",
    "imaging_studies": "id date patient encounter series_uid bodysite_code bodysite_description modality_code modality_description instance_uid"
    " sop_code sop_description procedure_code",
    "payer_transitions": "patient memberid start_date end_date payer secondary_payer plan_ownership owner_name",
}
# Names that older exporters gave a column.
OLD_NAMES = {
    "encounters": {"cost": "base_encounter_cost"},
    "medications": {"cost": "base_cost"},
    "immunizations": {"cost": "base_cost"},
    "procedures": {"cost": "base_cost", "date": "start"},
    "payer_transitions": {"start_year": "start_date", "end_year": "end_date", "ownership": "plan_ownership", "ownername": "owner_name"},
}
# Files in which START, STOP or DATE is a day.
DAY_FILES = {"conditions", "allergies", "careplans", "supplies"}
DAYS = {"birthdate", "deathdate"}
MOMENTS = {"start", "stop", "date", "fromdate", "todate", "servicedate", "currentillnessdate", "start_date", "end_date"}
NUMBERS = set(
    [
        "lat",
        "lon",
        "income",
        "base_encounter_cost",
        "total_claim_cost",
        "payer_coverage",
        "base_cost",
        "totalcost",
        "amount",
        "unitamount",
        "payments",
        "adjustments",
        "transfers",
        "outstanding",
        "outstanding1",
        "outstanding2",
        "outstandingp",
    ]
)
# UNITS of an observation are text.
UNITS_OF_SERVICE = ("claims_transactions", "units")
WHOLE_NUMBERS = set(
    ["dispenses", "quantity", "diagnosisref1", "diagnosisref2", "diagnosisref3", "diagnosisref4", "healthcareclaimtypeid1", "healthcareclaimtypeid2"]
)
IDS = set(
    [
        "id",
        "patient",
        "patientid",
        "encounter",
        "organization",
        "provider",
        "payer",
        "secondary_payer",
        "claimid",
        "appointmentid",
        "providerid",
        "referringproviderid",
        "supervisingproviderid",
    ]
)
# A record that leaves one of these empty cannot be placed.
NEVER_EMPTY = {"id", "patient", "patientid", "claimid", "birthdate", "code"}
STARTS = {"start", "date", "start_date"}
# Texts of a column that are remembered once read: a file's neighbours share patient, encounter and moment.
READ_BEFORE = 4096
# Java's largest date, as the exporter writes an open end.
OPEN_END = "292278994-08-17"


@dataclass(frozen=True, eq=False)
class SourceRow:
    """One record of a file."""

    table: str
    values: dict[str, Value]

    def __getitem__(self, column: str) -> Value:
        return self.values[column]

    def get(self, column: str) -> Value:
        """The value of a column that not every file has."""
        return self.values.get(column)

    @cached_property
    def patient(self) -> str:
        """The Id of the patient whom the row is about."""
        return self.get("patient") or self.get("patientid")

    @cached_property
    def start(self) -> Value:
        """When it began: START, or DATE."""
        return self.get("start") or self.get("date")

    @property
    def content(self) -> tuple[Value, ...]:
        """All values, in the file's order, which is that of their reading."""
        return tuple(self.values.values())

    @cached_property
    def label(self) -> str:
        """Its name: many CDM rows ask for an encounter's."""
        return row_label(self.table, self.values)

    @property
    def order(self) -> tuple[Any, ...]:
        """What puts rows of one file in content order, empty values last."""
        return ordered(*self.content)


def ordered(*values: Value) -> tuple[Any, ...]:
    """A sort key of values that may be empty, which come last."""
    return tuple((value is None, value) if value is not None else (True,) for value in values)


@dataclass(frozen=True)
class Snapshot:
    """The records of a folder that can be read, by table, and how many could not."""

    rows: dict[str, list[SourceRow]]
    bad: dict[str, int]


def read_snapshot(folder: Path) -> Snapshot:
    """Read all files of a folder."""
    rows, bad = {}, {}
    for table in COLUMNS:
        records = list(_records(folder, table))
        found = [_typed(table, record) for record in records]
        rows[table] = [SourceRow(table, values) for values in found if values is not None]
        bad[table] = len(found) - len(rows[table])
    return Snapshot(rows, bad)


def _records(folder: Path, table: str) -> Iterator[dict[str, str]]:
    for path in folder.iterdir():
        if path.name.lower() in (f"{table}.csv", f"{table}.csv.gz"):
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix.lower() == ".gz" else data).decode("utf-8-sig")
            lines = csv.reader(io.StringIO(text, newline=""))
            header = [_name(table, title) for title in next(lines)]
            for line in lines:
                yield dict(zip(header, line, strict=True))


def _name(table: str, title: str) -> str:
    name = title.strip().lower()
    if table == "payer_transitions" and name in ("start_year", "end_year", "ownership", "ownername"):
        return OLD_NAMES[table][name]
    return OLD_NAMES.get(table, {}).get(name, name)


def _typed(table: str, record: dict[str, str]) -> dict[str, Value] | None:
    """The values of a record, or nothing if one cannot be read or is missing."""
    try:
        values = {column: (reading(text) if reading else text) if (text := record.get(column)) else None for column, reading in _readings(table)}
    except (ValueError, InvalidOperation):
        return None
    return None if any(values[column] is None for column in _musts(table)) else values


@cache
def _musts(table: str) -> list[str]:
    """The columns that are never empty."""
    always = NEVER_EMPTY | STARTS | ({"type"} if table == "claims_transactions" else set())
    return [column for column in COLUMNS[table].split() if column in always]


@cache
def _readings(table: str) -> list[tuple[str, Callable[[str], Value] | None]]:
    """Each column with the way to read a text in it, none where it is text. Texts recur, so what was read before is kept."""
    found = ((column, _reading(table, column)) for column in COLUMNS[table].split())
    return [(column, reading and lru_cache(READ_BEFORE)(reading)) for column, reading in found]


def _reading(table: str, column: str) -> Callable[[str], Value] | None:
    if column in IDS:
        return lambda text: str(UUID(text))
    if table == "payer_transitions" and column in MOMENTS:
        return lambda text: _period_bound(column, text)
    if column in DAYS or (column in MOMENTS and table in DAY_FILES):
        return lambda text: _moment(text).date() if "T" in text else date.fromisoformat(text)
    if column in MOMENTS or column.startswith("lastbilleddate"):
        return _moment
    if column in NUMBERS or (table, column) == UNITS_OF_SERVICE:
        return _number
    if column in WHOLE_NUMBERS:
        return int
    if column == "method":
        return lambda text: text if text in ("COPAY", "ECHECK") else "OTHER"
    return None


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found


def _period_bound(column: str, text: str) -> datetime | None:
    """A transition's start or end: a moment, or a year that is meant from its first to its last day."""
    if text.startswith(OPEN_END):
        return None
    if text.isdigit():
        return datetime(int(text), 1, 1) if column == "start_date" else datetime(int(text), 12, 31)
    return _moment(text)


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise ValueError("not finite")
    return number
