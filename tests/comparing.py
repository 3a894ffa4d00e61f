"""Compare two CDMs from outside: plain SQL and Python, no line of the package, so that an error there does not hide here.

Belongs here: reading a store, putting what its ids stand for in their place, comparing. Does not: running anything.

An id of the CDM stands for the source row that it came from (its hash and place among identical rows; a thing with an Id
of its own stands for that Id), or, where it is no row's, for the content of its CDM row.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

WITH_ID = frozenset({"patients", "encounters", "claims", "careplans", "providers", "organizations", "payers"})
NO_IDS = frozenset({"metadata_id"})
# Its id stands for payer and ownership; two payers of one name give rows that look the same.
NOT_KEYED_BY_CONTENT = "payer_plan_period"
# Tables none of whose rows is a source row.
CONTENT_TABLES = frozenset({"location", "payer_plan_period", "condition_era", "drug_era", "dose_era"})
WHOLE = ("bigint", "integer")
SHOWN = 4

Record = dict[str, Any]
Tables = dict[str, list[Record]]


@dataclass(frozen=True)
class Store:
    """What a database holds of one CDM."""

    cdm: Tables
    staging: Tables
    held: Tables
    bad: list[Record]
    whole_columns: Mapping[str, frozenset[str]]  # per CDM table its columns of whole numbers
    labels: dict[int, str] = field(default_factory=dict)


def read_store(url: str, schema: str) -> Store:
    """Read every row of a CDM, its staged image and its quarantine."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        held = _read_schema(connection, f"{schema}_quarantine")
        bad = held.pop("bad_record")
        whole: dict[str, set[str]] = defaultdict(set)
        query = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = %s AND data_type = ANY(%s)"
        for found in connection.execute(query, (schema, list(WHOLE))):
            whole[found["table_name"]].add(found["column_name"])
        store = Store(
            cdm=_read_schema(connection, schema),
            staging=_read_schema(connection, f"{schema}_staging"),
            held=held,
            bad=bad,
            whole_columns={table: frozenset(names) for table, names in whole.items()},
        )
    _label_rows(store)
    _label_contents(store)
    return store


def _read_schema(connection: psycopg.Connection[Record], schema: str) -> Tables:
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE' ORDER BY 1"
    names = [found["table_name"] for found in connection.execute(query, (schema,))]
    return {name: connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, name))).fetchall() for name in names}


def _label_rows(store: Store) -> None:
    for table, rows in store.staging.items():
        seen: Counter[str] = Counter()
        for row in sorted(rows, key=lambda one: one["row_id"]):
            if row["row_id"] in store.labels:
                raise AssertionError(f"row_id {row['row_id']} occurs twice in staging")
            own = str(row["id"]) if table in WITH_ID else f"{row['row_hash']}#{seen[str(row['row_hash'])]}"
            seen[str(row["row_hash"])] += 1
            store.labels[row["row_id"]] = f"{table}:{own}"


def _label_contents(store: Store) -> None:
    """Ids that are no source row's stand for the rest of their row."""
    own: dict[int, str] = {}
    for table, rows in store.cdm.items():
        key = f"{table}_id"
        for row in rows:
            if key in row and key not in NO_IDS and row[key] is not None and row[key] not in store.labels:
                rest = {name: value for name, value in row.items() if name != key}
                own[row[key]] = f"{table}~{_digest(_canonical(store, table, rest))}"
    store.labels.update(own)


def _digest(row: tuple[tuple[str, str], ...]) -> str:
    return hashlib.sha256(repr(row).encode()).hexdigest()[:16]


def _is_id(store: Store, table: str, column: str) -> bool:
    is_reference = column.endswith("_id") or column in ("fact_id_1", "fact_id_2")
    return is_reference and not column.endswith("concept_id") and column not in NO_IDS and column in store.whole_columns[table]


def _canonical(store: Store, table: str, row: Record) -> tuple[tuple[str, str], ...]:
    """A CDM row with what its ids stand for in their place."""
    return tuple(
        (name, store.labels.get(value, "?") if value is not None and _is_id(store, table, name) else repr(value)) for name, value in row.items()
    )


def canonical_cdm(store: Store) -> dict[str, Counter[tuple[tuple[str, str], ...]]]:
    """Every CDM table as a multiset of rows, whatever their ids are."""
    return {table: Counter(_canonical(store, table, row) for row in rows) for table, rows in store.cdm.items()}


def dangling_ids(store: Store) -> list[str]:
    """Ids in the CDM that stand for nothing."""
    found = []
    for table, rows in store.cdm.items():
        for row in rows:
            found += [f"{table}.{name}={value}" for name, value in _canonical(store, table, row) if value == "?"]
    return found


def id_collisions(store: Store) -> list[str]:
    """Ids that two source rows have, or that a source row shares with CDM rows that did not come from it.

    One sequence gives both, so an era whose id is some row's id means that an id was given twice.
    """
    found: Counter[int] = Counter(row["row_id"] for tables in (store.staging, store.held) for rows in tables.values() for row in rows)
    twice = [f"row_id {number} occurs {times} times" for number, times in found.items() if times > 1]
    for table in sorted(CONTENT_TABLES):
        twice += [f"{table}_id {row[f'{table}_id']} is a row_id" for row in store.cdm[table] if row[f"{table}_id"] in found]
    return twice


