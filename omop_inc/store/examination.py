"""Look whether a PostgreSQL is fit for runs, and what its owner might set otherwise.

Belongs here: comparing a server with the table of facts (postgres_conf.py), and what a run needs beside: version, rights,
encoding, connections, room. Does not: printing (cli/doctor.py); it changes nothing.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psycopg

from omop_inc.machine import GB, MB, Machine
from omop_inc.settings import Settings
from omop_inc.store.db import CLIENT_CHECK_MS, SUPPORTED_MAJORS, Connection, execute, fetch_value
from omop_inc.store.postgres_conf import SERVER_SETTINGS, ServerSetting

# good; advice: it works, and would work better; problem: runs fail, or their promises do not hold.
Level = Literal["good", "advice", "problem"]

# A server with half of what we would choose is no slower that we could measure.
ENOUGH_SHARE = 0.5
# A reload builds staging image and CDM beside the present ones before it exchanges them.
ROOM_FOR_RELOAD = 1.5
LEAST_ROOM = 5 * GB
# The run's own session, the pool's (one a worker and one), and one that asks the ledger after a lost COMMIT.
SESSIONS_BESIDE_WORKERS = 3
# The publishing transaction of a full load exchanges some 60 tables with their indexes.
LOCKS_NEEDED = 1000

_UNITS = {"B": 1, "kB": 1024, "MB": MB, "GB": GB, "TB": 1024 * GB, "ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86400}
_VALUE = re.compile(r"\s*(-?[0-9.]+)\s*([A-Za-z]*)\s*")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    wanted: str
    level: Level
    why: str


def examine(connection: Connection, machine: Machine, settings: Settings) -> list[Finding]:
    """Look at a server; problems first, then advice.

    Args:
        connection: To the database that runs would use, as the role that they would use, without session options.
        machine: What the server may use, as far as we know.
        settings: Of a run.
    """
    found = [*_access(connection), *_room(connection, settings), *_settings(connection, machine)]
    order: dict[Level, int] = {"problem": 0, "advice": 1, "good": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _access(connection: Connection) -> Iterator[Finding]:
    """Version, encoding and rights: without them no run can work."""
    major = connection.info.server_version // 10000
    supported = f"{SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}"
    yield _must("version", str(major), supported, major in SUPPORTED_MAJORS, "these versions are tested")
    encoding = str(fetch_value(connection, "SHOW server_encoding"))
    yield _must("encoding", encoding, "UTF8", encoding == "UTF8", "names in the files are UTF-8; another encoding cannot hold them all")
    for right in ("CREATE", "TEMPORARY"):
        has = bool(fetch_value(connection, "SELECT has_database_privilege(current_database(), %s)", (right,)))
        yield _must(
            f"right {right}", "yes" if has else "no", "yes", has, "a run makes schemas and temporary tables; GRANT it on the database to the role"
        )
    is_standby = bool(fetch_value(connection, "SELECT pg_is_in_recovery() OR current_setting('default_transaction_read_only')::boolean"))
    yield _must("writable", "no" if is_standby else "yes", "yes", not is_standby, "a standby or read-only session cannot be written to")
    yield _client_check(connection)


def _client_check(connection: Connection) -> Finding:
    try:
        with connection.transaction():
            execute(connection, f"SET LOCAL client_connection_check_interval TO {CLIENT_CHECK_MS}")
        can = True
    except psycopg.Error:
        can = False
    why = "without it a killed run's statement goes on, and holds the lock of the CDM, until it ends; the server's system must know it (Linux)"
    return _must("client_connection_check_interval", "can be set" if can else "cannot be set", "can be set", can, why)


def _room(connection: Connection, settings: Settings) -> Iterator[Finding]:
    """Connections, locks and disk."""
    free = "current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
    count = int(fetch_value(connection, f"SELECT {free} - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') + 1"))
    needed = settings.workers + SESSIONS_BESIDE_WORKERS
    yield _must(
        "free connections",
        str(count),
        f"{needed} or more",
        count >= needed,
        "one a worker and a few beside; raise max_connections or lower --workers",
    )
    locks = int(fetch_value(connection, "SELECT current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int"))
    yield _must(
        "locks",
        str(locks),
        f"{LOCKS_NEEDED} or more",
        locks >= LOCKS_NEEDED,
        "a full load exchanges all tables at once; raise max_locks_per_transaction",
    )
    size = int(fetch_value(connection, "SELECT pg_database_size(current_database())"))
    room = _free_bytes(connection)
    if room is None:
        yield Finding(what="free disk", found="not to be seen from here", wanted=_bytes(_wanted_room(size)), level="good", why="look at the server")
        return
    is_enough = room >= _wanted_room(size)
    why = f"a reload builds everything beside before it exchanges it; the database has {_bytes(size)}"
    yield Finding(
        what="free disk", found=_bytes(room), wanted=f"{_bytes(_wanted_room(size))} or more", level="good" if is_enough else "advice", why=why
    )


def _wanted_room(size: int) -> int:
    return max(LEAST_ROOM, int(size * ROOM_FOR_RELOAD))


def _free_bytes(connection: Connection) -> int | None:
    """Free room where the server's data lie, if they lie on this machine and the role may know where."""
    try:
        with connection.transaction():
            folder = Path(str(fetch_value(connection, "SELECT current_setting('data_directory')")))
    except psycopg.Error:
        return None
    if connection.info.host not in ("", "localhost", "127.0.0.1", "::1") and not connection.info.host.startswith("/"):
        return None
    return shutil.disk_usage(folder).free if folder.is_dir() else None


