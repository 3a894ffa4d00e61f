"""The ids of a table as a set of bits, a block of ids at a time: which rows of one table are in others, for any number of rows.

Belongs here: reading such sets and comparing them. Does not: what it means to be in a table (outcomes.py).

A million ids take a megabyte on their way and 128 kB here, where sorted numbers took 8 MB and their comparison several times that:
a full load of 10 GB held 900 MB of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.store.db import Connection
from omop_inc.store.schemas import name

# Ids of a block differ in so many lowest bits. Ids are given one after another, so that a block is seldom sparse.
BLOCK_BITS = 20
_BLOCK_IDS = 1 << BLOCK_BITS
# How the server sends an array of one dimension: a header of five int4, then each element behind its length.
_ARRAY_HEADER = 20
_SENT_ID = np.dtype([("length", ">i4"), ("id", ">i8")])


@dataclass(frozen=True, kw_only=True)
class IdSet:
    """Ids that differ from each other."""

    blocks: dict[int, NDArray[np.uint8]]  # by the ids' upper bits: a bit for each id that the block may hold, packed
    size: int


def read_id_set(connection: Connection, schema: str, table: str, column: str) -> IdSet:
    """Read the ids of a table, a block at a time: single rows are slow to read, all at once need memory for all.

    Args:
        column: Holds a bigint that differs in all rows.
    """
    query = sql.SQL("SELECT {0} >> {1}, array_send(array_agg({0})) FROM {2} GROUP BY 1")
    blocks: dict[int, NDArray[np.uint8]] = {}
    size = 0
    with connection.cursor(binary=True) as cursor:
        for block, array in cursor.stream(query.format(sql.Identifier(column), sql.Literal(BLOCK_BITS), name(schema, table))):
            ids = np.frombuffer(array, dtype=_SENT_ID, offset=_ARRAY_HEADER)["id"]
            is_held = np.zeros(_BLOCK_IDS, dtype=np.bool_)
            is_held[ids & (_BLOCK_IDS - 1)] = True
            blocks[block] = np.packbits(is_held)
            size += len(ids)
    return IdSet(blocks=blocks, size=size)


def count_by_sets(rows: IdSet, sets: Sequence[IdSet]) -> Counter[int]:
    """Count rows by the sets that hold their ids.

    Returns:
        Rows by a number whose nth bit says whether the nth set holds them.
    """
    found: Counter[int] = Counter()
    for block, packed in rows.blocks.items():
        numbers = np.zeros(_BLOCK_IDS, dtype=np.int64)
        for place, one in enumerate(sets):
            if block in one.blocks:
                numbers |= np.unpackbits(one.blocks[block]).astype(np.int64) << place
        counts = np.bincount(numbers[np.unpackbits(packed).view(np.bool_)])
        found.update({number: count for number, count in enumerate(counts.tolist()) if count})
    return found
