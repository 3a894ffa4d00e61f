"""The ledger: one row per run, the timings of its steps, and the feed of changed CDM rows.

Belongs here: the tables of `<cdm>_ledger` and their reading and writing. Does not: the hash state (state.py).
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects.postgresql import JSONB

from omop_inc.store.db import Database, execute
from omop_inc.store.schemas import Schemas, name


@dataclass(frozen=True, kw_only=True)
class StepTiming:
    """How one step of one table went."""

    step: str
    table: str
    status: str  # done, failed
    started_at: datetime  # UTC
    duration_s: float
    rows_in: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_removed: int = 0
    rows_written: int = 0


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The last committed run: what the next one is compared with."""

    generation: int
    run_id: str
    snapshot_digest: str
    snapshot_date: Any
    fingerprint: dict[str, str]  # vocabulary, transforms, tool
    summary: dict[str, Any]  # counts per source and CDM table


def tables(schemas: Schemas) -> dict[str, sa.Table]:
    """The ledger's tables as SQLAlchemy knows them."""
    metadata = sa.MetaData(schema=schemas.ledger)
    instant = sa.DateTime(timezone=True)
    run = sa.Table(
        "run",
        metadata,
        sa.Column("sequence", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("run_id", sa.Text, nullable=False, unique=True),
        sa.Column("kind", sa.Text, nullable=False, comment="incremental or full_reload"),
        sa.Column("mode", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False, comment="applied, no_change, refused, failed"),
        sa.Column("generation", sa.BigInteger, unique=True, comment="counts committed snapshots; NULL when nothing was applied"),
        sa.Column("snapshot_digest", sa.Text),
        sa.Column("snapshot_date", sa.Date, comment="as the manifest declares it"),
        sa.Column("fingerprint", JSONB, nullable=False, comment="vocabulary, transforms, hash and tool version"),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("finished_at", instant, nullable=False),
        sa.Column("summary", JSONB, nullable=False, comment="counts per source and CDM table"),
    )
    timing = sa.Table(
        "step_timing",
        metadata,
        sa.Column("run_id", sa.Text, nullable=False, index=True),
        sa.Column("step", sa.Text, nullable=False),
        sa.Column("table", sa.Text, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("started_at", instant, nullable=False),
        sa.Column("duration_s", sa.Float, nullable=False),
        *(sa.Column(f"rows_{n}", sa.BigInteger, nullable=False) for n in ("in", "new", "changed", "removed", "written")),
    )
    feed = sa.Table(
        "change_feed",
        metadata,
        sa.Column("run_id", sa.Text, nullable=False, index=True),
        sa.Column("table", sa.Text, nullable=False),
        sa.Column("id", sa.BigInteger, comment="the CDM row's id; NULL with kind loaded: the whole table is new"),
        sa.Column("kind", sa.Text, nullable=False, comment="new, changed, removed, or loaded"),
    )
    return {"run": run, "step_timing": timing, "change_feed": feed}


def create(connection: sa.Connection, schemas: Schemas) -> None:
    """Create the ledger's schema and tables where they are missing."""
    connection.execute(sa.schema.CreateSchema(schemas.ledger, if_not_exists=True))
    tables(schemas)["run"].metadata.create_all(connection)


def read_last_run(connection: sa.Connection, schemas: Schemas) -> LastRun | None:
    """The run of the highest generation, or None before the first."""
    run = tables(schemas)["run"]
    query = sa.select(run).where(run.c.generation.is_not(None)).order_by(run.c.generation.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    if row is None:
        return None
    return LastRun(**{name: row[name] for name in ("generation", "run_id", "snapshot_digest", "snapshot_date", "fingerprint", "summary")})


def read_runs(connection: sa.Connection, schemas: Schemas, count: int) -> list[dict[str, Any]]:
    """The rows of the last runs, the newest first."""
    run = tables(schemas)["run"]
    return [dict(row) for row in connection.execute(sa.select(run).order_by(run.c.sequence.desc()).limit(count)).mappings()]


def has_run(connection: sa.Connection, schemas: Schemas, run_id: str) -> bool:
    """Whether a run's row is there: the answer when that of its COMMIT was lost."""
    run = tables(schemas)["run"]
    return connection.execute(sa.select(run.c.run_id).where(run.c.run_id == run_id)).first() is not None


def write_run(connection: sa.Connection, schemas: Schemas, row: dict[str, Any]) -> None:
    """Add a run's row; the caller's transaction decides whether it stays."""
    connection.execute(tables(schemas)["run"].insert().values(**row))


def write_timings(connection: sa.Connection, schemas: Schemas, run_id: str, timings: list[StepTiming]) -> None:
    """Add the timings of a run."""
    if timings:
        rows = [{"run_id": run_id, **vars(timing)} for timing in timings]
        connection.execute(tables(schemas)["step_timing"].insert(), rows)


def prune(connection: sa.Connection, schemas: Schemas, keep: int) -> bool:
    """Forget runs that changed nothing, and the timings of those that did, but for the last `keep` of either.

    Returns:
        Whether anything was forgotten.
    """
    run, timing = tables(schemas)["run"], tables(schemas)["step_timing"]
    applied = sa.select(run.c.run_id).where(run.c.generation.is_not(None)).order_by(run.c.generation.desc()).offset(keep)
    forgotten = connection.execute(timing.delete().where(timing.c.run_id.in_(applied))).rowcount
    old = sa.select(run.c.run_id).where(run.c.generation.is_(None)).order_by(run.c.sequence.desc()).offset(keep)
    stale = list(connection.execute(old).scalars())
    if stale:
        connection.execute(timing.delete().where(timing.c.run_id.in_(stale)))
        connection.execute(run.delete().where(run.c.run_id.in_(stale)))
    return bool(forgotten or stale)


def vacuum(database: Database, schemas: Schemas) -> None:
    """Free the space of what was forgotten: a thousand runs in haste, ahead of autovacuum, had grown the ledger by 5 MB."""
    names = (name(schemas.ledger, "run"), name(schemas.ledger, "step_timing"))
    with database.autocommit() as connection:
        execute(connection, sql.SQL("VACUUM (TRUNCATE FALSE) {}, {}").format(*names))
