"""Guards: a snapshot that would lose data is refused, unless its digest is allowed.

Belongs here: the limits and their messages. Does not: what a snapshot holds (detect.py).
Limits: honest exports stay below them, with the rows of people who left aside.
"""

from collections.abc import Mapping
from datetime import date

from psycopg import sql

from omop_inc.errors import SnapshotRefusedError
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name

LOSS_SHARE = 0.05
LOSS_ROWS = 20
LOSS_PEOPLE = 10


def _refuse(run: Run, digest: str, rule: str, what: str, **facts: object) -> None:
    """Refuse the snapshot, unless the caller allowed just this one."""
    if run.settings.allow == digest:
        run.summary.warnings.append(f"{what} Allowed for this snapshot ({digest}).")
        return
    raise SnapshotRefusedError(
        f"{what} Nothing was applied. If the snapshot is right, run it again with --allow {digest}",
        rule=rule,
        snapshot_digest=digest,
        facts=facts,
    )


def check_order(run: Run, snapshot_date: date | None) -> None:
    """Refuse a snapshot whose manifest is dated before the last one's.

    Raises:
        SnapshotRefusedError: With rule `older`.
    """
    last = run.last.snapshot_date if run.last else None
    if snapshot_date is not None and last is not None and snapshot_date < last and not run.settings.allow_older:
        raise SnapshotRefusedError(
            f"The snapshot is of {snapshot_date}, the CDM already holds that of {last}; expected a later one."
            " To go back on purpose, run it again with --allow-older",
            rule="older",
            snapshot_digest="",
            facts={"snapshot_date": str(snapshot_date), "last": str(last)},
        )


def check_files(run: Run, seen: Mapping[str, Seen], digest: str) -> None:
    """Refuse a snapshot in which a file that had rows is missing, empty or header-only."""
    for table, one in sorted(seen.items()):
        if one.before.rows and not one.rows:
            how = "is missing" if one.file is None else "holds no row"
            _refuse(run, digest, "file_gone", f"'{table}.csv' {how}; the last snapshot had {one.before.rows:,} rows of it.", table=table)


def check_losses(run: Run, seen: Mapping[str, Seen], digest: str, *, is_full: bool, tables: list[str]) -> None:
    """Refuse a snapshot that takes away too many people, or too many rows of a table.

    Args:
        is_full: Whether the images are compared as a whole, or a settled delta is looked at.
        tables: The source tables to look at.
    """
    schemas, people_before = run.schemas, seen["patients"].before.rows
    with run.database.connection() as connection:
        lost = 0
        if is_full or "patients" in tables:
            _note_people_lost(connection, schemas, is_full=is_full)
            lost = int(fetch_value(connection, "SELECT count(*) FROM pg_temp.people_lost"))
        if lost > LOSS_PEOPLE and lost > people_before * LOSS_SHARE:
            what = f"{lost:,} of {people_before:,} people are gone; the limit is {LOSS_SHARE:.0%} and {LOSS_PEOPLE}."
            _refuse(run, digest, "people_lost", what, lost=lost)
        for table in tables:
            rows = seen[table].before.rows
            loss = int(fetch_value(connection, _net_loss(schemas, SOURCE_TABLES[table], has_lost=lost > 0, is_full=is_full)))
            if loss > LOSS_ROWS and loss > rows * LOSS_SHARE:
                what = (
                    f"'{table}.csv' lost {loss:,} of {rows:,} rows net, those of people who left aside;"
                    f" the limit is {LOSS_SHARE:.0%} and {LOSS_ROWS}."
                )
                _refuse(run, digest, "rows_lost", what, table=table, lost=loss)
        execute(connection, "DROP TABLE IF EXISTS pg_temp.people_lost")


def _old(schemas: Schemas, table: SourceTable) -> sql.Composed:
    """Every row that the store holds of a table, loaded or held, by its person."""
    part = sql.SQL("SELECT {} AS owner FROM {}")
    owner = sql.Identifier(table.patient or "id")
    return sql.SQL("({} UNION ALL {}) AS old").format(
        part.format(owner, name(schemas.staging, table.name)), part.format(owner, name(schemas.quarantine, table.name))
    )


def _note_people_lost(connection: Connection, schemas: Schemas, *, is_full: bool) -> None:
    """A temporary table of the people whom no row of the new snapshot's patients names."""
    execute(connection, "DROP TABLE IF EXISTS pg_temp.people_lost")
    patients = SOURCE_TABLES["patients"]
    if is_full:
        old = sql.SQL("SELECT DISTINCT owner FROM {}").format(_old(schemas, patients))
        new = sql.SQL("SELECT id FROM {} UNION ALL SELECT id FROM {}").format(
            name(schemas.next_staging, "patients"), name(schemas.run, "patients_held")
        )
    else:
        old = sql.SQL("SELECT DISTINCT id AS owner FROM {}").format(name(schemas.run, "patients_leave"))
        new = sql.SQL("SELECT id FROM {}").format(name(schemas.run, "patients_candidate"))
    statement = sql.SQL(
        "CREATE TEMP TABLE people_lost AS SELECT owner FROM ({}) AS old WHERE NOT EXISTS (SELECT FROM ({}) AS new WHERE new.id = old.owner)"
    )
    execute(connection, statement.format(old, new))


def _net_loss(schemas: Schemas, table: SourceTable, *, has_lost: bool, is_full: bool) -> sql.Composed:
    """A query for the net loss of a table: rows gone minus rows new, the rows of people who left aside."""
    if is_full:
        gone = sql.SQL("SELECT owner FROM {}").format(_old(schemas, table))
        new = sql.SQL("(SELECT count(*) FROM {}) + (SELECT count(*) FROM {})").format(
            name(schemas.next_staging, table.name), name(schemas.run, table.name + "_held")
        )
    else:
        owner = sql.Identifier(table.patient or "id")
        gone = sql.SQL("SELECT {} AS owner FROM {}").format(owner, name(schemas.run, table.name + "_leave"))
        new = sql.SQL("(SELECT count(*) FROM {} WHERE origin = 'incoming')").format(name(schemas.run, table.name + "_candidate"))
    aside = sql.SQL("WHERE NOT EXISTS (SELECT FROM pg_temp.people_lost AS lost WHERE lost.owner = gone.owner)")
    return sql.SQL("SELECT (SELECT count(*) FROM ({}) AS gone {}) - ({})").format(gone, aside if has_lost and table.patient else sql.SQL(""), new)
