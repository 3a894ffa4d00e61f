"""Row ids: given once to a row when it is first seen, and found again for a row that was seen before.

Belongs here: the allocation of new ids and the look-up of known ones by row hash. Does not: pairing by natural key (fates.py).
"""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.source.deltas import rank_within
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name

# Hashes and ids come as values of some 24 bytes a row: psycopg reads 10 M single rows in 9.6 s, large values in a tenth of it. A value
# of 2.4 MB is held some four times on its way; one of all rows of a large table made half of a reload's memory.
ROWS_A_VALUE = 100_000
# Known hashes that are looked through at a time.
ROWS_A_RANGE = 1 << 20


class RowIds:
    """Gives blocks of new row ids to several threads; the run's lock keeps other runs out."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._lock = threading.Lock()

    def take(self, count: int) -> NDArray[np.int64]:
        """The next `count` ids, ascending."""
        with self._lock:
            first = self._next
            self._next += count
        return np.arange(first, first + count, dtype=np.int64)

    @property
    def last(self) -> int:
        """The last id that was given, or the one before the first."""
        return self._next - 1


def read_row_ids(connection: Connection, schemas: Schemas) -> RowIds:
    """Start after the last id that the store ever gave."""
    query = sql.SQL("SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM {}")
    return RowIds(int(fetch_value(connection, query.format(name(schemas.state, "row_id_seq")))))


def write_row_ids(connection: Connection, schemas: Schemas, ids: RowIds) -> None:
    """Move the store's sequence behind the ids given by this process; never back, for PostgreSQL may have given some itself."""
    sequence = name(schemas.state, "row_id_seq")
    if ids.last > 0:
        statement = sql.SQL("SELECT setval({}, greatest(last_value, %s), is_called OR last_value <= %s) FROM {}")
        execute(connection, statement.format(sql.Literal(sequence.as_string(connection)), sequence), (ids.last, ids.last))


class KnownIds:
    """The ids of the rows that an image holds, found by the high half of the row hash; rows of one hash give their ids in ascending order.

    By the half that the hash state keeps (store/state.py): the other one, and ids of eight bytes, made 37 bytes a row of these 13.
    """

    def __init__(self, *, high: NDArray[np.uint64], row_ids: NDArray[np.integer[Any]]) -> None:
        """Take over the rows of an image.

        Args:
            high: The high 64 bits of their hashes, ascending.
            row_ids: Their ids, ascending where the hash is the same.
        """
        self._high, self.row_ids = high, row_ids
        self.used = np.zeros(len(high), dtype=bool)  # which of them were given
        starts = _starts_of_lots(high)
        self._starts = np.append(starts, len(high))  # of rows that share a hash, each lot's first; then one behind all rows
        self._sizes = np.append(np.searchsorted(high, high[starts], side="right") - starts, 0)
        self._given = np.zeros(len(self._starts), dtype=np.int64)  # how many of each lot's ids were given
        self._lock = threading.Lock()

    def take(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The known id of each hash of shape (n, 2), each id given once; 0 where there is none (left)."""
        found = np.zeros(len(hashes), dtype=np.int64)
        if not len(self._high) or not len(hashes):
            return found
        wanted = hashes[:, 0]
        places = np.minimum(np.searchsorted(self._high, wanted), len(self._high) - 1)
        asked = np.flatnonzero(self._high[places] == wanted)
        places = places[asked]
        lots = np.searchsorted(self._starts, places)
        is_lot = self._starts[lots] == places
        nth = rank_within(places)
        with self._lock:
            nth += np.where(is_lot, self._given[lots], self.used[places])
            is_left = nth < np.where(is_lot, self._sizes[lots], 1)
            np.add.at(self._given, lots[is_lot], 1)
            places = (places + nth)[is_left]
            self.used[places] = True
        found[asked[is_left]] = self.row_ids[places]
        return found

    def with_used(self, others: NDArray[np.uint64]) -> Iterator[NDArray[np.uint64]]:
        """The hashes whose ids were given and some others, both ascending, as ascending ranges that follow one another."""
        taken = 0
        for start in range(0, len(self._high), ROWS_A_RANGE):
            stop = start + ROWS_A_RANGE
            end = len(others) if stop >= len(self._high) else int(np.searchsorted(others, self._high[stop]))
            some = np.concatenate((self._high[start:stop][self.used[start:stop]], others[taken:end]))
            some.sort(kind="stable")
            taken = end
            yield some
        yield others[taken:]


def _starts_of_lots(high: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where values begin that stand there several times, of ascending ones; some at a time, or the marks take a byte a row twice."""
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, len(high), ROWS_A_RANGE):
        some = high[start : start + ROWS_A_RANGE + 1]
        is_repeat = some[1:] == some[:-1]
        is_first = is_repeat.copy()
        is_first[1:] &= ~is_repeat[:-1]
        if start and len(is_first):
            is_first[0] &= high[start] != high[start - 1]
        found.append(np.flatnonzero(is_first) + start)
    return np.concatenate(found)


def read_known_ids(connection: Connection, tables: list[sql.Identifier], last: int) -> KnownIds:
    """Read hash and id of every row of some staged tables.

    Args:
        last: The last id that the store ever gave.
    """
    rows = sql.SQL(" UNION ALL ").join(sql.SQL("SELECT row_hash, row_id FROM {} WHERE row_id IS NOT NULL").format(table) for table in tables)
    total = int(fetch_value(connection, sql.SQL("SELECT count(*) FROM ({}) AS image").format(rows)))
    high = np.empty(total, dtype=np.uint64)
    row_ids: NDArray[np.integer[Any]] = np.empty(total, dtype=np.uint32 if last <= np.iinfo(np.uint32).max else np.int64)
    filled = 0
    for block in _read_blocks(connection, rows, total):
        part = slice(filled, filled + len(block))
        order = np.lexsort((block[:, 2], block[:, 0]))
        high[part], row_ids[part] = block[order, 0], block[order, 2]
        filled = part.stop
    return KnownIds(high=high, row_ids=row_ids)


def _read_blocks(connection: Connection, rows: sql.Composed, total: int) -> Iterator[NDArray[np.uint64]]:
    """Read the halves of the hashes and the ids, shape (rows, 3): those whose hashes begin with the same bits together, ascending by these bits."""
    bits = min(8, (total // ROWS_A_VALUE).bit_length())
    query = sql.SQL(
        "SELECT get_byte(uuid_send(row_hash), 0) >> %s AS start, string_agg(uuid_send(row_hash) || int8send(row_id), '') FROM ({}) AS image"
        " GROUP BY start ORDER BY start"
    )
    with connection.cursor("known_ids", binary=True) as cursor:
        cursor.itersize = 1
        cursor.execute(query.format(rows), (8 - bits,))
        for _, block in cursor:
            yield np.frombuffer(block, dtype=">u8").reshape(-1, 3).astype(np.uint64)
