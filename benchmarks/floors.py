"""What a run cannot go below: the files read once, every record hashed, the same bytes COPYed into typed tables.

Belongs here: these three, each in the least that it takes. Does not: the product's way of doing them.

`python -m benchmarks.floors read|hash FOLDER` and `... copy FOLDER URL` print the seconds, without the start of Python.
"""

import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from omop_inc.sampling.rows import shape_of
from omop_inc.source.lines import layout_of, plain_batch
from omop_inc.source.snapshot import SourceFile, open_snapshot, read_blocks
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.staging import SQL_TYPES

READ_BYTES = 1 << 20
HASH_BYTES = 1 << 20
# Large files are parted, so that all cores have work to the end.
RANGE_BYTES = 32 << 20
SCHEMA = "floor"


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
    ranges = sorted(_ranges(folder), key=lambda one: one.start - one.end)
    _hash_range(ranges[-1])  # the smallest: the compiled loops are there then
    with ThreadPoolExecutor(cores()) as pool:
        start = time.perf_counter()
        hashed = sum(pool.map(_hash_range, ranges))
        seconds = time.perf_counter() - start
    if not hashed:
        raise ValueError("nothing was hashed")
    return seconds


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


def _hash_range(one: Range) -> int:
    """Hash the plain lines of a range.

    Returns:
        How many there were; lines with quotes are left out, for this is a floor.
    """
    layout = layout_of(SOURCE_TABLES[one.file.table], one.file.header)
    count, rest, left = 0, b"", one.end - one.start
    with one.file.path.open("rb", buffering=0) as stream:
        stream.seek(one.start)
        while block := stream.read(min(HASH_BYTES, left)):
            left -= len(block)
            cut = block.rfind(b"\n") + 1
            batch = plain_batch(rest + block[:cut], layout, 0)
            rest = block[cut:]
            if batch is not None:
                count += len(batch)
    return count


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
        case "copy":
            print(copy_once(where, sys.argv[3]))