def _settings(connection: Connection, machine: Machine) -> Iterator[Finding]:
    """The settings of the table that are judged in a server that is not ours."""
    rows = execute(connection, "SELECT name, setting || coalesce(replace(unit, '8kB', ' pages'), '') FROM pg_settings").fetchall()
    found = {str(name): _plain(str(value)) for name, value in rows}
    for setting in SERVER_SETTINGS:
        wanted = setting.value(machine)
        if setting.judged != "ours" and wanted is not None and setting.name in found and setting.name != "client_connection_check_interval":
            yield _judge(setting, found[setting.name], wanted)


def _plain(value: str) -> str:
    """A setting in units that people read: pages of 8 kB and kB become MB where they are whole."""
    if value == "0B":
        return "0"
    pages = re.fullmatch(r"(-?[0-9]+) pages", value)
    kilobytes = int(pages[1]) * 8 if pages else int(value[:-2]) if re.fullmatch(r"[0-9]+kB", value) else None
    if kilobytes is None:
        return value
    return f"{kilobytes // 1024}MB" if kilobytes % 1024 == 0 else f"{kilobytes}kB"


def _judge(setting: ServerSetting, found: str, wanted: str) -> Finding:
    why = setting.why
    match setting.judged:
        case "least":
            is_good = _number(found) >= _number(wanted) * ENOUGH_SHARE
        case "same":
            is_good = found.lower() == wanted.lower()
        case "quick":
            is_good = found.lower() not in ("on", "pglz")
        case _:
            is_good, why = True, f"every run sets it for its sessions: {why}"
    return Finding(what=setting.name, found=found, wanted=wanted, level="good" if is_good else "advice", why=why)


def _number(value: str) -> float:
    match = _VALUE.fullmatch(value)
    if match is None:
        return 0.0
    return float(match[1]) * _UNITS.get(match[2], 1)


def _must(what: str, found: str, wanted: str, is_met: bool, why: str) -> Finding:  # noqa: FBT001 - a private helper
    return Finding(what=what, found=found, wanted=wanted, level="good" if is_met else "problem", why=why)


def _bytes(size: int) -> str:
    return f"{size / GB:.1f} GB"
