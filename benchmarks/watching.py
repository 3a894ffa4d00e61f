"""Run a program and watch what it takes: time, processor, memory and bytes, its children's included.

Belongs here: processes and /proc. Does not: what is run (scenarios.py), the database's counters (server.py).
"""

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROC = Path("/proc")
# Peaks of a run last longer than this; looking costs about a millisecond.
LOOK_EVERY_S = 0.03
# What processes hold is counted page by page, some milliseconds each, when they grew by this factor since.
GROWTH = 1.01
MB = 1 << 20


@dataclass(kw_only=True)
class Used:
    """What some processes took together."""

    peak_bytes: int = 0  # at one time; where /proc is missing, of the largest process alone
    cpu_s: float = 0.0
    read_bytes: int = 0  # through read calls, from files and sockets
    _resident: int = 0  # most so far, shared pages counted in each process
    _cpu: dict[int, float] = field(default_factory=dict)
    _cpu_before: dict[int, float] = field(default_factory=dict)
    _read: dict[int, int] = field(default_factory=dict)

    def look(self, pids: Sequence[int], *, private: bool) -> None:
        """Note what the processes hold at this moment; `private` without what they share with others, such as the server's buffers."""
        resident = 0
        for pid in pids:
            resident += _kilobytes(pid, "status", "RssAnon:" if private else "VmRSS:")
            self._cpu[pid] = max(self._cpu.get(pid, 0.0), _cpu_s(pid))
            self._read[pid] = max(self._read.get(pid, 0), _read_bytes(pid))
        if private:
            self.peak_bytes = max(self.peak_bytes, resident)
        elif resident > self._resident * GROWTH:
            self._resident = resident
            self.peak_bytes = max(self.peak_bytes, sum(map(_share, pids)))
        self.cpu_s = sum(spent - self._cpu_before.get(pid, 0.0) for pid, spent in self._cpu.items())
        self.read_bytes = sum(self._read.values())

    def begin(self, pids: Sequence[int]) -> None:
        """Count from now on for processes that were there before."""
        self._cpu_before = {pid: _cpu_s(pid) for pid in pids}


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a program went."""

    code: int
    wall_s: float
    cpu_s: float  # of the program and the children that it waited for
    client: Used
    server: Used | None
    output: str  # both streams


def run_watched(command: Sequence[str], environment: Mapping[str, str], server_pid: int | None = None) -> Ended:
    """Run a program to its end and watch it, and the server that it works with.

    Args:
        command: Its words.
        environment: The whole of its environment.
        server_pid: Of the PostgreSQL server's first process.
    """
    client, server = Used(), Used() if server_pid is not None else None
    if server is not None and server_pid is not None:
        server.begin([server_pid, *descendants(server_pid)])
    ended = threading.Event()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    process = subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    watcher = threading.Thread(target=_watch, args=(process.pid, server_pid, client, server, ended))
    watcher.start()
    try:
        output, _ = process.communicate()
        wall_s = time.perf_counter() - start
    except BaseException:  # Ctrl-C: the program got it too, and must end before its database is dropped
        process.wait()
        raise
    finally:
        ended.set()
        watcher.join()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if not PROC.is_dir():
        client.peak_bytes = after.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return Ended(
        code=process.returncode,
        wall_s=wall_s,
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        client=client,
        server=server,
        output=output.decode(errors="replace"),
    )


def _watch(pid: int, server_pid: int | None, client: Used, server: Used | None, ended: threading.Event) -> None:
    while not ended.wait(LOOK_EVERY_S):
        client.look([pid, *descendants(pid)], private=False)
        if server is not None and server_pid is not None:
            server.look([server_pid, *descendants(server_pid)], private=True)


def descendants(pid: int) -> list[int]:
    """Give the processes below a process; none where there is no /proc."""
    found: list[int] = []
    for child in _children(pid):
        found += [child, *descendants(child)]
    return found


def _children(pid: int) -> Iterator[int]:
    try:
        for task in os.scandir(PROC / str(pid) / "task"):
            yield from map(int, Path(task.path, "children").read_text().split())
    except OSError:
        return


def _share(pid: int) -> int:
    """A process's memory, of pages that it shares its part: polars alone is 60 MB of them, and the sum is to hold it once."""
    return _kilobytes(pid, "smaps_rollup", "Pss:") or _kilobytes(pid, "status", "VmRSS:")


def _kilobytes(pid: int, name: str, field_name: str) -> int:
    return next((int(line.split()[1]) * 1024 for line in _lines(pid, name) if line.startswith(field_name)), 0)


def _cpu_s(pid: int) -> float:
    for line in _lines(pid, "stat"):
        words = line.rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


def _read_bytes(pid: int) -> int:
    for line in _lines(pid, "io"):
        if line.startswith("rchar:"):
            return int(line.split()[1])
    return 0


def _lines(pid: int, name: str) -> list[str]:
    try:
        return (PROC / str(pid) / name).read_text().splitlines()
    except OSError:
        return []
