"""The embedded server's configuration, fitted to the machine it runs on.

Belongs here: measuring the machine, and each server setting with its reason. Does not: starting anything (embedded.py).
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

MB = 1024 * 1024
GB = 1024 * MB

# A quarter of the memory is PostgreSQL's own advice; beyond 4 GB our working set (a snapshot of 1 GB is 3 GB here) gains
# nothing, and Python's share of a run needs memory as well.
SHARED_BUFFERS_SHARE, SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX = 1 / 4, 64 * MB, 4 * GB
# What the planner believes the operating system caches: the rest of the memory, less what runs take.
CACHE_SHARE = 6 / 10
# Per sort or hash, some per connection, one connection a core: 1/64 keeps the worst case near half of the memory.
WORK_MEM_SHARE, WORK_MEM_MIN, WORK_MEM_MAX = 1 / 64, 8 * MB, 256 * MB
# Index builds of a full load run one per connection; above 1 GB they do not get faster.
MAINTENANCE_SHARE, MAINTENANCE_MIN, MAINTENANCE_MAX = 1 / 16, 64 * MB, 1 * GB
# Transforms already run side by side, one a core; a query alone may still use half of the cores.
GATHER_SHARE, GATHER_MAX = 1 / 2, 4
# Below this the default POSIX segments of parallel queries fail in containers ("could not resize shared memory segment").
SHM_NEEDED = 1 * GB

FIXED = {
    # Only programs of this machine, over TCP with a password; no socket file whose path may be too long or open to others.
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "ssl": "off",
    # The publishing transaction is the truth of a run: measured, synchronous_commit = off lost a committed table after kill -9.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # Scattered persons are read by index; at 4 the planner scans whole tables (1.1 s instead of 0.2 s at 1 % of the persons).
    "random_page_cost": "1.1",
    # A full load of 1 GB writes some 3 GB of WAL: with 1 GB it would wait for checkpoints in its middle.
    "max_wal_size": "4GB",
    "min_wal_size": "256MB",
    "checkpoint_timeout": "15min",
    "checkpoint_completion_target": "0.9",
    # Nobody replicates it: tables that are filled and indexes that are built in the transaction that makes them are then written
    # once, to their own files, instead of twice.
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # "on" is pglz, which every build has; the wheels are built without lz4 (measured: they refuse to start with it).
    "wal_compression": "on",
    # Compiling took longer than our short queries run, and the wheels have no LLVM: the same plans everywhere.
    "jit": "off",
    # Error messages quote cell values in their DETAIL, CONTEXT and STATEMENT lines: none of these reaches the log.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_line_prefix": "%m [%p] %a ",
    # Feeds the timings' database metrics; costs under 1 % where the clock is cheap.
    "track_io_timing": "on",
    # Dates are never moved through local time.
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "ISO, YMD",
    "lc_messages": "C",
}
# A killed client's statement went on and committed without it; with it the backend ended in 0.4 s. Needs Linux.
CLIENT_CHECK = "500ms"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the server may use."""

    memory_bytes: int  # of the machine or of its control group, whichever is less
    cores: int  # that this process may run on
    shm_bytes: int  # size of /dev/shm; 0 where there is none
    is_linux: bool


def read_machine(cgroup_root: Path = Path("/sys/fs/cgroup"), proc: Path = Path("/proc")) -> Machine:
    """Measure the machine; limits of containers (control groups 1 and 2) count."""
    shm = Path("/dev/shm")
    return Machine(
        memory_bytes=min([_physical_memory(), *_memory_limits(cgroup_root, proc)]),
        cores=max(1, min([_usable_cores(), *_core_limits(cgroup_root, proc)])),
        shm_bytes=shutil.disk_usage(shm).total if shm.is_dir() else 0,
        is_linux=sys.platform == "linux",
    )


def server_settings(machine: Machine, port: int) -> dict[str, str]:
    """Every setting of the server's configuration, by name."""
    memory = machine.memory_bytes
    settings = {
        "port": str(port),
        **FIXED,
        "shared_buffers": _size(memory * SHARED_BUFFERS_SHARE, SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX),
        "effective_cache_size": _size(memory * CACHE_SHARE, SHARED_BUFFERS_MIN, memory),
        "work_mem": _size(memory * WORK_MEM_SHARE, WORK_MEM_MIN, WORK_MEM_MAX),
        "maintenance_work_mem": _size(memory * MAINTENANCE_SHARE, MAINTENANCE_MIN, MAINTENANCE_MAX),
        "max_worker_processes": str(max(8, machine.cores)),
        "max_parallel_workers": str(machine.cores),
        "max_parallel_workers_per_gather": str(min(GATHER_MAX, int(machine.cores * GATHER_SHARE))),
    }
    if machine.is_linux:
        settings["client_connection_check_interval"] = CLIENT_CHECK
        settings["dynamic_shared_memory_type"] = "posix" if machine.shm_bytes >= SHM_NEEDED else "sysv"
    return settings


def render(settings: dict[str, str]) -> str:
    """The text of the configuration file."""
    lines = [f"{name} = '{value}'" for name, value in settings.items()]
    return "\n".join(["# Written anew at every start by omop_inc; changes here are lost (ALTER SYSTEM keeps them).", *lines, ""])


def _size(wanted: float, least: int, most: int) -> str:
    return f"{max(least, min(most, int(wanted))) // MB}MB"


def _physical_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_limits(root: Path, proc: Path) -> list[int]:
    found = [_number(path / name) for path in _groups(root, proc, "memory") for name in ("memory.max", "memory.limit_in_bytes")]
    return [value for value in found if value is not None]


def _core_limits(root: Path, proc: Path) -> list[int]:
    limits = []
    for path in _groups(root, proc, "cpu"):
        words = _words(path / "cpu.max") or [*_words(path / "cpu.cfs_quota_us"), *_words(path / "cpu.cfs_period_us")]
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit() and int(words[1]):
            limits.append(max(1, int(words[0]) // int(words[1])))
    return limits


def _groups(root: Path, proc: Path, controller: str) -> list[Path]:
    """The folders of this process's control group and all above it, for version 2 and for version 1."""
    folders = {root, root / controller}
    for line in _lines(proc / "self" / "cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root
        group = top / path.strip().lstrip("/")
        folders |= {group, *(parent for parent in group.parents if parent.is_relative_to(top))}
    return sorted(folders)


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if words and words[0].isdigit() else None


def _words(path: Path) -> list[str]:
    return " ".join(_lines(path)).split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
