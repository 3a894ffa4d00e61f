"""What we want of a PostgreSQL server, each setting with its reason: the embedded one gets it, others are compared with it.

Belongs here: one table of facts about server settings. Does not: starting anything (embedded.py), looking at a server
(examination.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from omop_inc.machine import GB, MB, Machine

# A quarter of the memory is PostgreSQL's own advice; beyond 4 GB our working set (a snapshot of 1 GB is 3 GB here) gains
# nothing, and Python's share of a run needs memory as well.
SHARED_BUFFERS_SHARE, SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX = 1 / 4, 64 * MB, 4 * GB
# What the planner believes the operating system caches: the rest of the memory, less what runs take.
CACHE_SHARE = 6 / 10
# Per sort or hash, some per connection, one connection a core: 1/64 keeps the worst case near half of the memory.
WORK_MEM_SHARE, WORK_MEM_MIN, WORK_MEM_MAX = 1 / 64, 8 * MB, 256 * MB
# Index builds of a full load run one per connection; above 1 GB they do not get faster.
MAINTENANCE_SHARE, MAINTENANCE_MIN, MAINTENANCE_MAX = 1 / 16, 64 * MB, 1 * GB
# For those who query the CDM; the sessions of a run keep each core busy by themselves and do without (store/db.py).
GATHER_SHARE, GATHER_MAX = 1 / 2, 4
# A killed client's statement went on and committed without it; with it the backend ended in 0.4 s. Needs Linux.
CLIENT_CHECK = "500ms"
# Below this the default POSIX segments of parallel queries fail in containers ("could not resize shared memory segment").
SHM_NEEDED = 1 * GB

# How the value of a server that is not ours is judged. least: it should be about as large. same: it should be so. quick:
# anything but pglz. run: each run sets it for its own sessions. ours: of the embedded server alone.
Judged = Literal["least", "same", "quick", "run", "ours"]


@dataclass(frozen=True, kw_only=True)
class ServerSetting:
    """One setting of a server."""

    name: str
    value: Callable[[Machine], str | None]  # None: the machine's system does not know it
    judged: Judged
    why: str


def _fixed(name: str, value: str, judged: Judged, why: str) -> ServerSetting:
    return ServerSetting(name=name, value=lambda _: value, judged=judged, why=why)


def _sized(name: str, judged: Judged, share: float, least: int, most: int | None, why: str) -> ServerSetting:
    return ServerSetting(name=name, value=lambda m: _size(m.memory_bytes * share, least, most or m.memory_bytes), judged=judged, why=why)


def _counted(name: str, count: Callable[[int], int], why: str) -> ServerSetting:
    return ServerSetting(name=name, value=lambda m: str(count(m.cores)), judged="least", why=why)


def _on_linux(name: str, value: Callable[[Machine], str], judged: Judged, why: str) -> ServerSetting:
    return ServerSetting(name=name, value=lambda m: value(m) if m.is_linux else None, judged=judged, why=why)


_PRIVATE = "error messages quote cell values in their DETAIL, CONTEXT and STATEMENT lines: none of these may reach the log"
_LOCAL = "only programs of this machine, over TCP with a password; no socket file whose path may be too long or open to others"
_DATES = "dates are never moved through local time"

SERVER_SETTINGS: tuple[ServerSetting, ...] = (
    _sized(
        "shared_buffers", "least", SHARED_BUFFERS_SHARE, SHARED_BUFFERS_MIN, SHARED_BUFFERS_MAX,
        "a quarter of the memory, at most 4 GB: the working set of a snapshot of 1 GB fits",
    ),
    _sized(
        "effective_cache_size", "least", CACHE_SHARE, SHARED_BUFFERS_MIN, None,
        "what the planner may believe to be cached; the sessions of runs are sized by it",
    ),
    _sized("work_mem", "run", WORK_MEM_SHARE, WORK_MEM_MIN, WORK_MEM_MAX, "sorts and hashes of a full load stay in memory"),
    _sized("maintenance_work_mem", "run", MAINTENANCE_SHARE, MAINTENANCE_MIN, MAINTENANCE_MAX, "index builds of a full load stay in memory"),
    _fixed("max_wal_size", "4GB", "least", "a full load of 1 GB writes some 3 GB of WAL: with less it waits for checkpoints in its middle"),
    _fixed("min_wal_size", "256MB", "ours", "WAL files are used again instead of made anew"),
    _fixed("checkpoint_timeout", "15min", "ours", "a full load has one checkpoint, not several"),
    _fixed("checkpoint_completion_target", "0.9", "ours", "checkpoints write evenly; the default of version 14 on"),
    _fixed("wal_init_zero", "off", "ours", "a first load writes 1.2 GB of WAL; each new file of it was written twice"),
    _fixed("wal_level", "minimal", "ours", "never replicated: a table filled, an index built in the transaction that makes it skip the WAL"),
    _fixed("max_wal_senders", "0", "ours", "as wal_level wants it"),
    _fixed(
        "wal_compression", "off", "quick",
        "pglz (on) took 8 % of a load's work and two thirds of a week's publishing to save a third of its WAL; lz4, where the build has it, is fine",
    ),
    _fixed("random_page_cost", "1.1", "run", "scattered persons are read by index; at 4 whole tables are scanned (1.1 s for 0.2 s)"),
    _fixed("jit", "off", "run", "compiling takes longer than our short queries"),
    _fixed("fsync", "on", "same", "the publishing transaction is the truth of a run"),
    _fixed("full_page_writes", "on", "same", "a crash in the middle of a page write must be mended"),
    _fixed("synchronous_commit", "on", "run", "measured: off lost a committed table after kill -9; runs switch it off for their own tables alone"),
    _counted("max_worker_processes", lambda cores: max(8, cores), "parallel queries and index builds have processes"),
    _counted("max_parallel_workers", lambda cores: cores, "one a core"),
    _counted(
        "max_parallel_workers_per_gather", lambda cores: min(GATHER_MAX, int(cores * GATHER_SHARE)),
        "a query of the CDM may use half of the cores; runs do without, they keep each core busy by themselves",
    ),
    _on_linux(
        "client_connection_check_interval", lambda _: CLIENT_CHECK, "run",
        "a killed client's statement went on and committed; with it the backend ended in 0.4 s",
    ),
    _on_linux(
        "dynamic_shared_memory_type", lambda m: "posix" if m.shm_bytes >= SHM_NEEDED else "sysv", "ours",
        "with a small /dev/shm, as containers have it, parallel queries fail in posix segments",
    ),
    _fixed("log_error_verbosity", "terse", "same", _PRIVATE),
    _fixed("log_min_error_statement", "panic", "same", _PRIVATE),
    _fixed("log_parameter_max_length_on_error", "0", "same", _PRIVATE),
    _fixed("log_parameter_max_length", "0", "ours", _PRIVATE),
    _fixed("log_statement", "none", "ours", _PRIVATE),
    _fixed("log_min_duration_statement", "-1", "ours", _PRIVATE),
    _fixed("log_line_prefix", "%m [%p] %a ", "ours", "time, process and program"),
    _fixed("track_io_timing", "on", "ours", "the timings' database metrics; under 1 % where the clock is cheap"),
    _fixed("listen_addresses", "127.0.0.1", "ours", _LOCAL),
    _fixed("unix_socket_directories", "", "ours", _LOCAL),
    _fixed("password_encryption", "scram-sha-256", "ours", _LOCAL),
    _fixed("ssl", "off", "ours", "nothing leaves the machine"),
    _fixed("timezone", "UTC", "ours", _DATES),
    _fixed("log_timezone", "UTC", "ours", _DATES),
    _fixed("datestyle", "ISO, YMD", "ours", _DATES),
    _fixed("lc_messages", "C", "ours", "messages in one language"),
)  # fmt: skip


# Of the settings that are ours alone, those that are there for speed.
TUNED = frozenset({"wal_init_zero", "wal_level", "max_wal_senders", "min_wal_size", "checkpoint_timeout", "checkpoint_completion_target"})


def server_settings(machine: Machine, port: int, *, is_tuned: bool = True) -> dict[str, str]:
    """Every setting of the embedded server's configuration, by name; without tuning only what keeps data safe and private."""
    kept = [one for one in SERVER_SETTINGS if is_tuned or (one.judged in ("ours", "same") and one.name not in TUNED)]
    wanted = {setting.name: setting.value(machine) for setting in kept}
    return {"port": str(port), **{name: value for name, value in wanted.items() if value is not None}}


def render(settings: dict[str, str]) -> str:
    """The text of the configuration file."""
    lines = [f"{name} = '{value}'" for name, value in settings.items()]
    return "\n".join(["# Written anew at every start by omop_inc; changes here are lost (ALTER SYSTEM keeps them).", *lines, ""])


def _size(wanted: float, least: int, most: int) -> str:
    return f"{max(least, min(most, int(wanted))) // MB}MB"
