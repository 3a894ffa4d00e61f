"""The PostgreSQL of the benchmarks: its own embedded server, a database for each sample, and its counters.

Belongs here: databases, counters, waiting for quiet. Does not: watching processes (watching.py), what is run in them.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from omop_inc.settings import Settings
from omop_inc.store import embedded
from omop_inc.store.postgres_place import ROLE
from omop_inc.store.postgres_programs import SOURCE_VARIABLE

# Copying a database file by file; since 15 the default writes every page to the log.
FILE_COPY_SINCE = 150000
# An autovacuum of a table just loaded may take a while; longer than this it is part of life.
QUIET_WAIT_S = 120.0
POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What the server counted; only differences mean something."""

    wal_bytes: int
    temp_bytes: int
    temp_files: int
    read_blocks: int  # from outside the shared buffers


@dataclass(frozen=True, kw_only=True)
class Server:
    """The running server."""

    version: str
    admin_url: str
    pid: int
    settings: dict[str, str]  # some, for the machine's line
    bin_dir: Path

    def url(self, database: str) -> str:
        """The libpq URL of a database for the role that runs use."""
        parts = urlsplit(self.admin_url)
        return urlunsplit(parts._replace(netloc=f"{ROLE}@{parts.netloc.rpartition('@')[2]}", path=f"/{database}"))

    def create(self, database: str, template: str = "template1") -> None:
        """Create a database anew, empty or as a copy."""
        self.drop(database)
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(*map(sql.Identifier, (database, template, ROLE)))
        with self._admin() as connection:
            if connection.info.server_version >= FILE_COPY_SINCE:
                statement += sql.SQL(" STRATEGY FILE_COPY")
            connection.execute(statement)

    def rename(self, database: str, name: str) -> None:
        """Give a database another name, in the place of what has it."""
        self.drop(name)
        with self._admin() as connection:
            connection.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(sql.Identifier(database), sql.Identifier(name)))

    def drop(self, database: str) -> None:
        """Drop a database, if it is there."""
        with self._admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))

    @contextmanager
    def fresh(self, database: str, template: str = "template1") -> Iterator[str]:
        """Lend a database that ends with the block; gives its URL."""
        self.create(database, template)
        try:
            yield self.url(database)
        finally:
            self.drop(database)

    def mark(self, database: str, text: str) -> None:
        """Note beside a database what made it."""
        with self._admin() as connection:
            connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(database), sql.Literal(text)))

    def has(self, database: str, text: str) -> bool:
        """Whether a database is there and was made by this."""
        query = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"
        with self._admin() as connection:
            return connection.execute(query, (database,)).fetchone() == (text,)

    def vacuum(self, database: str) -> None:
        """Do what autovacuum does within minutes of a load, so that no sample is disturbed by it; statistics stay the product's."""
        with psycopg.connect(self._admin_url(database), autocommit=True) as connection:
            connection.execute("VACUUM")

    def size_bytes(self, database: str) -> int:
        """Size of a database on disk."""
        with self._admin() as connection:
            row = connection.execute("SELECT pg_database_size(%s)", (database,)).fetchone()
        return int(row[0]) if row else 0

    def quieten(self) -> None:
        """Wait until nothing of earlier samples goes on: dirty pages are written, autovacuum has ended."""
        deadline = time.monotonic() + QUIET_WAIT_S
        with self._admin() as connection:
            connection.execute("CHECKPOINT")
            busy = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'"
            while connection.execute(busy).fetchone() != (0,) and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def counters(self, database: str) -> Counters:
        """Read the counters, when the sessions of a database have ended and reported."""
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND backend_type = 'client backend'"
        deadline = time.monotonic() + QUIET_WAIT_S
        with self._admin() as connection:
            while connection.execute(others, (database,)).fetchone() != (0,) and time.monotonic() < deadline:
                time.sleep(POLL_S)
            row = connection.execute(
                "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0'), temp_bytes, temp_files, blks_read FROM pg_stat_database WHERE datname = %s",
                (database,),
            ).fetchone()
        wal, temp, files, read = row if row else (0, 0, 0, 0)
        return Counters(wal_bytes=int(wal), temp_bytes=int(temp), temp_files=int(files), read_blocks=int(read))

    def _admin_url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))

    def _admin(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.admin_url, autocommit=True)


def start_server(state_dir: Path, *, without: frozenset[str] = frozenset()) -> Server:
    """Start a server of the benchmarks, or find it running: of the version that the lock file names, unless the environment says otherwise.

    On every machine the same, so that figures can be held against each other: PostgreSQL 15 takes a fifth longer for a load than 18.

    Args:
        state_dir: Where it lives.
        without: The optimisations that it is to leave out.
    """
    with _pinned_programs():
        found = embedded.start(Settings(state_dir=state_dir, database_url=None, without=without))
    pid = int((found.data_dir / "postmaster.pid").read_text().split()[0])
    names = ("shared_buffers", "max_wal_size", "work_mem")
    with psycopg.connect(found.admin_url) as connection:
        settings = {name: str(connection.execute("SELECT current_setting(%s)", (name,)).fetchone()[0]) for name in names}  # type: ignore[index]
    return Server(version=found.version, admin_url=found.admin_url, pid=pid, settings=settings, bin_dir=found.bin_dir)


@contextmanager
def _pinned_programs() -> Iterator[None]:
    """Look for PostgreSQL's programs in the wheel alone, unless the environment says where."""
    is_set = SOURCE_VARIABLE in os.environ
    os.environ.setdefault(SOURCE_VARIABLE, "wheel")
    try:
        yield
    finally:
        if not is_set:
            del os.environ[SOURCE_VARIABLE]


def stop_server(state_dir: Path) -> None:
    """Stop the benchmarks' server."""
    embedded.stop(Settings(state_dir=state_dir, database_url=None))
