"""Apply one snapshot: the whole of a run, and the one place where it ends well or badly.

Belongs here: what `omop-inc run`, `omop-inc reload` and the flows call. Does not: single steps.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from omop_inc.cdm.local_time import check_time_zone
from omop_inc.cdm.lookups import made_under
from omop_inc.cdm.transforms import transforms
from omop_inc.errors import CheckFailed, OmopIncError, RunBusyError, SnapshotRefusedError
from omop_inc.runs import accounting, guards
from omop_inc.runs.conductor import Conductor, Threads
from omop_inc.runs.context import Run, drop_run_schemas, load_vocabulary_if_named, locked_session, new_run_id, prepare_store
from omop_inc.runs.detect import Seen, detect, digest_snapshot
from omop_inc.runs.full import full_load
from omop_inc.runs.increment import increment
from omop_inc.runs.publishing import Outcome, ledger_row
from omop_inc.runs.scaffold import clear_scaffold
from omop_inc.runs.verifying import describe, verify
from omop_inc.settings import Settings
from omop_inc.source.snapshot import Snapshot, open_snapshot
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import ledger, state
from omop_inc.store.db import open_database
from omop_inc.store.schemas import Schemas
from omop_inc.telling.summary import SourceCounts, Summary
from omop_inc.telling.timings import Listener, Recorder

Kind = Literal["incremental", "full_reload", "verify"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked of a run."""

    source: Path
    kind: Kind = "incremental"
    vocabulary: Path | None = None


def apply_snapshot(
    request: Request, settings: Settings, conductor: Conductor | None = None, listener: Listener | None = None
) -> tuple[Summary, OmopIncError | None]:
    """Apply a snapshot to the CDM of the settings.

    Args:
        request: The snapshot and how to apply it.
        settings: Where to.
        conductor: Who carries the steps out; threads if None.
        listener: Is told of every step when it ends.

    Returns:
        The summary, and the error that stopped the run if one of ours did. Any other error is raised.
    """
    start, started_at = time.perf_counter(), datetime.now(UTC)
    summary = Summary(run_id=new_run_id(), kind=request.kind, status="failed")
    recorder = Recorder(listener=listener)
    stopped: OmopIncError | None = None
    try:
        _apply(request, settings, conductor or Threads(settings.workers), recorder, summary, started_at)
    except RunBusyError as error:
        summary.status, summary.message = "skipped", str(error)
    except SnapshotRefusedError as error:
        summary.status, summary.message, stopped = "refused", str(error), error
        summary.snapshot_digest = error.snapshot_digest or None
    except OmopIncError as error:
        summary.status, summary.message, stopped = "failed", str(error), error
    summary.timings = list(recorder.timings)
    summary.duration_s = time.perf_counter() - start
    return summary, stopped


def _apply(request: Request, settings: Settings, conductor: Conductor, recorder: Recorder, summary: Summary, started_at: datetime) -> None:
    with recorder.step("open"):
        snapshot = open_snapshot(request.source, unknown_columns=settings.unknown_columns)
        database = open_database(settings)
    for table, names in snapshot.ignored_columns.items():
        summary.warnings.append(f"'{table}.csv': unknown columns ignored: {', '.join(names)}.")
    schemas = Schemas(cdm=settings.cdm_schema, vocabulary=settings.vocabulary_schema)
    try:
        with locked_session(database, schemas, settings.lock_wait_s) as session:
            run = Run(
                run_id=summary.run_id,
                kind=request.kind,
                settings=settings,
                database=database,
                schemas=schemas,
                session=session,
                conductor=conductor,
                recorder=recorder,
                summary=summary,
            )
            outcome = Outcome(snapshot_digest="", snapshot_date=snapshot.snapshot_date, started_at=started_at)
            load_vocabulary_if_named(run, request.vocabulary)
            prepare_store(run)
            _recorded(run, outcome, lambda: _carry_out(run, request, snapshot, outcome))
    finally:
        database.close()


def _recorded(run: Run, outcome: Outcome, work: Callable[[], None]) -> None:
    """Do the work, and write timings and, for a run that applied nothing, its ledger row, however it ends."""
    try:
        work()
    except SnapshotRefusedError as error:
        run.summary.status, run.summary.message = "refused", str(error)
        raise
    except OmopIncError as error:
        run.summary.message = str(error)
        raise
    finally:
        run.ahead.end()
        run.session.rollback()
        with run.session.begin():
            if run.summary.status != "applied":
                row = ledger_row(run, outcome.started_at, outcome, None, run.summary.status)
                ledger.write_run(run.session, run.schemas, row)
            ledger.write_timings(run.session, run.schemas, run.run_id, run.recorder.timings)
            is_pruned = ledger.prune(run.session, run.schemas, run.settings.keep_runs)
        if is_pruned:
            _vacuum_ledger(run)
        if run.summary.status == "applied":
            _clear_applied(run)
        elif run.summary.status == "refused" or run.kind == "verify":
            _clear(run)


