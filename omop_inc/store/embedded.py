"""The PostgreSQL that needs no server: made, started and stopped under the state folder.

Belongs here: the life of one data directory and how to reach it. Does not: finding programs (postgres_programs.py), tuning
(postgres_conf.py), anything inside the database (db.py and its neighbours).

Under `<state_dir>/postgres`: `lock`, `server.json` (where the data lie, the port), `pgpass` (libpq's password file, 0600),
`server.log`. The data directory lies beside them, or, where the server's user cannot reach this folder, in a private
folder that `server.json` names.
"""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, cast

import psycopg
from psycopg import sql

from omop_inc.errors import DatabaseError, SettingsError
from omop_inc.machine import read_machine
from omop_inc.settings import Settings
from omop_inc.store import postgres_conf
from omop_inc.store.postgres_place import (
    ADMIN_ROLE,
    CONNECT_TIMEOUT_S,
    DATABASE,
    ROLE,
    EmbeddedServer,
    Place,
    base_folder,
    choose_place,
    data_major,
    data_owner,
    find_orphans,
    find_running,
    live_pid,
    locked,
    make_base_folder,
    make_reachable,
    make_url,
    place_of,
    read_password,
    read_pid_file,
    read_record,
    write_private,
    write_record,
)
from omop_inc.store.postgres_programs import SOURCE_VARIABLE, Programs, ServerUser, Source, find_programs, run_program, server_user

__all__ = ["EmbeddedServer", "ServerStatus", "discard", "read_source", "start", "status", "stop", "url"]

# Recovery after a crash replays at most max_wal_size: minutes on a slow disk.
START_TIMEOUT_S = 600
STOP_TIMEOUT_S = 120
# After kill -9 of the server its processes hold the shared memory until they have ended: moments where we can end them.
START_ATTEMPTS, ATTEMPT_PAUSE_S = 60, 0.5
LOG_MAX_BYTES = 10 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class ServerStatus:
    """What there is under a state folder."""

    state: Literal["absent", "stopped", "running"]
    data_dir: Path | None
    server: EmbeddedServer | None  # when running


def start(settings: Settings) -> EmbeddedServer:
    """Start the server of the state folder, or find it running; several may call this at once.

    Raises:
        SettingsError: If there are no programs, no user for the server, or the data are of another version.
        DatabaseError: If the server does not come up; its log is named.
    """
    base = base_folder(settings)
    if running := find_running(place_of(base)):
        return running
    make_base_folder(base)
    with locked(base):
        place = place_of(base)
        return find_running(place) or _start(settings, place)


def stop(settings: Settings) -> bool:
    """Stop the server; open sessions end, nothing is lost.

    Returns:
        Whether it was running.

    Raises:
        DatabaseError: If it does not end within two minutes.
    """
    base = base_folder(settings)
    if not base.is_dir():
        return False
    with locked(base):
        return _stop(place_of(base))


def status(settings: Settings) -> ServerStatus:
    """Look, without starting or changing anything."""
    place = place_of(base_folder(settings))
    if data_major(place.data) is None:
        return ServerStatus(state="absent", data_dir=None, server=None)
    server = find_running(place)
    return ServerStatus(state="running" if server else "stopped", data_dir=place.data, server=server)


def url(settings: Settings) -> str:
    """The libpq URL of the server, which is started if need be."""
    return start(settings).url


def discard(settings: Settings) -> None:
    """Stop the server and delete its data, configuration and passwords: for tests and for starting afresh."""
    base = base_folder(settings)
    if not base.is_dir():
        return
    with locked(base):
        place = place_of(base)
        _stop(place)
        if place.home != base:
            shutil.rmtree(place.home)
        shutil.rmtree(base)


def _start(settings: Settings, place: Place) -> EmbeddedServer:
    """Make what is missing and start, under the lock."""
    user = server_user(data_owner(place.data))
    _check_owner(place.data)
    programs = find_programs(settings.postgres_bin, major=data_major(place.data), source=read_source())
    if data_major(place.data) is None:
        place = choose_place(place, user)
    programs = make_reachable(programs, place, user)
    if data_major(place.data) is None:
        _initialise(programs, place, user)
    _await_other(place)
    port = _launch(programs, place, user, is_tuned="postgres_settings" not in settings.without)
    write_record(place, programs, port)
    _ensure_database(place, port)
    running = find_running(place)
    if running is None:
        raise DatabaseError(f"PostgreSQL started on port {port} of 127.0.0.1 but does not answer; see '{place.log}'.", is_transient=True)
    return running


def read_source() -> Source:
    """Where to look for programs, from the environment: a switch for tests and for machines with a broken PostgreSQL."""
    source = os.environ.get(SOURCE_VARIABLE) or "auto"
    if source not in ("auto", "system", "wheel"):
        raise SettingsError(f"{SOURCE_VARIABLE}: expected auto, system or wheel. Correct it or unset it.")
    return cast("Source", source)


def _check_owner(data: Path) -> None:
    owner = data_owner(data)
    if owner is not None and os.geteuid() not in (0, owner):
        raise SettingsError(
            f"The database in '{data}' belongs to user id {owner}, this is user id {os.geteuid()}. "
            "Start as root or as that user, or name another OMOP_INC_STATE_DIR."
        )


