"""Row accounting: every row read has exactly one fate, or the run fails before its commit.

Belongs here: the counts per source table and the state that follows from them. Does not: deciding fates (store/fates.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.cdm.outcomes import UNEXPLAINED, Outcomes
from omop_inc.errors import CheckFailed
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import intake
from omop_inc.store.db import Connection, execute
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


def count_reload_moves(connection: Connection, schemas: Schemas, table: str, *, loaded_before: int, staged: int) -> Moves:
    """Count how an image that was built beside moves from the committed one; both must still be there.

    A row that entered was not loaded before: it has a new id or that of a tombstone, or it was held and is not any more.
    """
    query = sql.SQL(
        "WITH candidate AS (SELECT candidate.row_id, EXISTS (SELECT FROM {leave} AS leave WHERE leave.origin = 'staging'"
        " AND leave.row_id = candidate.row_id) AS was_loaded FROM {candidate} AS candidate"
        " WHERE NOT EXISTS (SELECT FROM {built_held} AS held WHERE held.row_id = candidate.row_id))"
        " SELECT (SELECT count(*) FROM candidate WHERE NOT was_loaded), (SELECT count(*) FROM candidate WHERE was_loaded),"
        " (SELECT count(*) FROM {held} AS held WHERE EXISTS (SELECT FROM {built} AS built WHERE built.row_hash = held.row_hash"
        " AND built.row_id = held.row_id))"
    ).format(
        leave=name(schemas.run, table + "_leave"),
        candidate=name(schemas.run, table + "_candidate"),
        built_held=name(schemas.run, table + "_held"),
        held=name(schemas.quarantine, table),
        built=name(schemas.next_staging, table),
    )
    new, changed, released = execute(connection, query).fetchone() or (0, 0, 0)
    entered = new + changed + released
    return Moves(entered=entered, left=loaded_before - staged + entered, changed=changed)


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


def count_read(connection: Connection, schemas: Schemas, table: str, changed: int, *, is_settled: bool) -> SourceCounts:
    """Append mode: the fates of the rows that the folder's file holds; rows that only the store holds are not counted.

    Identical rows share their fate, so of each hash the file's copies count, however many the store holds.
    """
    none = sql.SQL("SELECT NULL::uuid AS row_hash WHERE false").format()
    entering = sql.SQL("SELECT row_hash FROM {} UNION ALL SELECT row_hash FROM {} WHERE fate = 'copy'").format(
        name(schemas.run, table + "_in"), name(schemas.run, table + "_held_in")
    )
    query = sql.SQL(
        "WITH kept AS (SELECT row_hash, count(*) AS copies FROM {kept} GROUP BY row_hash),"
        " entered AS (SELECT row_hash, count(*) AS copies FROM ({entering}) AS entering GROUP BY row_hash),"
        " held AS (SELECT row_hash, fate FROM {held} WHERE fate <> 'copy'"
        " UNION SELECT row_hash, 'quarantined' FROM {bad} WHERE source_table = {table})"
        " SELECT coalesce(sum(kept.copies), 0)::bigint,"
        " coalesce(sum(least(kept.copies, entered.copies)) FILTER (WHERE entered.copies > 0), 0)::bigint,"
        " coalesce(sum(kept.copies) FILTER (WHERE fate = 'quarantined'), 0)::bigint,"
        " coalesce(sum(kept.copies) FILTER (WHERE fate = 'pending'), 0)::bigint"
        " FROM kept LEFT JOIN entered USING (row_hash) LEFT JOIN held USING (row_hash)"
    ).format(
        kept=name(schemas.run, table + "_kept"),
        entering=entering if is_settled else none,
        held=name(schemas.quarantine, table),
        bad=name(schemas.quarantine, "bad_record"),
        table=sql.Literal(table),
    )
    read, entered, quarantined, pending = execute(connection, query).fetchone() or (0, 0, 0, 0)
    return SourceCounts(
        read=read,
        unchanged=read - entered - quarantined - pending,
        new=entered - changed,
        changed=changed,
        quarantined=quarantined,
        pending=pending,
    )


def count_held_among(connection: Connection, schemas: Schemas, table: str, hashes: NDArray[np.uint64]) -> Held:
    """Append mode, nothing changed: how many of a file's rows are held; hashes of shape (n, 2)."""
    query = sql.SQL(
        "SELECT fate, string_agg(uuid_send(row_hash), '') FROM (SELECT row_hash, fate FROM {}"
        " UNION ALL SELECT row_hash, 'quarantined' FROM {} WHERE source_table = {}) AS held GROUP BY fate"
    ).format(name(schemas.quarantine, table), name(schemas.quarantine, "bad_record"), sql.Literal(table))
    counts = {fate: int(np.isin(hashes[:, 0], intake.unpack_hashes(packed)[:, 0]).sum()) for fate, packed in execute(connection, query)}
    return Held(quarantined=counts.get("quarantined", 0), pending=counts.get("pending", 0))


def check_accounts(run: Run) -> None:
    """Refuse to commit when a table's rows do not add up.

    Raises:
        CheckFailed: Naming the tables and their counts.
    """
    wrong = {table: counts for table, counts in run.summary.source_tables.items() if not counts.adds_up}
    if wrong:
        listed = "; ".join(f"{table}: {vars(counts)}" for table, counts in sorted(wrong.items()))
        raise CheckFailed(f"Rows read and their fates do not add up: {listed}. Nothing was applied. Rebuild with a full reload.")


def check_outcomes(outcomes: Outcomes, loaded: Mapping[str, int]) -> None:
    """Refuse to commit when a loaded row has neither a CDM row nor a rule that gives it none.

    Args:
        outcomes: Rows by source table and outcome.
        loaded: Rows of the image by source table.

    Raises:
        CheckFailed: Naming the tables and their counts.
    """
    wrong = []
    for table, rows in sorted(loaded.items()):
        counts = outcomes.get(table, {})
        if sum(counts.values()) != rows or min(counts.values(), default=0) < 0 or UNEXPLAINED in counts:
            wrong.append(f"{table}: {rows} rows loaded, {counts}")
    if wrong:
        raise CheckFailed(
            f"Loaded rows and what became of them do not add up: {'; '.join(wrong)}. Nothing was applied."
            " If CDM rows were changed by hand, a full reload mends it; else please report it."
        )
