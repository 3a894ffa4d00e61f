"""Row accounting: every row read has exactly one fate, or the run fails before its commit.

Belongs here: the counts per source table and the state that follows from them. Does not: deciding fates (store/fates.py).
"""

from dataclasses import dataclass

from psycopg import sql

from omop_inc.errors import CheckFailed
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name
from omop_inc.telling.summary import SourceCounts


@dataclass(frozen=True, kw_only=True)
class Moves:
    """How the staged image of one table moved."""

    entered: int = 0
    left: int = 0
    changed: int = 0  # of those that entered: rows that kept the id of one that left


@dataclass(frozen=True, kw_only=True)
class Held:
    """Rows of one table that are not loaded, and the copies that are one with a loaded row."""

    quarantined: int = 0
    pending: int = 0
    copies: int = 0


def count_moves(connection: Connection, schemas: Schemas, table: str) -> Moves:
    """Count a settled delta."""
    into, out = name(schemas.run, table + "_in"), name(schemas.run, table + "_out")
    query = sql.SQL(
        "SELECT (SELECT count(*) FROM {0}), (SELECT count(*) FROM {1}), (SELECT count(*) FROM {0} AS entered"
        " INNER JOIN {1} AS gone ON gone.row_id = entered.row_id)"
    ).format(into, out)
    entered, left, changed = execute(connection, query).fetchone() or (0, 0, 0)
    return Moves(entered=entered, left=left, changed=changed)


def count_held(connection: Connection, schemas: Schemas) -> dict[str, Held]:
    """Count what quarantine holds of every table, bad records included."""
    parts = [sql.SQL("SELECT {}, fate FROM {}").format(sql.Literal(table), name(schemas.quarantine, table)) for table in SOURCE_TABLES]
    parts.append(sql.SQL("SELECT source_table, 'quarantined' FROM {}").format(name(schemas.quarantine, "bad_record")))
    query = sql.SQL("SELECT held, fate, count(*) FROM ({}) AS held (held, fate) GROUP BY held, fate").format(sql.SQL(" UNION ALL ").join(parts))
    counts: dict[str, dict[str, int]] = {}
    for table, fate, count in execute(connection, query):
        counts.setdefault(table, {})[fate] = count
    return {table: Held(quarantined=c.get("quarantined", 0), pending=c.get("pending", 0), copies=c.get("copy", 0)) for table, c in counts.items()}


def account(seen: Seen, moves: Moves, held: Held, copies_before: int) -> SourceCounts:
    """The fates of a table's rows in snapshot mode.

    Args:
        copies_before: Copies that the last run held; a copy counts with the row that it is one with.
    """
    loaded = seen.before.loaded - moves.left + moves.entered + held.copies
    new = moves.entered - moves.changed + max(0, held.copies - copies_before)
    return SourceCounts(
        read=seen.rows,
        unchanged=loaded - new - moves.changed,
        new=new,
        changed=moves.changed,
        removed=moves.left - moves.changed + max(0, copies_before - held.copies),
        quarantined=held.quarantined,
        pending=held.pending,
    )


def count_read_held(connection: Connection, schemas: Schemas, table: str) -> Held:
    """Append mode: of a table's rows that are not loaded, those that the folder's file holds."""
    query = sql.SQL(
        "SELECT count(*) FILTER (WHERE fate = 'quarantined'), count(*) FILTER (WHERE fate = 'pending') FROM ("
        "SELECT row_hash, fate FROM {} UNION ALL SELECT row_hash, 'quarantined' FROM {} WHERE source_table = {}) AS held"
        " WHERE row_hash IN (SELECT row_hash FROM {})"
    ).format(
        name(schemas.quarantine, table),
        name(schemas.quarantine, "bad_record"),
        sql.Literal(table),
        name(schemas.run, table + "_kept"),
    )
    quarantined, pending = execute(connection, query).fetchone() or (0, 0)
    return Held(quarantined=quarantined, pending=pending)


def check_accounts(run: Run) -> None:
    """Refuse to commit when a table's rows do not add up.

    Raises:
        CheckFailed: Naming the tables and their counts.
    """
    wrong = {table: counts for table, counts in run.summary.source_tables.items() if not counts.adds_up}
    if wrong:
        listed = "; ".join(f"{table}: {vars(counts)}" for table, counts in sorted(wrong.items()))
        raise CheckFailed(f"Rows read and their fates do not add up: {listed}. Nothing was applied. Rebuild with a full reload.")


def count_unknown_references(connection: Connection, schema: str, dimensions: str, table: str, suffix: str = "") -> dict[str, int]:
    """Rows that name a provider, organization or payer which is not there; in the CDM they name none.

    Args:
        schema: Of the rows looked at.
        dimensions: Schema of the dimensions' image.
        suffix: Of the rows' table: a delta's rows are in `<name>_in`.

    Returns:
        Counts above 0 by `<table>.<column>`.
    """
    counts = {}
    for reference in SOURCE_TABLES[table].references:
        column = sql.Identifier("image", reference.column)
        known = sql.SQL(" AND ").join(
            sql.SQL("NOT EXISTS (SELECT FROM {} AS known WHERE known.id = {})").format(name(dimensions, one), column) for one in reference.tables
        )
        query = sql.SQL("SELECT count(*) FROM {} AS image WHERE {} IS NOT NULL AND {}").format(name(schema, table + suffix), column, known)
        if found := int(fetch_value(connection, query)):
            counts[f"{table}.{reference.column}"] = found
    return counts


def count_staged(connection: Connection, schema: str, table: str) -> int:
    """Rows of a staged table."""
    return int(fetch_value(connection, sql.SQL("SELECT count(*) FROM {}").format(name(schema, table))))