def _initialise(programs: Programs, place: Place, user: ServerUser | None) -> None:
    """Make the data directory beside its name and give it the name when it is whole."""
    if not place.pgpass.is_file():
        lines = [f"127.0.0.1:*:*:{role}:{secrets.token_hex(24)}" for role in (ADMIN_ROLE, ROLE)]
        write_private(place.pgpass, "\n".join(lines) + "\n")
    partial, password_file = place.home / "data.partial", place.home / "admin.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    write_private(password_file, read_password(place, ADMIN_ROLE))
    if user:
        os.chown(partial, user.uid, user.gid)
        os.chown(password_file, user.uid, user.gid)
    command: list[str | Path] = [programs.bin_dir / "initdb", "-D", partial, "-U", ADMIN_ROLE, "-A", "scram-sha-256", f"--pwfile={password_file}"]
    # Bytes order text in every version and on every machine alike, so that no result depends on a locale.
    command += ["-E", "UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
    try:
        done = run_program(command, user)
    finally:
        password_file.unlink()
    if done.returncode != 0:
        raise DatabaseError(f"initdb of PostgreSQL {programs.version} failed: {done.stdout.decode(errors='replace').strip()[-500:]}")
    with (partial / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write("\ninclude = '../omop_inc.conf'\n")
    partial.rename(place.data)


def _await_other(place: Place) -> None:
    """Wait for a server that lives but does not answer (it recovers or ends); then clear what a dead one left."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while (pid := live_pid(place.data)) and find_running(place) is None:
        if time.monotonic() > deadline:
            raise DatabaseError(f"PostgreSQL (process {pid}) lives but does not answer; see '{place.log}', then end it and start again.")
        time.sleep(0.2)
    if pid is None:
        for orphan in find_orphans(place.data):
            with contextlib.suppress(ProcessLookupError):
                os.kill(orphan, signal.SIGQUIT)
        (place.data / "postmaster.pid").unlink(missing_ok=True)


def _launch(programs: Programs, place: Place, user: ServerUser | None, *, is_tuned: bool) -> int:
    """Start the server on the port of last time, or on a free one; wait until it takes connections."""
    if (lines := read_pid_file(place.data)) and live_pid(place.data):
        return int(lines[3])
    port = int(read_record(place.base).get("port") or 0)
    machine = read_machine()
    command: list[str | Path] = [programs.bin_dir / "pg_ctl", "start", "-D", place.data, "-w", "-t", str(START_TIMEOUT_S)]
    for _ in range(START_ATTEMPTS):
        port = port if port and _is_free(port) else _free_port()
        configuration = place.home / "omop_inc.conf"
        configuration.write_text(postgres_conf.render(postgres_conf.server_settings(machine, port, is_tuned=is_tuned)), encoding="utf-8")
        configuration.chmod(0o644)  # no secret in it, and the server's user must read it
        with _open_log(place) as log:
            begin = log.tell()
            if run_program(command, user, output=log).returncode == 0:
                return port
        told = place.log.read_bytes()[begin:]
        if b"Address already in use" not in told and b"pre-existing shared memory" not in told:
            break
        time.sleep(ATTEMPT_PAUSE_S)
    reasons = [line for line in told.decode(errors="replace").splitlines() if "FATAL" in line or "HINT" in line]
    raise DatabaseError(f"PostgreSQL {programs.version} did not start: {' '.join(reasons[-2:]) or 'no reason given'}. See '{place.log}'.")


@contextlib.contextmanager
def _open_log(place: Place) -> Iterator[IO[bytes]]:
    if place.log.is_file() and place.log.stat().st_size > LOG_MAX_BYTES:
        place.log.replace(place.log.with_suffix(".log.1"))
    descriptor = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file:
        file.seek(0, os.SEEK_END)
        yield file


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _ensure_database(place: Place, port: int) -> None:
    """Make the role and the database of runs where they are missing (a first start that was cut short has neither)."""
    role, database = sql.Identifier(ROLE), sql.Identifier(DATABASE)
    try:
        with psycopg.connect(make_url(place, ADMIN_ROLE, "postgres", port), autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [ROLE]).fetchone() is None:
                password = sql.Literal(read_password(place, ROLE))
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN IN ROLE pg_monitor PASSWORD {}").format(role, password))
            if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    except psycopg.Error as error:
        raise DatabaseError(
            f"PostgreSQL on port {port} of 127.0.0.1 refuses us ({type(error).__name__}); see '{place.log}'.", sqlstate=error.sqlstate
        ) from None


def _stop(place: Place) -> bool:
    """Ask for a fast shutdown (SIGINT): sessions are ended, changes are on disk at the end."""
    pid = live_pid(place.data)
    if pid is None:
        return False
    os.kill(pid, signal.SIGINT)
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while live_pid(place.data) == pid:
        if time.monotonic() > deadline:
            raise DatabaseError(f"PostgreSQL (process {pid}) did not end within {STOP_TIMEOUT_S} s; see '{place.log}'.")
        time.sleep(0.05)
    return True
