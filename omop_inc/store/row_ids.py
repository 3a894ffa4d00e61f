"""Row ids: given once to a row when it is first seen, and found again for a row that was seen before.

Belongs here: the allocation of new ids and the look-up of known ones by row hash. Does not: pairing by natural key (fates.py).
"""

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name

# Hashes and ids come as values of 24 bytes a row: psycopg reads 10 M single rows in 9.6 s, large values in a tenth of it. A value
# of 2.4 MB is held some four times on its way; one of all rows of a large table made half of a reload's memory.
ROWS_A_VALUE = 100_000
_NO_HASHES = np.empty(0, dtype=np.uint64)


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
    """The ids of the rows that an image holds, found by row hash; identical rows give their ids in ascending order."""

    def __init__(self, *, high: NDArray[np.uint64], low: NDArray[np.uint64], row_ids: NDArray[np.int64]) -> None:
        order = np.lexsort((row_ids, low, high))
        self.row_ids = row_ids[order]  # by (high, low, row id): rows of one hash are neighbours, a group
        self.used = np.zeros(len(order), dtype=bool)  # which of them were given
        high, low = high[order], low[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
        starts = np.flatnonzero(is_first)
        self._starts = starts.astype(np.int32)  # a table has fewer than 2^31 rows, and half of the memory is much of a large one
        self._sizes = np.diff(np.append(starts, len(order))).astype(np.int32)
        self._given = np.zeros(len(starts), dtype=np.int32)  # per group: how many of its ids were given
        self._high, self._low = high[starts], low[starts]
        self._lock = threading.Lock()

    def take(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The known id of each hash of shape (n, 2), each id given once; 0 where there is none (left)."""
        found = np.zeros(len(hashes), dtype=np.int64)
        if not len(self._high) or not len(hashes):
            return found
        groups = self._groups(hashes)
        asked = np.flatnonzero(groups >= 0)
        groups = groups[asked]
        ranks = _ranks(groups)
        with self._lock:
            nth = self._given[groups] + ranks
            is_left = nth < self._sizes[groups]
            groups, places = groups[is_left], (self._starts[groups] + nth)[is_left]
            np.add.at(self._given, groups, 1)
            self.used[places] = True
        found[asked[is_left]] = self.row_ids[places]
        return found

    def _groups(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The group of each hash; -1 where there is none."""
        last = len(self._high) - 1
        groups = np.minimum(np.searchsorted(self._high, hashes[:, 0]), last)
        is_same = self._is(groups, hashes)
        while True:  # groups whose hashes agree in their first half alone are neighbours; there are hardly ever any
            following = np.minimum(groups + 1, last)
            moves = ~is_same & (following > groups) & (self._high[following] == hashes[:, 0])
            if not moves.any():
                return np.where(is_same, groups, -1)
            groups = np.where(moves, following, groups)
            is_same = self._is(groups, hashes)

    def _is(self, groups: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.asarray((self._high[groups] == hashes[:, 0]) & (self._low[groups] == hashes[:, 1]))


def _ranks(groups: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number the members of each group from 0, in their order."""
    order = np.argsort(groups, kind="stable")
    ascending = groups[order]
    places = np.arange(len(groups))
    is_first = np.ones(len(groups), dtype=bool)
    is_first[1:] = ascending[1:] != ascending[:-1]
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return ranks


def read_known_ids(connection: Connection, tables: list[sql.Identifier]) -> KnownIds:
    """Read (row_hash, row_id) of every row of some staged tables."""
    parts: tuple[list[NDArray[np.uint64]], ...] = ([_NO_HASHES], [_NO_HASHES], [_NO_HASHES])
    for table in tables:
        for block in _read_blocks(connection, table):
            for part, column in zip(parts, block, strict=True):
                part.append(column.astype(np.uint64))
    high, low, row_ids = (_joined(part) for part in parts)
    return KnownIds(high=high, low=low, row_ids=row_ids.view(np.int64))


def _joined(part: list[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Put blocks together and let them go: one column at a time is there twice."""
    joined = np.concatenate(part)
    part.clear()
    return joined


def _read_blocks(connection: Connection, table: sql.Identifier) -> Iterator[NDArray[np.uint64]]:
    """Read the halves of the hashes and the ids, shape (3, rows), some rows at a time."""
    query = sql.SQL(
        "SELECT string_agg(uuid_send(row_hash) || int8send(row_id), '') FROM"
        " (SELECT row_hash, row_id, row_number() OVER () / %s AS block FROM {} WHERE row_id IS NOT NULL) AS numbered GROUP BY block"
    )
    with connection.cursor("known_ids", binary=True) as cursor:
        cursor.itersize = 1
        cursor.execute(query.format(table), (ROWS_A_VALUE,))
        for (block,) in cursor:
            yield np.frombuffer(block, dtype=">u8").reshape(-1, 3).T
