"""Row ids: given once to a row when it is first seen, and found again for a row that was seen before.

Belongs here: the allocation of new ids and the look-up of known ones by row hash. Does not: pairing by natural key (fates.py).
"""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name

# Hashes and ids come as one value of 24 bytes a row: psycopg reads 10 M single rows in 9.6 s, large values in a tenth of it.
ROWS_A_VALUE = 1_000_000


class RowIds:
    """Gives blocks of new row ids to several threads; the run's lock keeps other processes out."""

    def __init__(self, first: int) -> None:
        self._next = first
        self._lock = threading.Lock()

    def take(self, count: int) -> range:
        """The next `count` ids."""
        with self._lock:
            block = range(self._next, self._next + count)
            self._next += count
            return block

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


@dataclass(kw_only=True)
class KnownIds:
    """The ids of the rows that an image holds, found by row hash; identical rows give their ids in ascending order."""

    high: NDArray[np.uint64]  # sorted by (high, low, row id)
    low: NDArray[np.uint64]
    row_ids: NDArray[np.int64]
    taken: NDArray[np.int64] = field(init=False)  # per first position of a hash: how many of its ids were given

    def __post_init__(self) -> None:
        order = np.lexsort((self.row_ids, self.low, self.high))
        self.high, self.low, self.row_ids = self.high[order], self.low[order], self.row_ids[order]
        self.taken = np.zeros(len(order), dtype=np.int64)
        self.used = np.zeros(len(order), dtype=bool)

    def take(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        """The known id of each hash of shape (n, 2), each id given once; 0 where there is none (left)."""
        found = np.zeros(len(hashes), dtype=np.int64)
        if not len(self.high) or not len(hashes):
            return found
        position = np.minimum(np.searchsorted(self.high, hashes[:, 0]), len(self.high) - 1)
        plain = self._is(position, hashes) & (self.taken[position] == 0) & ~self._is_repeated(position)
        plain &= ~_repeats(position)
        found[plain] = self.row_ids[position[plain]]
        self.taken[position[plain]] = 1
        self.used[position[plain]] = True
        for i in np.flatnonzero(~plain & (self.high[position] == hashes[:, 0])):
            found[i] = self._take_one(int(position[i]), int(hashes[i, 0]), int(hashes[i, 1]))
        return found

    def _take_one(self, start: int, high: int, low: int) -> int:
        for at in self._same_high(start, high):
            if self.low[at] == low and not self.used[at]:
                self.used[at] = True
                self.taken[start] += 1
                return int(self.row_ids[at])
        return 0

    def _same_high(self, start: int, high: int) -> Iterator[int]:
        at = start
        while at < len(self.high) and self.high[at] == high:
            yield at
            at += 1

    def _is(self, position: NDArray[np.int64], hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        return np.asarray((self.high[position] == hashes[:, 0]) & (self.low[position] == hashes[:, 1]))

    def _is_repeated(self, position: NDArray[np.int64]) -> NDArray[np.bool_]:
        following = np.minimum(position + 1, len(self.high) - 1)
        return np.asarray((following > position) & (self.high[following] == self.high[position]))


def _repeats(position: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which positions occur more than once."""
    _, inverse, counts = np.unique(position, return_inverse=True, return_counts=True)
    return np.asarray(counts[inverse] > 1)


def read_known_ids(connection: Connection, tables: list[sql.Identifier]) -> KnownIds:
    """Read (row_hash, row_id) of every row of some staged tables."""
    blocks = [block for table in tables for block in _read_blocks(connection, table)]
    packed = np.frombuffer(b"".join(blocks), dtype=np.dtype([("high", ">u8"), ("low", ">u8"), ("row_id", ">i8")]))
    return KnownIds(high=packed["high"].astype(np.uint64), low=packed["low"].astype(np.uint64), row_ids=packed["row_id"].astype(np.int64))


def _read_blocks(connection: Connection, table: sql.Identifier) -> Iterator[bytes]:
    query = sql.SQL(
        "SELECT string_agg(uuid_send(row_hash) || int8send(row_id), '') FROM"
        " (SELECT row_hash, row_id, row_number() OVER () / %s AS block FROM {} WHERE row_id IS NOT NULL) AS numbered GROUP BY block"
    )
    with connection.cursor(binary=True) as cursor:
        cursor.execute(query.format(table), (ROWS_A_VALUE,))
        for (block,) in cursor:
            yield bytes(block)