def content_ids(store: Store) -> dict[str, set[int]]:
    """The ids of CDM rows that are no source row's, by the rest of their row as it stands."""
    found: dict[str, set[int]] = defaultdict(set)
    for table, rows in store.cdm.items():
        key = f"{table}_id"
        for row in rows if table != NOT_KEYED_BY_CONTENT else ():
            if "~" in store.labels.get(row.get(key, 0), ""):
                rest = tuple((name, repr(value)) for name, value in row.items() if name != key)
                found[f"{table} {_digest(rest)}"].add(row[key])
    return found


def row_ids(store: Store) -> dict[tuple[str, str], set[int]]:
    """The ids of all rows that can be read, loaded or held, by table and hash."""
    found: dict[tuple[str, str], set[int]] = defaultdict(set)
    for tables in (store.staging, store.held):
        for table, rows in tables.items():
            for row in rows:
                found[table, str(row["row_hash"])].add(row["row_id"])
    return found


def _plain(rows: Iterable[Record], without: tuple[str, ...] = ()) -> Counter[tuple[tuple[str, str], ...]]:
    """Rows as values by column name: the order in which a table holds its columns is no difference."""
    return Counter(tuple((name, repr(value)) for name, value in sorted(row.items()) if name not in without) for row in rows)


def differences(one: Store, other: Store) -> list[str]:
    """Where two stores differ, ids aside: CDM, staged image, quarantine and pending."""
    found = []
    mine, theirs = canonical_cdm(one), canonical_cdm(other)
    for table in sorted(mine.keys() | theirs.keys()):
        found += _report(f"cdm.{table}", mine.get(table, Counter()), theirs.get(table, Counter()))
    ids = ("row_id",)
    for what, a, b in (("staging", one.staging, other.staging), ("held", one.held, other.held)):
        for table in sorted(a.keys() | b.keys()):
            found += _report(f"{what}.{table}", _plain(a.get(table, []), ids), _plain(b.get(table, []), ids))
    aside = ("record_id", "run_id", "line")
    return found + _report("bad_record", _plain(one.bad, aside), _plain(other.bad, aside))


def exact_differences(one: Store, other: Store) -> list[str]:
    """Where two stores differ, every id included."""
    found = []
    for what, a, b in (("cdm", one.cdm, other.cdm), ("staging", one.staging, other.staging), ("held", one.held, other.held)):
        for table in sorted(a.keys() | b.keys()):
            found += _report(f"{what}.{table}", _plain(a.get(table, [])), _plain(b.get(table, [])))
    return found


def _report(what: str, mine: Counter[Any], theirs: Counter[Any]) -> list[str]:
    only_mine, only_theirs = mine - theirs, theirs - mine
    if not only_mine and not only_theirs:
        return []
    lines = [f"{what}: {only_mine.total()} rows only in the first, {only_theirs.total()} only in the second"]
    pairs = zip(_shown(only_mine), _shown(only_theirs), strict=False)
    for a, b in pairs:
        lines.append("    " + "; ".join(f"{x[0]}: {x[1]} | {y[1]}" for x, y in zip(a, b, strict=False) if x != y))
    if not (only_mine and only_theirs):
        lines += [f"    {dict(one)}" for one in _shown(only_mine or only_theirs)]
    return lines


def _shown(rows: Counter[Any]) -> list[Any]:
    return sorted(rows)[:SHOWN]


@dataclass
class IdHistory:
    """The ids that rows had, over a history of snapshots: a row that stays or comes back keeps its id."""

    ever: dict[tuple[str, str], set[int]] = field(default_factory=lambda: defaultdict(set))
    before: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    tables: dict[int, str] = field(default_factory=dict)
    contents: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))

    def check(self, store: Store) -> list[str]:
        """Note the ids of a store; what does not keep its id."""
        found, now = [], row_ids(store)
        used = {number: key for key, numbers in now.items() for number in numbers}
        for key, numbers in now.items():
            stayed = self.before.get(key, set())
            if not (numbers <= stayed or stayed <= numbers):
                found.append(f"{key}: stayed with ids {sorted(stayed)}, now {sorted(numbers)}")
            free = {number for number in self.ever[key] if used.get(number, key) == key}
            if len(numbers & free) < min(len(numbers), len(free)):
                found.append(f"{key}: came back with ids {sorted(numbers)}, had {sorted(self.ever[key])}")
            for number in numbers:
                if self.tables.setdefault(number, key[0]) != key[0]:
                    found.append(f"row_id {number} was of {self.tables[number]}, now of {key[0]}")
            self.ever[key] |= numbers
        self.before = dict(now)
        for label, numbers in content_ids(store).items():
            known = self.contents[label]
            if len(numbers) == 1 == len(known) and numbers != known:
                found.append(f"{label}: had id {sorted(known)}, now {sorted(numbers)}")
            known |= numbers
        return found
