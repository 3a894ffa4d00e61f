"""What a run cannot go below: the files read once, every record hashed, the same bytes COPYed into typed tables.

Belongs here: these three, each in the least that it takes, and hashing as it is without a compiled loop, which is what a run was first
measured by. Does not: the product's way of doing them.

`python -m benchmarks.floors read|hash|hash_in_python FOLDER` and `... copy FOLDER URL` print the seconds, without the start of Python.
"""

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from omop_inc.sampling.rows import shape_of
from omop_inc.source.hashing import FOLDS, hash_lines
from omop_inc.source.lines import Layout, Piece, layout_of, plain_batch
from omop_inc.source.snapshot import SourceFile, open_snapshot, read_blocks
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.staging import SQL_TYPES

READ_BYTES = 1 << 20
HASH_BYTES = 1 << 20
# Large files are parted, so that all cores have work to the end.
RANGE_BYTES = 32 << 20
SCHEMA = "floor"
HASH_IN_PYTHON = "hash_in_python"


@dataclass(frozen=True, kw_only=True)
class Range:
    """Some lines of a file."""

    file: SourceFile
    start: int  # first byte, at the start of a line
    end: int


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_once(folder: Path) -> float:
    """Read every byte once, one file after another.

    Returns:
        Seconds.
    """
    files = list(open_snapshot(folder, unknown_columns="ignore").files.values())
    start = time.perf_counter()
    buffer = bytearray(READ_BYTES)
    for file in files:
        with file.path.open("rb", buffering=0) as stream:
            while stream.readinto(buffer):
                pass
    return time.perf_counter() - start


def hash_once(folder: Path) -> float:
    """Hash the significant columns of every record, on all cores.

    Returns:
        Seconds, without compiling the loops.
    """
    return _hash_with(ThreadPoolExecutor(cores()), folder, _hash_compiled)


def hash_in_python_once(folder: Path) -> float:
    """Hash the significant columns of every record without a compiled loop, a process a core.

    Returns:
        Seconds, without the start of the processes.
    """
    return _hash_with(ProcessPoolExecutor(cores(), mp_context=get_context("spawn")), folder, _hash_interpreted)


def _hash_with(pool: Executor, folder: Path, count: Callable[[bytes, Layout], int]) -> float:
    ranges = sorted(_ranges(folder), key=lambda one: one.start - one.end)
    hash_range = partial(_hash_range, count)
    with pool:
        list(pool.map(hash_range, ranges[-1:] * cores()))  # the smallest: modules and compiled loops are there then
        start = time.perf_counter()
        hashed = sum(pool.map(hash_range, ranges))
        seconds = time.perf_counter() - start
    if not hashed:
        raise ValueError("nothing was hashed")
    return seconds


def hash_in_python(data: bytes, layout: Layout) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """Cut plain lines with numpy and slices, and hash line by line: the fastest found without a compiled loop."""
    if layout.is_identity:
        return hash_lines(data.split(b"\n")[:-1])
    array = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero((array == ord(",")) | (array == ord("\n"))).reshape(-1, layout.width)
    columns = [_slice(data, ends, piece) for piece in layout.pieces]
    return hash_lines(list(map(b",".join, zip(*columns, strict=False))))


def _slice(data: bytes, ends: np.ndarray[Any, np.dtype[np.int64]], piece: Piece) -> Iterable[bytes]:
    """Cut a run of neighbouring fields out of every line, given where each field ends."""
    first, last, fold = piece
    if first < 0:
        return repeat(b"," * (last - 1))
    starts = ends[:, first - 1] + 1 if first else np.concatenate(([0], ends[:-1, -1] + 1))
    fields = [data[start:end] for start, end in zip(starts.tolist(), ends[:, last].tolist(), strict=True)]
    return map(FOLDS[fold], fields) if fold else fields


def copy_once(folder: Path, url: str) -> float:
    """COPY every byte into typed, logged tables without indexes, one connection a core.

    Returns:
        Seconds.
    """
    files = list(open_snapshot(folder, unknown_columns="ignore").files.values())
    plain = {file.table: _is_plain(file) for file in files}
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(SCHEMA)))
        for file in files:
            connection.execute(_table(file))
    pool: Executor = ThreadPoolExecutor(cores())
    start = time.perf_counter()
    with pool:
        list(pool.map(lambda file: _copy(url, file, is_plain=plain[file.table]), sorted(files, key=lambda file: -file.identity[2])))
    return time.perf_counter() - start


def _ranges(folder: Path) -> Iterator[Range]:
    for file in open_snapshot(folder, unknown_columns="ignore").files.values():
        if file.is_compressed:
            raise ValueError("floors are measured on plain files")
        with file.path.open("rb") as stream:
            stream.readline()
            start, size = stream.tell(), file.identity[2]
            while start < size:
                stream.seek(min(size, start + RANGE_BYTES))
                stream.readline()
                yield Range(file=file, start=start, end=stream.tell())
                start = stream.tell()


def _hash_compiled(lines: bytes, layout: Layout) -> int:
    batch = plain_batch(lines, layout, 0)
    return 0 if batch is None else len(batch)


def _hash_interpreted(lines: bytes, layout: Layout) -> int:
    return 0 if b'"' in lines or b"\r" in lines else len(hash_in_python(lines, layout))


def _hash_range(count: Callable[[bytes, Layout], int], one: Range) -> int:
    """Hash the plain lines of a range.

    Returns:
        How many there were; blocks with quotes are left out, for this is a floor.
    """
    layout = layout_of(SOURCE_TABLES[one.file.table], one.file.header)
    hashed, rest, left = 0, b"", one.end - one.start
    with one.file.path.open("rb", buffering=0) as stream:
        stream.seek(one.start)
        while block := stream.read(min(HASH_BYTES, left)):
            left -= len(block)
            cut = block.rfind(b"\n") + 1
            hashed += count(rest + block[:cut], layout)
            rest = block[cut:]
    return hashed


def _is_plain(file: SourceFile) -> bool:
    """Whether COPY's cheaper text format reads the file as it stands."""
    return not any(mark in block for block in read_blocks(file) for mark in (b'"', b"\\", b"\r"))


def _table(file: SourceFile) -> sql.Composed:
    """A typed table of all columns of a file, in its order; a folded or unknown one is text."""
    types = {column.staged: "text" if column.fold else SQL_TYPES[column.type] for column in SOURCE_TABLES[file.table].columns}
    known = {place: name for name, place in shape_of(file).at.items()}
    columns = [
        sql.SQL("{} {}").format(sql.Identifier(name.lower()), sql.SQL(types.get(known.get(place, ""), "text")))
        for place, name in enumerate(file.header.names)
    ]
    return sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(SCHEMA, file.table), sql.SQL(", ").join(columns))


def _copy(url: str, file: SourceFile, *, is_plain: bool) -> None:
    form = "FORMAT text, DELIMITER ',', NULL ''" if is_plain else "FORMAT csv"
    statement = sql.SQL("COPY {} FROM STDIN (" + form + ")").format(sql.Identifier(SCHEMA, file.table))
    with psycopg.connect(url) as connection, connection.cursor() as cursor, cursor.copy(statement) as copy, file.path.open("rb") as stream:
        stream.readline()
        while block := stream.read(READ_BYTES):
            copy.write(block)


if __name__ == "__main__":
    kind, where = sys.argv[1], Path(sys.argv[2])
    match kind:
        case "read":
            print(read_once(where))
        case "hash":
            print(hash_once(where))
        case kind if kind == HASH_IN_PYTHON:
            print(hash_in_python_once(where))
        case "copy":
            print(copy_once(where, sys.argv[3]))
