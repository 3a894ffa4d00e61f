"""What a database holds of a CDM, with what its ids stand for in their place, and where it differs from the oracle.

Belongs here: reading and comparing. Does not: deriving (cdm.py), running anything.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tests.oracle.cdm import TABLES
from tests.oracle.labels import Record, content_label, plain, row_label
from tests.oracle.source import COLUMNS

# Whose id is their row's content, and what it is called elsewhere.
BY_CONTENT = ("location", "payer_plan_period")
# Columns that name a row by its id.
REFERENCES = {
    "person_id", "provider_id", "care_site_id", "visit_occurrence_id", "visit_detail_id", "preceding_visit_occurrence_id",
    "preceding_visit_detail_id", "parent_visit_detail_id", "cost_event_id", "observation_event_id", "fact_id_1",
    "fact_id_2",
}  # fmt: skip
# Source rows whose id no CDM row has.
NEVER_NAMED = ("payers", "payer_transitions", "claims", "claims_transactions")
SHOWN = 3

Line = frozenset[tuple[str, Any]]


class Labels:
    """What the ids of one CDM stand for."""

    def __init__(self, connection: psycopg.Connection[Record], schema: str) -> None:
        self.rows: dict[int, str] = {}
        for table, columns in COLUMNS.items():
            if table not in NEVER_NAMED:
                names = columns.split()
                for row in _read(connection, f"{schema}_staging", table, ["row_id", *names]):
                    row_id = row.pop("row_id")
                    self.rows[row_id] = row_label(table, row)
        self.contents = {table: _contents(connection, schema, table, self.rows) for table in BY_CONTENT}

    def of(self, table: str, column: str, value: int | None) -> str | None:
        """What an id stands for: a second target or an era stands for nothing but its own row."""
        if value is None:
            return None
        name = column.removesuffix("_id")
        if name in BY_CONTENT:
            return self.contents[name].get(value, "unknown")
        return self.rows.get(value, None if name == table else "unknown")


def _contents(connection: psycopg.Connection[Record], schema: str, table: str, rows: dict[int, str]) -> dict[int, str]:
    found = {}
    for row in _read(connection, schema, table):
        if "person_id" in row:
            row["person_id"] = rows.get(row["person_id"], "unknown")
        found[row[f"{table}_id"]] = content_label(row, table)
    return found


def _read(connection: psycopg.Connection[Record], schema: str, table: str, columns: Sequence[str] = ()) -> Iterator[Record]:
    wanted = sql.SQL(", ").join(map(sql.Identifier, columns)) if columns else sql.SQL("*")
    return iter(connection.execute(sql.SQL("SELECT {} FROM {}").format(wanted, sql.Identifier(schema, table))).fetchall())


def read_cdm(url: str, schema: str) -> dict[str, Counter[Line]]:
    """The rows of each table that the oracle derives."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        labels = Labels(connection, schema)
        return {table: Counter(_labelled(labels, table, row) for row in _read(connection, schema, table)) for table in TABLES}


def _labelled(labels: Labels, table: str, row: Record) -> Line:
    ids = _ids_of(table, tuple(row))
    named = {name: labels.of(table, name, value) if name in ids else value for name, value in row.items() if value is not None}
    return _line(named)


@cache
def _ids_of(table: str, columns: tuple[str, ...]) -> frozenset[str]:
    """The columns of a table that hold ids of rows."""
    return frozenset(name for name in columns if name in REFERENCES or name == f"{table}_id" or name.removesuffix("_id") in BY_CONTENT)


def _line(record: Record) -> Line:
    return frozenset([(name, value if value.__class__ is str else plain(value)) for name, value in record.items() if value is not None])


def derived_lines(derived: dict[str, list[Record]]) -> dict[str, Counter[Line]]:
    """The oracle's rows as they are compared."""
    found = {}
    for table in TABLES:
        records = derived.get(table, [])
        if table == "payer_plan_period":
            records = [record | {"payer_plan_period_id": content_label(record, table)} for record in records]
        found[table] = Counter(map(_line, records))
    return found


def disagreements(oracle: dict[str, Counter[Line]], database: dict[str, Counter[Line]]) -> list[str]:
    """Where the two differ: per table counts, and the fields of a few rows beside each other."""
    found = []
    for table in TABLES:
        if oracle[table] != database[table]:
            mine, theirs = oracle[table] - database[table], database[table] - oracle[table]
            found.append(f"{table}: {mine.total()} rows only in the oracle, {theirs.total()} only in the database")
            found += list(_shown(mine, theirs))
    return found


def _shown(mine: Counter[Line], theirs: Counter[Line]) -> Iterator[str]:
    """Rows of one beside the rows of the other that are most like them."""
    left = list(theirs)
    for line in list(mine)[:SHOWN]:
        like = max(left, key=lambda one: len(one & line), default=frozenset())
        yield f"    oracle {dict(sorted(line - like))}"
        yield f"    database {dict(sorted(like - line))}"
        yield f"    both {dict(sorted(line & like))}"
    for line in left[:SHOWN] if not mine else ():
        yield f"    database alone {dict(sorted(line))}"


def fields_that_differ(oracle: Counter[Line], database: Counter[Line]) -> dict[str, int]:
    """How often each field differs between rows of the two that are most like each other; for a person who looks for the reason."""
    counts: dict[str, int] = defaultdict(int)
    left = list(database - oracle)
    for line in list(oracle - database)[:200]:
        like = max(left, key=lambda one: len(one & line), default=frozenset())
        for name in {pair[0] for pair in line ^ like}:
            counts[name] += 1
    return dict(counts)
