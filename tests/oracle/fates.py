"""Which records count: those whose Id is not contradicted and whose patient, encounter and claim are there.

Belongs here: the choice among the rows that can be read. Does not: reading (source.py), what they become.
Source: docs/decisions/0015 and 0016.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from tests.oracle.source import COLUMNS, Snapshot, SourceRow, ordered, read_snapshot

# An Id of these is one thing; two rows that contradict each other are both left out.
MUST_AGREE = ("patients", "encounters", "claims", "careplans")
# An Id of these is one thing; the first row in the order of these columns tells about it.
FIRST_COUNTS = {
    "providers": ("organization", "name", "gender", "speciality"),
    "organizations": ("name", "address", "city", "state", "zip", "lat", "lon"),
    "payers": ("name", "ownership"),
}


@dataclass(frozen=True, eq=False)
class World:
    """The records that count, by table, with the things that have Ids found by them; what is worked out of one is kept by it."""

    rows: dict[str, list[SourceRow]]
    by_id: dict[str, dict[str, SourceRow]]  # table -> Id -> row

    def encounter(self, row: SourceRow) -> SourceRow | None:
        """The encounter that a row names."""
        return self.by_id["encounters"].get(row.get("encounter"))

    def of_patients(self, table: str) -> dict[str, list[SourceRow]]:
        """A table's rows by patient."""
        found = defaultdict(list)
        for row in self.rows[table]:
            found[row.patient].append(row)
        return found


def read_world(folder: Path) -> World:
    """Read a folder and keep the records that count."""
    return settle(read_snapshot(folder))


def settle(snapshot: Snapshot) -> World:
    """Keep the records that count, parents before children."""
    rows = {table: _agreeing(found) if table in MUST_AGREE else found for table, found in snapshot.rows.items()}
    for table, columns in FIRST_COUNTS.items():
        rows[table] = _firsts(rows[table], columns)
    patients = {row["id"] for row in rows["patients"]}
    for table in COLUMNS:
        if table not in ("patients", *FIRST_COUNTS):
            rows[table] = [row for row in rows[table] if row.patient in patients]
    encounters = {row["id"]: row.patient for row in rows["encounters"]}
    rows["claims"] = [row for row in rows["claims"] if _is_there(row, "appointmentid", encounters)]
    claims = {row["id"]: row.patient for row in rows["claims"]}
    for table in COLUMNS:
        if "encounter" in COLUMNS[table].split():
            rows[table] = [row for row in rows[table] if _is_there(row, "encounter", encounters)]
    rows["claims_transactions"] = [
        row for row in rows["claims_transactions"] if _is_there(row, "claimid", claims) and _is_there(row, "appointmentid", encounters)
    ]
    named = ("patients", "encounters", "claims", *FIRST_COUNTS)
    return World(rows, {table: {row["id"]: row for row in rows[table]} for table in named})


def _is_there(row: SourceRow, column: str, parents: dict[str, str]) -> bool:
    """Whether the parent that a row names is there, of the same patient; naming none asks for nothing."""
    return row[column] is None or parents.get(row[column]) == row.patient


def _agreeing(rows: list[SourceRow]) -> list[SourceRow]:
    versions = defaultdict(dict)
    for row in rows:
        versions[row["id"]][row.content] = row
    return [next(iter(found.values())) for found in versions.values() if len(found) == 1]


def _firsts(rows: list[SourceRow], columns: tuple[str, ...]) -> list[SourceRow]:
    first: dict[str, SourceRow] = {}
    for row in sorted(rows, key=lambda one: ordered(*(one[column] for column in columns))):
        first.setdefault(row["id"], row)
    return list(first.values())
