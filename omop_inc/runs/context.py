"""What all steps of one run share, and the session that holds its lock.

Belongs here: opening and closing a run. Does not: its steps.
"""

import contextlib
import contextvars
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from psycopg import sql

from omop_inc.cdm.vocabulary import hold_vocabulary, load_vocabulary
from omop_inc.errors import RunBusyError
from omop_inc.runs.conductor import After, Conductor
from omop_inc.settings import Settings
from omop_inc.store import history, ledger, state
from omop_inc.store.db import Connection, Database, execute, translated
from omop_inc.store.schemas import Schemas
from omop_inc.telling.summary import Summary
from omop_inc.telling.timings import Recorder

LOCK_POLL_S = 0.1


class Ahead:
    """Work that a run begins as soon as it is likely to need it: once, in a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._future: Future[None] | None = None

    def begin(self, work: Callable[[], None]) -> None:
        """Begin the work unless it has begun."""
        with self._lock:
            if self._future is None:
                pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
                self._future = pool.submit(contextvars.copy_context().run, work)  # the orchestrator's logger goes along
                pool.shutdown(wait=False)

    def wait(self) -> None:
        """Wait for its end and raise what it raised."""
        if self._future is not None:
            self._future.result()

    def end(self) -> None:
        """Wait for its end, however it went: the run is over."""
        if self._future is not None:
            self._future.exception()


@dataclass(kw_only=True)
class Run:
    """One run: its settings, its database, its lock, and what it has found so far."""

    run_id: str
    kind: str  # incremental, full_reload
    settings: Settings
    database: Database
    schemas: Schemas
    session: sa.Connection  # holds the advisory lock; its transaction publishes
    conductor: Conductor
    recorder: Recorder
    summary: Summary
    last: ledger.LastRun | None = None
    made_under: dict[str, str] = field(default_factory=dict)
    ahead: Ahead = field(default_factory=Ahead)
    tried: set[str] = field(default_factory=set)  # what has begun, so that what a try before left is known

    @property
    def builds_beside(self) -> bool:
        """Whether the run builds whole tables beside the committed ones instead of changing these."""
        return self.kind != "incremental" or self.last is None

    @property
    def keeps_ids(self) -> bool:
        """Whether rows that the store holds keep their ids."""
        return self.last is not None and not self.settings.renumber

    @property
    def raw(self) -> Connection:
        """The session's own psycopg connection."""
        connection: Any = self.session.connection.driver_connection
        return connection  # type: ignore[no-any-return]

    def is_again(self, item: str) -> bool:
        """Whether a piece of work begins anew: its try before may have committed without an answer, and what it left must go."""
        is_again = item in self.tried
        self.tried.add(item)
        return is_again

    def each(self, step: str, tables: list[str], work: Callable[[str], Any], after: After | None = None) -> dict[str, Any]:
        """Carry out a step for several tables, each after those that it must wait for."""
        return self.conductor.each(step, tables, work, after)


def new_run_id() -> str:
    """An id that nobody has: 32 hexadecimal digits."""
    return uuid.uuid4().hex


@contextlib.contextmanager
def locked_session(database: Database, schemas: Schemas, wait_s: float) -> Iterator[sa.Connection]:
    """A session that holds the CDM's advisory lock until the end.

    Raises:
        RunBusyError: If another run holds it for longer than `wait_s`; a killed run's session ends within that time.
    """
    deadline = time.monotonic() + wait_s
    with translated(), database.engine.connect() as session:
        while True:
            query = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:what, 0))")
            got = session.execute(query, {"what": f"omop_inc run {schemas.cdm}"}).scalar()
            session.commit()
            if got:
                break
            if time.monotonic() > deadline:
                raise RunBusyError(f"Another run holds the CDM in schema '{schemas.cdm}'; this one changed nothing. Start it again later.")
            time.sleep(LOCK_POLL_S)
        yield session


def prepare_store(run: Run) -> None:
    """Make sure that the store is there and fits; what a killed run left is dropped, or emptied by the increment itself."""
    with run.session.begin():
        if not state.exists(run.raw, run.schemas):
            state.create(run.raw, run.schemas)
            ledger.create(run.session, run.schemas)
        history.create(run.raw, run.schemas)
    with run.session.begin():
        run.last = ledger.read_last_run(run.session, run.schemas)
    if run.builds_beside:
        run.schemas = replace(run.schemas, is_beside=True)
        drop_run_schemas(run, scaffold=run.kind != "verify")  # verify leaves the tables alone on which the scaffold's views stand


def load_vocabulary_if_named(run: Run, path: Path | None) -> None:
    """Load the vocabulary that the caller names, unless it is the one in use, and hold it for the run."""
    if path is not None:
        with run.recorder.step("vocabulary") as counts, translated(), run.database.pool.connection() as connection:
            info = load_vocabulary(connection, path, run.schemas.vocabulary)
            counts.rows_written = sum(info.rows.values()) if info.is_new else 0
    with translated(), run.session.begin():
        execute(run.raw, "SET LOCAL lock_timeout TO '5min'")  # another run's load may go on
        hold_vocabulary(run.raw, run.schemas.vocabulary)


def drop_run_schemas(run: Run, *, beside: bool = True, scaffold: bool = True) -> None:
    """Drop the schemas of runs of this CDM, one at a time so that no lock table overflows.

    Args:
        beside: What a run that builds whole tables works in.
        scaffold: What increments work in.
    """
    schemas = run.schemas
    query = "SELECT nspname FROM pg_namespace WHERE nspname = %s OR nspname LIKE %s ORDER BY nspname DESC"
    with run.database.connection() as connection:
        names = [row[0] for row in execute(connection, query, (schemas.scaffold, schemas.scaffold_pattern))]
    found = [schema for schema in names if (beside if schema in schemas.beside else scaffold)]
    for schema in found:
        with run.database.connection() as connection:
            execute(connection, sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))
