"""A sample of loading the vocabulary, and its floor.

Belongs here: what differs from a run, which has a summary. Does not: runs (samples.py).
"""

import sys
import time
from pathlib import Path

import psycopg
from psycopg import sql

from benchmarks.samples import BenchError, Sample, environment
from benchmarks.server import Server
from benchmarks.watching import run_watched

COPY_BYTES = 1 << 20
FLOOR = "bench_floor"


def measure_vocabulary(server: Server, database: str, folder: Path, home: Path) -> Sample:
    """Load the vocabulary of an Athena folder in a process of its own; that process is all there is to time."""
    files = sorted(folder.glob("*.csv"))
    floor_s = _copy_once(server, files)
    before = server.counters(database)
    command = [sys.executable, "-m", "omop_inc", "vocabulary", str(folder)]
    ended = run_watched(command, environment(home, server.url(database)), server.pid)
    if ended.code:
        raise BenchError(f"Loading the vocabulary ended with code {ended.code}:\n{ended.output[-2000:]}")
    after = server.counters(database)
    size = sum(path.stat().st_size for path in files)
    return Sample(
        wall_s=ended.wall_s,
        inside_s=ended.wall_s,
        database_s=ended.wall_s,
        cpu_s=ended.cpu_s,
        server_cpu_s=ended.server.cpu_s if ended.server else 0.0,
        peak_client_bytes=ended.client.peak_bytes,
        peak_server_bytes=ended.server.peak_bytes if ended.server else 0,
        read_bytes=ended.client.read_bytes,
        wal_bytes=after.wal_bytes - before.wal_bytes,
        temp_bytes=after.temp_bytes - before.temp_bytes,
        rows=sum(path.read_bytes().count(b"\n") - 1 for path in files),
        delta_rows=0,
        size_bytes=size,
        floor_s=floor_s,
    )


def _copy_once(server: Server, files: list[Path]) -> float:
    """COPY every byte into tables of text."""
    with server.fresh(FLOOR) as url, psycopg.connect(url) as connection, connection.cursor() as cursor:
        start = time.perf_counter()
        for path in files:
            with path.open("rb") as stream:
                columns = stream.readline().decode().strip().lower().split("\t")
                table = sql.Identifier(path.stem.lower())
                listed = sql.SQL(", ").join(sql.SQL("{} text").format(sql.Identifier(column)) for column in columns)
                cursor.execute(sql.SQL("CREATE TABLE {} ({})").format(table, listed))
                with cursor.copy(sql.SQL("COPY {} FROM STDIN").format(table)) as copy:
                    while block := stream.read(COPY_BYTES):
                        copy.write(block)
        connection.commit()
        return time.perf_counter() - start
