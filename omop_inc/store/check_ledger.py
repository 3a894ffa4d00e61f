"""What the ledger keeps of the checks: the results that changed, the current one of each, and counts by source value.

Belongs here: their tables and statements. Does not: what a result means (cdm/quality/results.py). Values of rows are never written.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple

from psycopg import sql

from omop_inc.resources import read_sql
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, columns, name


class StoredResult(NamedTuple):
    """A check's result as it is kept; a tuple, for each run makes and compares some thousands."""

    check_id: str
    fingerprint: str
    severity: str
    threshold: float
    violated: int
    denominator: int
    status: str
    samples: tuple[int, ...]
    as_of: date


_COLUMNS = StoredResult._fields


@dataclass(frozen=True, kw_only=True)
class ValueChange:
    """How the counts of a source value change."""

    check_id: str
    value_key: uuid.UUID
    rows: int
    unmapped: int


def exists(connection: Connection, schemas: Schemas) -> bool:
    """Whether results have been kept."""
    return fetch_value(connection, "SELECT to_regclass(%s)", (f"{schemas.ledger}.check_result",)) is not None


def create(connection: Connection, schemas: Schemas) -> None:
    """Create what is missing."""
    execute(connection, sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schemas.ledger)))
    execute(connection, read_sql("ddl/check_result.sql"))
    execute(connection, "SET LOCAL search_path TO DEFAULT")


def read_current(connection: Connection, schemas: Schemas) -> dict[str, StoredResult]:
    """The current result of each check, by id; none before the first."""
    if not exists(connection, schemas):
        return {}
    query = sql.SQL("SELECT {} FROM {}").format(columns(_COLUMNS), name(schemas.ledger, "check_current"))
    found = (StoredResult(*row) for row in execute(connection, query))
    return {result.check_id: result._replace(samples=tuple(result.samples)) for result in found}


def read_values(connection: Connection, schemas: Schemas, check_id: str, keys: Iterable[uuid.UUID]) -> dict[uuid.UUID, tuple[int, int]]:
    """What is kept of some source values of a check."""
    query = sql.SQL("SELECT value_key, rows, unmapped FROM {} WHERE check_id = %s AND value_key = ANY (%s)")
    rows = execute(connection, query.format(name(schemas.ledger, "check_value")), (check_id, list(keys)))
    return {row[0]: (row[1], row[2]) for row in rows}


def write_results(
    connection: Connection,
    schemas: Schemas,
    run_id: str,
    generation: int,
    results: Iterable[StoredResult],
    known: Mapping[str, StoredResult] | None = None,
) -> int:
    """Add the results of a run that differ from the current ones; the caller's transaction decides whether they stay.

    Args:
        known: The current ones, where the run has read them.

    Returns:
        How many differ.
    """
    create(connection, schemas)
    known = read_current(connection, schemas) if known is None else known
    wanted = {result.check_id: result for result in results}
    changed = [result for result in wanted.values() if known.get(result.check_id) != result]
    target = name(schemas.ledger, "check_result")
    execute(connection, sql.SQL("DELETE FROM {} WHERE check_id <> ALL (%s)").format(target), (list(wanted),))
    copy = sql.SQL("COPY {} (run_id, generation, {}) FROM STDIN").format(target, columns(_COLUMNS))
    with connection.cursor() as cursor, cursor.copy(copy) as stream:
        for one in changed:
            stream.write_row((run_id, generation, *one._replace(samples=list(one.samples))))  # type: ignore[arg-type]
    return len(changed)


def write_values(connection: Connection, schemas: Schemas, changes: Iterable[ValueChange], counted_anew: Iterable[str]) -> None:
    """Carry counts by source value over into the table; those of checks that were counted anew take the place of all there were."""
    target = name(schemas.ledger, "check_value")
    execute(connection, sql.SQL("DELETE FROM {} WHERE check_id = ANY (%s)").format(target), (list(counted_anew),))
    rows = [(change.check_id, change.value_key, change.rows, change.unmapped) for change in changes]
    if not rows:
        return
    execute(connection, "CREATE TEMP TABLE changed_value (check_id text, value_key uuid, rows bigint, unmapped bigint) ON COMMIT DROP")
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.changed_value FROM STDIN") as stream:
        for row in rows:
            stream.write_row(row)
    merge = sql.SQL(
        "INSERT INTO {} AS known SELECT * FROM pg_temp.changed_value ON CONFLICT (check_id, value_key) DO UPDATE"
        " SET rows = known.rows + excluded.rows, unmapped = known.unmapped + excluded.unmapped"
    )
    execute(connection, merge.format(target))
    execute(
        connection,
        sql.SQL(
            "DELETE FROM {} AS known USING pg_temp.changed_value AS changed WHERE known.check_id = changed.check_id"
            " AND known.value_key = changed.value_key AND known.rows = 0"
        ).format(target),
    )


def forget(connection: Connection, schemas: Schemas) -> None:
    """Forget all results: a run without checks leaves counts that are nobody's."""
    if exists(connection, schemas):
        for table in ("check_result", "check_value"):
            execute(connection, sql.SQL("DELETE FROM {}").format(name(schemas.ledger, table)))


def prune(connection: Connection, schemas: Schemas, keep: int) -> None:
    """Forget results that were followed by another one more than `keep` generations ago."""
    result = name(schemas.ledger, "check_result")
    query = sql.SQL(
        "DELETE FROM {0} AS old USING (SELECT max(generation) - %s AS oldest FROM {0}) AS kept WHERE old.generation < kept.oldest AND EXISTS"
        " (SELECT FROM {0} AS later WHERE later.check_id = old.check_id AND later.generation > old.generation AND later.generation <= kept.oldest)"
    )
    execute(connection, query.format(result), (keep,))


def as_rows(results: Mapping[str, StoredResult]) -> list[StoredResult]:
    """The results in the order of their ids."""
    return [results[key] for key in sorted(results)]
