"""Detect what differs between a snapshot and the committed state, file by file.

Belongs here: the funnel of one file (digest, hashes, multiset difference), the snapshot's digest. Does not: hashing
itself (source/hashing.py) and the state's format (store/state.py).
"""

import dataclasses
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_128

from omop_inc.process import release_heap
from omop_inc.runs.conductor import After
from omop_inc.runs.context import Run
from omop_inc.runs.scaffold import ready_scaffold
from omop_inc.source.deltas import Delta64, Multiset, compare_ranges, select_new
from omop_inc.source.digests import FileDigest, digest_file, join_digests, may_have
from omop_inc.source.parts import split_file
from omop_inc.source.records import Hashes, Places, check_count, hash_records, join_hashes
from omop_inc.source.snapshot import Snapshot, SourceFile
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.state import TableState, read_ranges

Hashes128 = NDArray[np.uint64]
# Rows of all tables that are worked on at a time, but for one that has more by itself. A row's hash takes 8 bytes, what is known of it in a
# reload 13: 130 and 210 MB. A reload of 10 GB, two tables of which have 13 million rows, took 490 MB without.
MOST_ROWS = 16_000_000
# Rows of a table behind which what all threads have let go goes back to the system: 333 MB for a day of 10 GB instead of 357.
MANY_ROWS = 4_000_000
_NONE = Multiset(values=np.empty(0, dtype=np.uint64), counts=np.empty(0, dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a snapshot holds of one source table, against what the last run saw."""

    table: str
    file: SourceFile | None
    before: TableState
    digest: bytes | None
    rows: int  # records of the file
    hash_sum: int  # of the file's records
    hashes: Hashes128 | None = None  # (n, 2) in file order, in append mode alone; None where the file is as it was
    wanted: NDArray[np.bool_] | None = None  # which records are new, in file order; None if none is
    places: Places | None = None  # of the blocks of a plain file without quotes
    delta: Delta64 | None = None  # None where the file is as it was

    @property
    def is_changed(self) -> bool:
        """Whether any row came or went."""
        return self.delta is not None and bool(self.delta.new.total or self.delta.removed.total)


def largest_first(seen: dict[str, Seen]) -> list[str]:
    """The tables by falling file size, so that the last thread to end ends early."""
    sizes = {t: one.file.path.stat().st_size if one.file else 0 for t, one in seen.items()}
    return sorted(sizes, key=lambda t: -sizes[t])


def one_by_one(rows: Mapping[str, int], workers: int) -> After:
    """What large tables must wait for, lest what is held of all their rows takes too much memory at a time: each for the next larger one.

    Args:
        rows: By table, as many as the last run saw.
        workers: How many tables may be worked on at a time.
    """
    large = sorted((table for table, count in rows.items() if count > MOST_ROWS // workers), key=lambda table: -rows[table])
    return {table: {larger} for larger, table in pairwise(large)}


def detect(run: Run, snapshot: Snapshot, states: dict[str, TableState]) -> dict[str, Seen]:
    """Compare every file of a snapshot with the state; files that are as they were are read once and not hashed."""

    def work(table: str) -> Seen:
        with run.recorder.step("detect", table) as counts:
            seen = detect_file(run, pool, table, snapshot.files.get(table), states.get(table, TableState()))
            counts.rows_in = seen.rows
            if seen.delta is not None:
                counts.rows_new, counts.rows_removed = seen.delta.new.total, seen.delta.removed.total
        return seen

    largest = sorted(SOURCE_TABLES, key=lambda table: -snapshot.files[table].identity[2] if table in snapshot.files else 0)
    with ThreadPoolExecutor(run.settings.workers, thread_name_prefix="hash") as pool:
        after = one_by_one({table: state.rows for table, state in states.items()}, run.settings.workers)
        seen = run.each("detect", largest, work, after)
    return {table: seen[table] for table in SOURCE_TABLES}


def detect_file(run: Run, pool: Executor, table: str, file: SourceFile | None, before: TableState) -> Seen:
    """The funnel of one file."""
    keeps = run.settings.mode == "append"
    if file is None or file.is_empty:
        return _absent(run, table, file, before, keeps=keeps)
    may_be_same = may_have(file, before.file_digest) and "file_digests" not in run.settings.without
    # A file of another size is digested while it is hashed, unless the manifest's digest is to be seen first.
    digest = digest_file(file) if may_be_same or file.expected_sha256 is not None else None
    if may_be_same and digest is not None and digest.digest == before.file_digest:
        return Seen(table=table, file=file, before=before, digest=digest.digest, rows=before.rows, hash_sum=before.hash_sum)
    run.ahead.begin(lambda: ready_scaffold(run))
    found, digest = _hash_file(file, pool, digest, is_half=not keeps)
    if len(found.blocks) >= MANY_ROWS:
        release_heap()
    high = found.hashes[:, 0] if keeps else found.hashes
    with run.database.connection() as connection:
        delta = compare_ranges(high, read_ranges(connection, run.schemas, table))
    if keeps:
        delta = dataclasses.replace(delta, removed=_NONE)
    if len(high) >= MANY_ROWS:
        release_heap()
    return Seen(
        table=table,
        file=file,
        before=before,
        digest=digest.digest,
        rows=len(found.hashes),
        hash_sum=found.hash_sum,
        hashes=found.hashes if keeps else None,
        wanted=select_new(high, delta.new) if delta.new.total else None,
        places=None if digest.has_quotes or file.is_compressed else found.places,
        delta=delta,
    )


def _hash_file(file: SourceFile, pool: Executor, digest: FileDigest | None, *, is_half: bool) -> tuple[Hashes, FileDigest]:
    """Hash every record of a file, in parts side by side if it holds no quote, and digest it by the way."""
    parts = split_file(file)
    if len(parts) > 1 and not (digest and digest.has_quotes):
        found = join_hashes(list(pool.map(partial(hash_records, file, is_half=is_half), parts)))
        digest = join_digests(found.digests)
        if not digest.has_quotes:
            check_count(file, len(found.blocks))
            return found, digest
    found = hash_records(file, is_half=is_half)
    return found, digest or join_digests(found.digests)


def _absent(run: Run, table: str, file: SourceFile | None, before: TableState, *, keeps: bool) -> Seen:
    """A table without a file: all its rows went, if it had any."""
    seen = Seen(table=table, file=file, before=before, digest=None, rows=0, hash_sum=0)
    if keeps or not before.rows:
        return seen
    with run.database.connection() as connection:
        delta = compare_ranges(np.empty(0, dtype=np.uint64), read_ranges(connection, run.schemas, table))
    return dataclasses.replace(seen, delta=delta)


def digest_snapshot(rows: dict[str, tuple[int, int]]) -> str:
    """The digest of a snapshot's content: of each table's rows and order-free hash sum.

    Order of rows and columns, line ends, compression and file times do not change it; an absent file is an empty one.
    """
    digest = xxh3_128()
    for table in sorted(rows):
        count, hash_sum = rows[table]
        if count:
            digest.update(f"{table}:{count}:{hash_sum:032x}\n".encode())
    return digest.hexdigest()
