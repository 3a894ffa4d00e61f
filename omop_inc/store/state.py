"""The packed hash state: what the last committed run saw of every source table.

Belongs here: reading and writing `<cdm>_state`, its segments and what it was made under.
Does not: comparing it with a file (source/deltas.py) or the ledger (ledger.py).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.errors import SettingsError, StateMismatchError
from omop_inc.resources import read_sql
from omop_inc.source.deltas import Range
from omop_inc.source.hashing import HASH_VERSION
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import history
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import FATE_COLUMNS, create_staged

STORE_VERSION = 1

# A segment is one value of at most 8 MB: far below PostgreSQL's limit, and few reads for a large file.
SEGMENT_ROWS = 1_000_000
# Deltas are folded into the base when they pass this share of it; rewriting each time doubled the table in a few runs.
FOLD_SHARE = 0.1
# Reading a table's state is one row a segment; beyond this many small ones the reading costs more than the fold.
FOLD_SEGMENTS = 60


@dataclass(frozen=True, kw_only=True)
class TableState:
    """What the last committed run saw of one source table."""

    file_digest: bytes | None = None
    rows: int = 0
    hash_sum: int = 0
    loaded: int = 0
    quarantined: int = 0
    pending: int = 0


def create(connection: Connection, schemas: Schemas) -> None:
    """Create the store's schemas and tables where they are missing, and check what an existing store was made under."""
    for schema in (schemas.state, schemas.staging, schemas.quarantine):
        execute(connection, sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    for schema, file in ((schemas.state, "ddl/state.sql"), (schemas.quarantine, "ddl/quarantine.sql")):
        execute(connection, sql.SQL("SET LOCAL search_path TO {}, pg_catalog").format(sql.Identifier(schema)))
        execute(connection, read_sql(file))
    execute(connection, "SET LOCAL search_path TO DEFAULT")
    history.create(connection, schemas)
    for table in SOURCE_TABLES.values():
        create_staged(connection, schemas.staging, table, if_not_exists=True)
        create_staged(connection, schemas.quarantine, table, extra=FATE_COLUMNS, if_not_exists=True)
    made_under = {"store_version": str(STORE_VERSION), "hash_version": str(HASH_VERSION)}
    for key, value in made_under.items():
        statement = sql.SQL("INSERT INTO {} VALUES (%s, %s) ON CONFLICT DO NOTHING").format(name(schemas.state, "store_info"))
        execute(connection, statement, (key, value))


def exists(connection: Connection, schemas: Schemas) -> bool:
    """Whether this CDM has a store, and one that this code can read.

    Raises:
        StateMismatchError: If another version made it; the message names the remedy.
    """
    if fetch_value(connection, "SELECT to_regclass(%s)", (f"{schemas.state}.store_info",)) is None:
        return False
    rows = execute(connection, sql.SQL("SELECT key, value FROM {}").format(name(schemas.state, "store_info"))).fetchall()
    info = dict(rows)
    for key, ours in (("store_version", STORE_VERSION), ("hash_version", HASH_VERSION)):
        if info.get(key) != str(ours):
            raise StateMismatchError(
                f"The state in schema '{schemas.state}' was made with {key} {info.get(key)}, this code uses {ours}."
                " Run it with the omop-inc that made it, or rebuild in another --cdm-schema."
            )
    return True


def require(connection: Connection, schemas: Schemas) -> None:
    """Refuse to go on without a store.

    Raises:
        SettingsError: If nothing was applied to this CDM yet.
    """
    if not exists(connection, schemas) or fetch_value(connection, "SELECT to_regclass(%s)", (f"{schemas.cdm}.person",)) is None:
        raise SettingsError(f"Schema '{schemas.cdm}' holds no CDM yet. Begin with: omop-inc run SOURCE --vocabulary PATH")


def read_table_states(connection: Connection, schemas: Schemas) -> dict[str, TableState]:
    """The state of every source table that was read before, by name."""
    query = sql.SQL("SELECT source_table, file_digest, rows, hash_sum, loaded, quarantined, pending FROM {}")
    found = {}
    for table, digest, rows, hash_sum, loaded, quarantined, pending in execute(connection, query.format(name(schemas.state, "source_state"))):
        found[table] = TableState(
            file_digest=bytes(digest) if digest is not None else None,
            rows=rows,
            hash_sum=int.from_bytes(hash_sum, "big"),
            loaded=loaded,
            quarantined=quarantined,
            pending=pending,
        )
    return found


def write_table_state(connection: Connection, schemas: Schemas, table: str, state: TableState) -> None:
    """Write the state of one source table, unless it stands so already."""
    statement = sql.SQL(
        "INSERT INTO {0} AS old (source_table, file_digest, rows, hash_sum, loaded, quarantined, pending)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (source_table) DO UPDATE SET file_digest = excluded.file_digest,"
        " rows = excluded.rows, hash_sum = excluded.hash_sum, loaded = excluded.loaded, quarantined = excluded.quarantined,"
        " pending = excluded.pending WHERE old IS DISTINCT FROM excluded"
    ).format(name(schemas.state, "source_state"))
    hash_sum = state.hash_sum.to_bytes(16, "big")
    execute(connection, statement, (table, state.file_digest, state.rows, hash_sum, state.loaded, state.quarantined, state.pending))


def read_hashes(connection: Connection, schemas: Schemas, table: str) -> NDArray[np.uint64]:
    """The sorted 64-bit hashes of all rows that the last run saw of a table."""
    return np.concatenate([one.known for one in read_ranges(connection, schemas, table)])


def read_ranges(connection: Connection, schemas: Schemas, table: str) -> Iterator[Range]:
    """The same a range of hashes at a time, as many as a segment of the base holds."""
    added, removed = (_read_deltas(connection, schemas, table, sign) for sign in (1, -1))

    def between(start: int, stop: int | None, base: NDArray[np.uint64]) -> Range:
        known = apply_segments(base, _slice(added, start, stop), _slice(removed, start, stop)) if len(added) or len(removed) else base
        return Range(start=start, stop=stop, known=known)

    start, held = 0, np.empty(0, dtype=np.uint64)
    for segment in _read_base(connection, schemas, table):
        stop = int(segment[0])
        if len(held) and stop > start:  # what equals the next segment's first value goes with it
            cut = int(np.searchsorted(held, segment[0]))
            yield between(start, stop, held[:cut])
            start, held = stop, held[cut:]
        held = np.concatenate((held, segment)) if len(held) else segment
    yield between(start, None, held)


def _read_base(connection: Connection, schemas: Schemas, table: str) -> Iterator[NDArray[np.uint64]]:
    """The base's segments, which follow one another, one at a time."""
    query = sql.SQL("SELECT packed FROM {} WHERE source_table = %s AND sign = 0 ORDER BY generation, part")
    with connection.cursor("base", binary=True) as cursor:
        cursor.itersize = 1
        cursor.execute(query.format(name(schemas.state, "hash_segment")), (table,))
        for (packed,) in cursor:
            yield np.frombuffer(packed, dtype="<u8").astype(np.uint64, copy=False)


def _read_deltas(connection: Connection, schemas: Schemas, table: str, sign: int) -> NDArray[np.uint64]:
    """What later runs added or took away, ascending."""
    query = sql.SQL("SELECT packed FROM {} WHERE source_table = %s AND sign = %s")
    with connection.cursor(binary=True) as cursor:
        found = [np.frombuffer(packed, dtype="<u8") for (packed,) in cursor.execute(query.format(name(schemas.state, "hash_segment")), (table, sign))]
    return np.sort(np.concatenate([np.empty(0, dtype=np.uint64), *found]))


def _slice(ascending: NDArray[np.uint64], start: int, stop: int | None) -> NDArray[np.uint64]:
    end = len(ascending) if stop is None else int(np.searchsorted(ascending, np.uint64(stop)))
    return ascending[int(np.searchsorted(ascending, np.uint64(start))) : end]


def apply_segments(base: NDArray[np.uint64], added: NDArray[np.uint64], removed: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Add and take away hashes as multisets, all ascending; the order of runs does not matter because each delta was exact."""
    present = np.concatenate((base, added))
    present.sort(kind="stable")
    if not len(removed):
        return present
    gone, counts = np.unique(removed, return_counts=True)
    start = np.searchsorted(present, gone)
    keep = np.ones(len(present), dtype=bool)
    keep[np.repeat(start, counts) + _ordinals(counts)] = False
    return present[keep]


def _ordinals(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, .. within each group of the given sizes."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def write_base(connection: Connection, schemas: Schemas, table: str, generation: int, hashes: NDArray[np.uint64]) -> None:
    """Replace the hashes of a table by sorted ones."""
    segment = name(schemas.state, "hash_segment")
    execute(connection, sql.SQL("DELETE FROM {} WHERE source_table = %s").format(segment), (table,))
    _write_segments(connection, segment, table, generation, 0, [hashes])


def create_next_base(connection: Connection, schemas: Schemas) -> None:
    """Create the run's table of the hashes that a full load reads, so that no process need hold them until it publishes."""
    statement = sql.SQL("CREATE UNLOGGED TABLE {} (LIKE {} INCLUDING ALL)")
    execute(connection, statement.format(name(schemas.run, "next_segment"), name(schemas.state, "hash_segment")))


def write_next_base(connection: Connection, schemas: Schemas, table: str, ranges: Iterable[NDArray[np.uint64]]) -> None:
    """Write the hashes that a full load read of a table, in place of what an earlier try of the step left.

    Args:
        ranges: Sorted hashes, and each range behind the one before.
    """
    segment = name(schemas.run, "next_segment")
    execute(connection, sql.SQL("DELETE FROM {} WHERE source_table = %s").format(segment), (table,))
    _write_segments(connection, segment, table, 0, 0, ranges)


def adopt_next_base(connection: Connection, schemas: Schemas, table: str, generation: int) -> None:
    """Replace the hashes of a table by those that the full load read."""
    segment = name(schemas.state, "hash_segment")
    execute(connection, sql.SQL("DELETE FROM {} WHERE source_table = %s").format(segment), (table,))
    statement = sql.SQL("INSERT INTO {} SELECT source_table, %s, sign, part, packed FROM {} WHERE source_table = %s")
    execute(connection, statement.format(segment, name(schemas.run, "next_segment")), (generation, table))


def write_delta(
    connection: Connection,
    schemas: Schemas,
    table: str,
    generation: int,
    added: NDArray[np.uint64],
    removed: NDArray[np.uint64],
) -> None:
    """Add a run's segments to a table's state, and fold them all when they have grown."""
    for sign, hashes in ((1, added), (-1, removed)):
        _write_segments(connection, name(schemas.state, "hash_segment"), table, generation, sign, [np.sort(hashes)])
    query = sql.SQL(
        "SELECT coalesce(sum(length(packed)) FILTER (WHERE sign = 0), 0), coalesce(sum(length(packed)) FILTER (WHERE sign <> 0), 0),"
        " count(*) FILTER (WHERE sign <> 0) FROM {} WHERE source_table = %s"
    ).format(name(schemas.state, "hash_segment"))
    row = execute(connection, query, (table,)).fetchone()
    base, delta, segments = row if row is not None else (0, 0, 0)
    if delta > base * FOLD_SHARE or segments > FOLD_SEGMENTS:
        write_base(connection, schemas, table, generation, read_hashes(connection, schemas, table))


def _write_segments(
    connection: Connection, segment: sql.Identifier, table: str, generation: int, sign: int, ranges: Iterable[NDArray[np.uint64]]
) -> None:
    statement = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %b)").format(segment)
    parts = (some[start : start + SEGMENT_ROWS] for some in ranges for start in range(0, len(some), SEGMENT_ROWS))
    for number, part in enumerate(parts):
        execute(connection, statement, (table, generation, sign, number, part.astype("<u8").tobytes()))
