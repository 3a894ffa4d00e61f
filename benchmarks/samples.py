"""One sample: the product run once in a process of its own, with everything that it took.

Belongs here: starting the product, checking that it did what it should, reading its own timings. Does not: which
snapshot on which database (scenarios.py).
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.place import Made
from benchmarks.server import Server
from benchmarks.watching import Ended, run_watched

# Steps that read files and compare; what follows is the database's part.
DETECTION = ("open", "detect")


class BenchError(Exception):
    """A sample did not go as it should; its figures would mean nothing."""


@dataclass(kw_only=True)
class Sample:
    """One run's figures."""

    wall_s: float  # of the process, Python's start and imports included
    inside_s: float  # of the run, as its summary tells
    database_s: float  # of that, behind the detection
    cpu_s: float
    server_cpu_s: float
    peak_client_bytes: int
    peak_server_bytes: int  # the backends' own memory, without the shared buffers
    read_bytes: int
    wal_bytes: int
    temp_bytes: int
    rows: int  # read
    delta_rows: int  # new, changed or removed
    size_bytes: int  # of the snapshot
    floor_s: float | None = None
    phases: dict[str, float] = field(default_factory=dict)  # per step, from its first begin to its last end
    extra: dict[str, float] = field(default_factory=dict)  # what one scenario alone measures

    @classmethod
    def of_seconds(cls, seconds: float, size_bytes: int) -> "Sample":
        """A sample of something that is no run: its time is all there is."""
        return cls(
            wall_s=seconds,
            inside_s=seconds,
            database_s=seconds,
            cpu_s=0.0,
            server_cpu_s=0.0,
            peak_client_bytes=0,
            peak_server_bytes=0,
            read_bytes=0,
            wal_bytes=0,
            temp_bytes=0,
            rows=0,
            delta_rows=0,
            size_bytes=size_bytes,
        )

    def as_json(self) -> dict[str, Any]:
        """The sample as it is kept."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}


def environment(home: Path, url: str, **settings: str) -> dict[str, str]:
    """The environment of a run: the caller's settings of the product, the database and Prefect do not count."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMOP_INC_", "PG", "PREFECT_"))}
    return {**kept, "OMOP_INC_STATE_DIR": str(home), "OMOP_INC_DATABASE_URL": url, "PYTHONUNBUFFERED": "1", **settings}


def measure(
    server: Server,
    database: str,
    source: Made,
    home: Path,
    *,
    words: Sequence[str] = ("-m", "omop_inc", "run"),
    options: Sequence[str] = (),
    expected: str = "applied",
    settings: dict[str, str] | None = None,
) -> Sample:
    """Run the product on a snapshot.

    Args:
        server: Where the database is.
        database: Its name.
        source: The snapshot.
        home: The benchmarks' folder, where the product keeps its cache.
        words: What Python is told to run.
        options: Of the command.
        expected: How the run must end.
        settings: Environment variables beside.

    Raises:
        BenchError: If the run ends otherwise, or finds another difference than there is.
    """
    file = home / "summary.json"
    file.unlink(missing_ok=True)
    url = server.url(database)
    command = [sys.executable, *words, str(source.folder), "--json", str(file), *options]
    before = server.counters(database)
    ended = run_watched(command, environment(home, url, **(settings or {})), server.pid)
    after = server.counters(database)
    summary = _summary(file, ended, expected)
    counts = summary["source_tables"].values()
    found = tuple(sum(count[kind] for count in counts) for kind in ("new", "changed", "removed"))
    if source.people and found != (source.new, source.changed, source.removed):
        raise BenchError(f"The run found {found} rows new, changed and removed; expected {(source.new, source.changed, source.removed)}.")
    phases, database_s = _phases(url, summary)
    return Sample(
        wall_s=ended.wall_s,
        inside_s=summary["duration_s"],
        database_s=database_s,
        cpu_s=ended.cpu_s,
        server_cpu_s=ended.server.cpu_s if ended.server else 0.0,
        peak_client_bytes=ended.client.peak_bytes,
        peak_server_bytes=ended.server.peak_bytes if ended.server else 0,
        read_bytes=ended.client.read_bytes,
        wal_bytes=after.wal_bytes - before.wal_bytes,
        temp_bytes=after.temp_bytes - before.temp_bytes,
        rows=sum(count["read"] for count in counts),
        delta_rows=sum(found),
        size_bytes=source.size_bytes,
        phases=phases,
    )


def floor_seconds(kind: str, folder: Path, server: Server) -> float:
    """Measure a floor in a process of its own: read, hash, or copy (with a database that is dropped again)."""
    command = [sys.executable, "-m", "benchmarks.floors", kind, str(folder)]
    if kind != "copy":
        return _seconds(command)
    with server.fresh("bench_floor") as url:
        return _seconds([*command, url])


def _seconds(command: list[str]) -> float:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise BenchError(f"A floor could not be measured:\n{done.stderr[-2000:]}")
    return float(done.stdout)


def _summary(file: Path, ended: Ended, expected: str) -> dict[str, Any]:
    if not file.is_file():
        raise BenchError(f"The run ended with code {ended.code} and without a summary:\n{ended.output[-2000:]}")
    summary: dict[str, Any] = json.loads(file.read_text())
    if summary["status"] != expected:
        raise BenchError(f"The run ended as {summary['status']}, expected {expected}: {summary['message']}")
    return summary


def _phases(url: str, summary: dict[str, Any]) -> tuple[dict[str, float], float]:
    """Give how long each step was under way, tables side by side, and the part of the run behind the detection."""
    query = (
        "SELECT step, extract(epoch FROM min(started_at)), extract(epoch FROM max(started_at + duration_s * interval '1 s'))"
        " FROM cdm_ledger.step_timing WHERE run_id = %s GROUP BY step ORDER BY 2"
    )
    with psycopg.connect(url) as connection:
        rows = [(str(step), float(start), float(end)) for step, start, end in connection.execute(query, (summary["run_id"],))]
    phases = {step: end - start for step, start, end in rows}
    start = min((start for _, start, _ in rows), default=0.0)
    detected = max((end for step, _, end in rows if step in DETECTION), default=start)
    return phases, summary["duration_s"] - (detected - start)
