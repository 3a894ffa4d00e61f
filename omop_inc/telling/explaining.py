"""Explain one row: where a CDM row comes from, or what became of a source row and why; with the runs that saw it.

Belongs here: putting lineage, fates and history together in words. Does not: the queries (cdm/lineage.py, store/held.py).

The lines hold values of rows. They go to the terminal of the person who asked and nowhere else: never to a log.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import sql

from omop_inc.cdm import descent, lineage, outcomes
from omop_inc.cdm.transforms import transforms
from omop_inc.errors import SettingsError
from omop_inc.source.records import hash_records, read_chunks
from omop_inc.source.snapshot import open_snapshot
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import held, history
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, name

# Of a visit or an era with more source rows than these the rest is counted.
MOST = 10

LOST = "no CDM row and no rule that says why; CDM rows were changed by hand, or this is an error to report"
HELD_RULES = {
    "repeated_id": "several rows of this Id have different content; all of them wait until one is left",
    "identical": "the same row once more; one of them is loaded and stands for all",
}


def explain_cdm_row(connection: Connection, schemas: Schemas, table: str, asked: str, folder: Path | None = None) -> Iterator[str]:
    """The lines that tell where a CDM row comes from.

    Args:
        asked: Its id, or the Id of a source row that it is named after, such as a patient's.
        folder: The snapshot applied last, to find the row's line in its file.

    Raises:
        SettingsError: If there is no such table, id or row.
    """
    if table not in transforms():
        raise SettingsError(f"No transform fills '{table}'; expected one of {', '.join(sorted(transforms()))}.")
    if table in lineage.WITHOUT_ROWS:
        raise SettingsError(f"A row of {table} comes from no source row of its own: {lineage.WITHOUT_ROWS[table]}.")
    row_id = _cdm_id(connection, schemas, table, asked)
    lineage.prepare(connection, schemas)
    row = lineage.read_cdm_row(connection, table, row_id)
    if row is None:
        raise SettingsError(f"'{schemas.cdm}.{table}' has no row {row_id}.")
    yield f"{table} {row_id}"
    yield from _values(row)
    yield f"  made by sql/transform/{table}.sql, described in docs/mapping/{table}.md: {transforms()[table].text.splitlines()[0].removeprefix('-- ')}"
    yield f"  written last by {_last_written(connection, schemas, table, row_id)}"
    sources = lineage.sources_of(connection, table, row)
    if not sources:
        yield "  no source row leads to it: it was not made by the last run, or was changed by hand"
    for link in sources[:MOST]:
        yield ""
        for found in held.find_by_row_id(connection, schemas, link.row_id, link.table):
            yield from _source_row(connection, schemas, found, folder, how=link.how)
    if len(sources) > MOST:
        yield f"and {len(sources) - MOST} more source rows"


def explain_source_rows(connection: Connection, schemas: Schemas, found: list[held.Found], folder: Path | None = None) -> Iterator[str]:
    """The lines that tell what became of source rows."""
    lineage.prepare(connection, schemas)
    for place, one in enumerate(found):
        if place:
            yield ""
        yield from _source_row(connection, schemas, one, folder)


def _cdm_id(connection: Connection, schemas: Schemas, table: str, asked: str) -> int:
    if asked.lstrip("-").isdigit():
        return int(asked)
    try:
        own_id = str(UUID(asked))
    except ValueError:
        raise SettingsError(f"Expected an id of '{table}' (a number), or the Id of the source row that it is named after (a UUID).") from None
    sources = lineage.NAMED_AFTER.get(table) or [s for s, fates in outcomes.FATES.items() if table in fates.tables]
    for source in sources:
        if "id" in SOURCE_TABLES[source].staged and (row_id := held.id_of_row(connection, schemas, source, own_id)) is not None:
            return row_id
    raise SettingsError(f"No loaded row that '{table}' is named after has this Id.")


def _values(row: Any) -> Iterator[str]:
    width = max(map(len, row), default=0)
    for column, value in row.items():
        if value is not None:
            yield f"  {column:<{width}}  {value}"


def _source_row(connection: Connection, schemas: Schemas, found: held.Found, folder: Path | None, how: str = "") -> Iterator[str]:
    named = f"{found.table}.csv" + (f", row_id {found.row_id}" if found.row_id is not None else "")
    yield f"source row of {named}: {found.where if found.where != 'held' else found.fate}" + (f" ({how})" if how else "")
    yield from _values(found.columns)
    if found.row_id is not None:
        yield from _when(connection, schemas, found)
    if folder is not None and "row_hash" in found.columns:
        yield f"  line in {folder}: {_line(folder, found)}"
    yield from _became(connection, schemas, found)


def _when(connection: Connection, schemas: Schemas, found: held.Found) -> Iterator[str]:
    assert found.row_id is not None
    first = history.read_first_seen(connection, schemas, found.row_id)
    yield f"  first seen by {_run(connection, schemas, first)}"
    for event in history.read_events(connection, schemas, found.table, found.row_id):
        yield f"  {event.event} by {_run(connection, schemas, event.generation)}"


def _run(connection: Connection, schemas: Schemas, generation: int | None) -> str:
    if generation is None:
        return "a run before these were noted"
    query = sql.SQL("SELECT run_id, kind, finished_at, snapshot_date FROM {} WHERE generation = %s").format(name(schemas.ledger, "run"))
    row = execute(connection, query, (generation,)).fetchone()
    if row is None:
        return f"generation {generation}"
    of = f", snapshot of {row[3]}" if row[3] else ""
    return f"run {row[0]}, {row[1]}, generation {generation}, {row[2]:%Y-%m-%d %H:%M:%S} UTC{of}"


def _last_written(connection: Connection, schemas: Schemas, table: str, row_id: int) -> str:
    query = sql.SQL(
        "SELECT run.generation, feed.kind FROM {} AS feed INNER JOIN {} AS run ON run.run_id = feed.run_id"
        ' WHERE feed."table" = %s AND (feed.id = %s OR feed.id IS NULL) ORDER BY run.generation DESC LIMIT 1'
    ).format(name(schemas.ledger, "change_feed"), name(schemas.ledger, "run"))
    row = execute(connection, query, (table, row_id)).fetchone()
    return f"{_run(connection, schemas, row[0])} ({row[1]})" if row else "a run that the change feed no longer holds"


def _became(connection: Connection, schemas: Schemas, found: held.Found) -> Iterator[str]:
    if found.where == "removed":
        yield "  it is not in the export any more; if it comes back it gets this row_id again"
    elif found.where == "bad":
        yield f"  quarantined by rule {found.rule}: the record could not be read as a row (docs/operations.md)"
    elif found.where == "held":
        yield f"  {found.fate} by rule {found.rule}: {HELD_RULES.get(found.rule or '') or _parent(connection, schemas, found)}"
    else:
        targets = descent.targets_of(connection, found.table, dict(found.columns))
        for link in targets:
            yield f"  -> {link.table} {link.row_id}" + (f" ({link.how})" if link.how else "")
        for outcome in _outcomes(connection, schemas, found) if not targets or found.table in ("patients", "payers") else ():
            yield f"  rule {outcome}: {outcomes.RULES[outcome]}" if outcome in outcomes.RULES else f"  {outcome}: {LOST}"


def _outcomes(connection: Connection, schemas: Schemas, found: held.Found) -> list[str]:
    """What the row accounts count this row under, where that is no CDM table."""
    counts = outcomes.count_row(connection, schemas, found.table, dict(found.columns))
    lineage.prepare(connection, schemas)
    return sorted(outcome for outcome in counts if outcome in outcomes.RULES or outcome == outcomes.UNEXPLAINED)


def _parent(connection: Connection, schemas: Schemas, found: held.Found) -> str:
    """What became of the parent that a pending row waits for."""
    column = (found.rule or "").removeprefix("parent_")
    parent = next((one for one in SOURCE_TABLES[found.table].parents if one.column == column), None)
    if parent is None:
        return "see docs/operations.md"
    wanted = found.columns[column]
    above = held.find_by_columns(connection, schemas, parent.table, {"id": str(wanted)})
    if not above:
        return f"the row of {parent.table} with Id {wanted} has not come"
    what = "; ".join(
        f"{one.fate} by rule {one.rule}"
        if one.where in ("held", "bad")
        else "removed"
        if one.where == "removed"
        else "loaded, but of another patient"
        for one in above
    )
    return f"the row of {parent.table} with Id {wanted} is not loaded for this patient: {what}"


def _line(folder: Path, found: held.Found) -> str:
    """The lines of the file that hold the row, found by its hash."""
    file = open_snapshot(folder, unknown_columns="ignore").files.get(found.table)
    if file is None or file.is_empty:
        return f"the folder holds no {found.table}.csv"
    hashes, wanted = hash_records(file).hashes, found.columns["row_hash"].int
    mask = (hashes[:, 0] == np.uint64(wanted >> 64)) & (hashes[:, 1] == np.uint64(wanted & (1 << 64) - 1))
    if not mask.any():
        return f"{found.table}.csv does not hold this row"
    lines = [int(line) for chunk in read_chunks(file, chunk_rows=len(mask), want=mask) for line in chunk.line_numbers]
    return f"{found.table}.csv, line {', '.join(map(str, lines))}"
