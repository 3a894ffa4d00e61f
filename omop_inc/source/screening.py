"""Which records of a chunk hold a value that may not be staged: seen at once of plain ones, else told by pandera.

Belongs here: when a chunk needs pandera. Does not: the rules and what a failure is (validation.py), which are pandera's alone.

A compiled loop reads each value as the server's COPY would have it. What it can read, every rule allows: it knows fewer spellings than
the rules do, so that it may doubt what is valid, and never passes what is not. A chunk of which it doubts anything is pandera's. Of
3.4 million plain records it takes 0.85 s, pandera over the distinct values of each column took 4.5 s.
"""

from functools import cache
from typing import TYPE_CHECKING

from omop_inc.source.records import Chunk
from omop_inc.source.tables import SOURCE_TABLES, Column

if TYPE_CHECKING:
    from omop_inc.source.validation import Failure

MAX_TEXT_BYTES = 1_000_000


def failures_of(chunk: Chunk, table: str) -> "list[Failure]":
    """Check a chunk of a source table; every failure of every record, ordered by record, column and rule.

    Raises:
        SettingsError: If pandera is needed and switched off in the environment.
    """
    if is_seen_valid(chunk, table):
        return []
    from omop_inc.source.validation import failures  # plain records do without pandera and polars

    return failures(chunk.frame, table)


def is_seen_valid(chunk: Chunk, table: str) -> bool:
    """Whether the compiled loop sees that every value of a chunk may be staged."""
    from omop_inc.compiled import are_plain

    canonical = chunk.canonical
    return chunk.is_plain and canonical.longest <= MAX_TEXT_BYTES and are_plain(canonical.data, canonical.ends, _kinds(table))


@cache
def _kinds(table: str) -> bytes:
    """What the loop looks for in each column."""
    return bytes(map(_kind, SOURCE_TABLES[table].significant))


def _kind(column: Column) -> int:
    from omop_inc.compiled import KINDS, REQUIRED, UNREAD

    return (UNREAD if column.type == "text" else KINDS[column.type]) | (0 if column.nullable else REQUIRED)