def _vacuum_ledger(run: Run) -> None:
    try:
        ledger.vacuum(run.database, run.schemas)
    except OmopIncError as error:
        run.summary.warnings.append(f"The ledger's space was not freed, which a later run or autovacuum does: {error}")


def _clear(run: Run) -> None:
    """Leave nothing behind: a full load's tables go, an increment's are emptied."""
    if run.builds_beside:
        drop_run_schemas(run, scaffold=run.kind != "verify")
    else:
        clear_scaffold(run)


def _clear_applied(run: Run) -> None:
    """Leave what the next increment finds made and empty. Whatever happens now, the snapshot is committed."""
    try:
        clear_scaffold(run)
    except OmopIncError as error:
        run.summary.warnings.append(f"The snapshot is applied; clearing up behind the run failed, and the next run does it: {error}")


def _carry_out(run: Run, request: Request, snapshot: Snapshot, outcome: Outcome) -> None:
    with run.database.connection() as connection:
        check_time_zone(connection, run.settings.time_zone)
        run.made_under = made_under(connection, run.schemas, run.settings)
        states = state.read_table_states(connection, run.schemas)
    guards.check_order(run, snapshot.snapshot_date)
    if request.kind == "verify":
        _verify(run, _unread(snapshot, states), outcome)
        return
    if run.last is None or request.kind == "full_reload":
        full_load(run, _unread(snapshot, states), outcome)
        run.summary.snapshot_digest = outcome.snapshot_digest
        return
    seen = detect(run, snapshot, states)
    outcome.snapshot_digest = digest_snapshot({table: (one.rows, one.hash_sum) for table, one in seen.items()})
    run.summary.snapshot_digest = outcome.snapshot_digest
    if run.settings.mode == "snapshot":
        guards.check_files(run, seen, outcome.snapshot_digest)
    is_same = not any(one.is_changed for one in seen.values())
    if is_same and run.made_under == run.last.fingerprint and outcome.snapshot_date == run.last.snapshot_date:
        run.summary.status = "no_change"
        _count_unchanged(run, seen)
        return
    increment(run, seen, outcome)


def _unread(snapshot: Snapshot, states: dict[str, state.TableState]) -> dict[str, Seen]:
    """The tables of a snapshot whose files are still to be read."""
    none = state.TableState()
    return {
        table: Seen(table=table, file=snapshot.files.get(table), before=states.get(table, none), digest=None, rows=0, hash_sum=0)
        for table in SOURCE_TABLES
    }


def _verify(run: Run, seen: dict[str, Seen], outcome: Outcome) -> None:
    if run.last is None:
        raise CheckFailed(f"Schema '{run.schemas.cdm}' holds no CDM yet; there is nothing to verify. Apply a snapshot first.")
    differences = verify(run, seen, outcome)
    run.summary.snapshot_digest = outcome.snapshot_digest
    if differences:
        raise CheckFailed(f"The CDM differs from a rebuild of the same snapshot. {describe(differences)}. A full reload mends it; please report it.")
    run.summary.status = "no_change"
    run.summary.message = (
        f"Equal: all {len(transforms())} CDM tables and {len(SOURCE_TABLES)} staged tables, ids, held rows and row accounts included."
    )


def _count_unchanged(run: Run, seen: dict[str, Seen]) -> None:
    """The counts of a run that changed nothing: every row has the fate that it had."""
    assert run.last is not None
    for table, one in seen.items():
        held: accounting.Held | state.TableState = one.before
        if run.settings.mode == "append" and (one.hashes is not None or not one.rows):  # the file is not the whole image
            held = accounting.Held()
            if one.hashes is not None:
                held = accounting.count_held_among(run.raw, run.schemas, table, one.hashes)
        counts = SourceCounts(read=one.rows, quarantined=held.quarantined, pending=held.pending)
        counts.unchanged = counts.read - counts.quarantined - counts.pending
        run.summary.source_tables[table] = counts
    run.summary.outcomes = run.last.summary.get("outcomes", {})
    run.summary.checks = {**run.last.summary.get("checks", {}), **({"counted": 0} if run.last.summary.get("checks") else {})}
    for table, last in run.last.summary["cdm_tables"].items():
        run.summary.cdm_tables[table] = {"inserted": 0, "deleted": 0, "total": last["total"]}


def exit_code(summary: Summary, error: OmopIncError | None) -> int:
    """The exit code of a run: 0 applied, no change or skipped; else that of the error."""
    return error.exit_code if error is not None else 0
