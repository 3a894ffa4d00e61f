"""An increment: stage the delta, settle fates, run the affected transforms, publish the difference.

Belongs here: the order of an increment's steps. Does not: detecting (detect.py), the full load (full.py).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.cdm import lookups, outcomes
from omop_inc.cdm.code_map import CodeMapReport
from omop_inc.cdm.cut_texts import cut_at
from omop_inc.cdm.delta import Delta
from omop_inc.cdm.publish import Written, apply_difference
from omop_inc.cdm.quality.checker import Checked
from omop_inc.cdm.results import run_increment
from omop_inc.cdm.scope import gather_routed
from omop_inc.cdm.transforms import coded_sources, transforms, waits
from omop_inc.errors import StateMismatchError
from omop_inc.runs import accounting, checking, guards
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen, largest_first
from omop_inc.runs.publishing import Outcome, publishing
from omop_inc.runs.scaffold import ready_scaffold
from omop_inc.source.hashing import MODULUS, sum128
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store import apply, fates, history, intake, pairing
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import hash_hex
from omop_inc.store.state import TableState, write_delta, write_table_state
from omop_inc.store.survey import survey
from omop_inc.telling.summary import SourceCounts

# Transforms whose rows follow the run's parameters as well.
OF_PARAMETERS = frozenset({"cdm_source", "metadata"})
# Steps of the graphs that belong to no table.
_RESOLVED, _COUNTED, _READ = "codes-resolved", "account-before", "check-before"

# What touched rows were, by source table and outcome; None where all must be counted anew.
Explained = dict[str, Counter[str]] | None


def increment(run: Run, seen: dict[str, Seen], outcome: Outcome) -> None:
    """Bring the CDM from the last snapshot to this one."""
    run.ahead.begin(lambda: ready_scaffold(run))  # a change of vocabulary alone: no file made detection begin it
    run.ahead.wait()
    delta = _settle(run, seen, outcome)
    aside = _transform_all(run, delta)
    checked = checking.check_increment(run, delta, aside[_READ])
    _publish(run, seen, delta, outcome, checked, aside[_COUNTED])


def _settle(run: Run, seen: dict[str, Seen], outcome: Outcome) -> Delta:
    """Stage what changed, settle it and resolve the codes in use, each as soon as what it needs is there; then guard against losses.

    Returns:
        What the transforms share.
    """
    changed = [table for table, one in seen.items() if one.is_changed]
    with run.database.connection() as connection:
        settled = fates.reached(changed, fates.held_tables(connection, run.schemas))
    delta = _delta(run, set(settled), outcome)
    work: dict[str, Callable[[], None]] = {
        **{f"stage-{table}": partial(stage, run, seen[table]) for table in largest_first(seen) if table in changed},
        **{f"settle-{table}": partial(_settle_table, run, SOURCE_TABLES[table], settled) for table in settled},
        _RESOLVED: partial(_resolve, run, outcome),
    }
    after = {
        **{f"settle-{table}": {f"stage-{table}", *(f"settle-{parent}" for parent in fates.above()[table])} for table in settled},
        _RESOLVED: {f"settle-{table}" for table in coded_sources()},
    }
    run.each("settle", list(work), lambda item: work[item](), after)
    if run.settings.mode == "snapshot":
        with run.recorder.step("guard"):
            guards.check_losses(run, seen, outcome.snapshot_digest, is_full=False, tables=changed)
    return delta


def stage(run: Run, seen: Seen) -> None:
    """Take a file's new records in, and find the stored rows that left."""
    table, schemas = SOURCE_TABLES[seen.table], run.schemas
    assert seen.delta is not None
    with run.recorder.step("stage", seen.table) as counts:
        if run.is_again(f"stage-{table.name}"):
            with run.database.connection() as connection:
                intake.empty_intake_tables(connection, schemas, table)
        entering = 0
        if seen.file is not None and seen.wanted is not None:
            taken = intake.stage_delta(run.database, schemas, seen.file, seen.wanted, run.settings.chunk_rows, seen.places)
            counts.rows_in, counts.rows_new = taken.rows, taken.good
            if taken.rows != seen.delta.new.total:
                raise StateMismatchError(f"'{seen.table}.csv' was changed while it was read. Start the run again when it is whole.")
            entering = taken.hash_sum
        with run.database.connection() as connection:
            if run.settings.mode == "append":
                _note_kept(connection, schemas, seen)
                counts.rows_removed = pairing.find_replaced(connection, schemas, table)
                return
            leaving = intake.find_leaving(connection, schemas, table, seen.delta)
            counts.rows_removed = seen.delta.removed.total
            execute(connection, sql.SQL("ANALYZE {}").format(name(schemas.run, seen.table + "_leave")))
        if (seen.before.hash_sum - leaving + entering) % MODULUS != seen.hash_sum:
            raise StateMismatchError(
                f"The hash state of '{seen.table}' does not lead to the file: their 128-bit sums disagree. Nothing was applied. Start the run again,"
                " in case the file was changed while it was read; else rebuild with a full reload, which reads every row."
            )


def _note_kept(connection: Connection, schemas: Schemas, seen: Seen) -> None:
    """The hashes of the file's records, so that a row which the folder still holds is not replaced (append mode)."""
    assert seen.hashes is not None
    kept = name(schemas.run, seen.table + "_kept")
    with connection.cursor() as cursor, cursor.copy(sql.SQL("COPY {} FROM STDIN").format(kept)) as copy:
        copy.write(b"".join(line + b"\n" for line in hash_hex(seen.hashes)))
    execute(connection, sql.SQL("ANALYZE {}").format(kept))


def _settle_table(run: Run, table: SourceTable, settled: list[str]) -> None:
    """Give ids and fates to all candidates of a table; its parents have theirs."""
    with run.recorder.step("settle", table.name) as counts, run.database.connection() as connection:
        if run.is_again(f"settle-{table.name}"):
            fates.forget_decisions(connection, run.schemas, table)
        pairing.assign_row_ids(connection, run.schemas, table)
        fates.gather_candidates(connection, run.schemas, table, settled)
        fates.decide(connection, run.schemas, table, settled)
        moves = accounting.count_moves(connection, run.schemas, table.name)
        counts.rows_new = moves.entered - moves.changed
        counts.rows_changed = moves.changed
        counts.rows_removed = moves.left - moves.changed


def _delta(run: Run, settled: set[str], outcome: Outcome) -> Delta:
    """What the transforms share: the tables whose staged image will change, and which transforms look at everything."""
    last = run.last
    assert last is not None
    whole = lookups.whole_transforms(last.fingerprint, run.made_under)
    is_other = last.fingerprint != run.made_under or outcome.snapshot_date != last.snapshot_date
    return Delta(schemas=run.schemas, settled=settled, whole=whole, forced=OF_PARAMETERS if is_other else frozenset())


def _resolve(run: Run, outcome: Outcome) -> None:
    """Write the parameters, resolve the codes in use, and note which persons' rows go where."""
    with run.recorder.step("codes") as counts, run.database.connection() as connection:
        parameters = lookups.read_parameters(connection, run.schemas, outcome.snapshot_date, run.settings.time_zone)
        lookups.write_parameters(connection, run.schemas, parameters)
        for kind in lookups.IN_USE:
            lookups.gather_codes(connection, run.schemas, kind, run.schemas.delta, with_known=True)
        report = lookups.resolve_codes(connection, run.schemas, run.settings)
        counts.rows_in = report.codes
        gather_routed(connection, run.schemas)
    tell_codes(run, report)


def tell_codes(run: Run, report: CodeMapReport) -> None:
    """Put into the summary what the resolution found, and name the fixed concepts that are therefore written as 0."""
    run.summary.codes = {
        "codes": report.codes,
        "unmapped": report.unmapped,
        "units": report.units,
        "unmapped_units": report.unmapped_units,
        "answers": report.answers,
    }
    if report.missing_fixed:
        listed = ", ".join(map(str, report.missing_fixed))
        run.summary.warnings.append(f"The vocabulary lacks these fixed concepts, written as 0: {listed}.")
    if report.missing_ucum:
        run.summary.warnings.append(f"OMOP_INC_UNITS names codes that are not UCUM's, lines without effect: {', '.join(report.missing_ucum)}.")


def _transform_all(run: Run, delta: Delta) -> dict[str, Any]:
    """Run the transforms; where a worker is free at last, what checks and accounts need of the committed state is read meanwhile.

    Returns:
        What was read, by _COUNTED and _READ.
    """
    aside: dict[str, Callable[[], Any]] = {_COUNTED: partial(_count_before, run, delta), _READ: partial(checking.read_committed, run)}

    def work(item: str) -> Any:
        return aside[item]() if item in aside else _transform(run, delta, item)

    return run.each("transform", [*waits(), *aside], work, {**waits(), _COUNTED: outcomes.OF_PATIENTS})


def _transform(run: Run, delta: Delta, transform: str) -> None:
    with run.recorder.step("transform", transform) as counts:
        result = run_increment(run.database, delta, transform, is_again=run.is_again(transform))
        counts.rows_in, counts.rows_new, counts.rows_removed = result.persons, result.added, result.gone
        counts.rows_written = result.rows
    if result.persons:
        delta.ran.add(transform)
    if result.gone or result.added:
        delta.changed.add(transform)


def _publish(run: Run, seen: dict[str, Seen], delta: Delta, outcome: Outcome, checked: Checked | None, explained: Explained) -> None:
    """The publishing transaction of an increment."""
    with run.recorder.step("publish") as counts, publishing(run, outcome) as generation:
        connection, schemas = run.raw, run.schemas
        before = accounting.count_held(connection, schemas)
        for table in SOURCE_TABLES:
            if table in delta.settled:
                history.note_delta(connection, schemas, SOURCE_TABLES[table], generation)
                counts.rows_written += apply.apply_delta(connection, schemas, SOURCE_TABLES[table])
        apply.apply_bad_records(connection, schemas, run.run_id, replace=False)
        totals = _last_totals(run)
        for transform in transforms():
            written = apply_difference(connection, schemas, transform, run.run_id) if transform in delta.ran else Written()
            total = totals.get(transform, 0) + written.inserted - written.deleted
            run.summary.cdm_tables[transform] = {"inserted": written.inserted, "deleted": written.deleted, "total": total}
            counts.rows_written += written.inserted
        apply.apply_content_ids(connection, schemas)
        lookups.keep_codes(connection, schemas)
        loaded, held = _account(run, seen, delta, before)
        _account_outcomes(run, delta, explained, loaded)
        for table in sorted(delta.settled):  # staging holds the new dimensions by now
            entered = survey(connection, SOURCE_TABLES[table], name(schemas.run, table + "_in"), schemas.staging, cut_at(table))
            run.summary.unknown_references.update(entered.unknown_references)
            run.summary.cut_texts.update(entered.long_texts)
        _write_state(run, seen, loaded, held, generation)
        checking.keep(run, checked, generation)


def _last_totals(run: Run) -> dict[str, int]:
    assert run.last is not None
    return {table: counts["total"] for table, counts in run.last.summary["cdm_tables"].items()}


def _account(run: Run, seen: dict[str, Seen], delta: Delta, before: dict[str, accounting.Held]) -> tuple[dict[str, int], dict[str, accounting.Held]]:
    """Count every table's fates, and stop if they do not add up.

    Returns:
        Rows of the staged image, and those held, by table.
    """
    none, after, loaded = accounting.Held(), accounting.count_held(run.raw, run.schemas), {}
    for table, one in seen.items():
        moves = accounting.count_moves(run.raw, run.schemas, table) if table in delta.settled else accounting.Moves()
        loaded[table] = one.before.loaded - moves.left + moves.entered
        counts = accounting.account(one, moves, after.get(table, none), before.get(table, none).copies)
        if run.settings.mode == "append" and one.delta is not None:
            if not one.is_changed:  # then it was not staged, which would have noted them
                _note_kept(run.raw, run.schemas, one)
            counts = accounting.count_read(run.raw, run.schemas, table, moves.changed, is_settled=table in delta.settled)
        elif run.settings.mode == "append" and not one.rows:
            counts = SourceCounts()
        run.summary.source_tables[table] = counts
    accounting.check_accounts(run)
    return loaded, after


def _count_before(run: Run, delta: Delta) -> Explained:
    """What the rows that the run touches were; None where all must be counted anew: other codes, or counts of an older store."""
    assert run.last is not None
    if delta.whole or not run.last.summary.get("outcomes"):
        return None
    with run.recorder.step("account", "before"), run.database.connection() as connection:
        return outcomes.count_touched(connection, delta, is_after=False)


def _account_outcomes(run: Run, delta: Delta, before: Explained, loaded: dict[str, int]) -> None:
    """Count what became of the loaded rows, and stop if one is lost; image and CDM are as they will be."""
    assert run.last is not None
    if before is None:
        run.summary.outcomes = outcomes.count_committed(run.raw, run.schemas)
    else:
        with run.recorder.step("account"):
            after = outcomes.count_touched(run.raw, delta, is_after=True)
        run.summary.outcomes = outcomes.move(run.last.summary["outcomes"], before, after)
    accounting.check_outcomes(run.summary.outcomes, loaded)


def _write_state(run: Run, seen: dict[str, Seen], loaded: dict[str, int], held: dict[str, accounting.Held], generation: int) -> None:
    """Write the state of every table whose rows, counts or file changed."""
    for table, one in seen.items():
        removed = np.empty(0, dtype=np.uint64)
        state = replace(one.before, file_digest=one.digest, rows=one.rows, hash_sum=one.hash_sum, loaded=loaded[table])
        if one.delta is not None and run.settings.mode == "append":
            state, removed = _appended_state(run, one, state)
        elif one.delta is not None:
            removed = np.repeat(one.delta.removed.values, one.delta.removed.counts)
        elif run.settings.mode == "append" and not one.rows:  # a folder without the file: the image keeps what it holds
            state = replace(one.before, loaded=loaded[table])
        counts = held.get(table, accounting.Held())
        state = replace(state, quarantined=counts.quarantined, pending=counts.pending)
        if one.rows or one.before.rows:
            write_table_state(run.raw, run.schemas, table, state)
        if one.is_changed:
            assert one.delta is not None
            added = np.repeat(one.delta.new.values, one.delta.new.counts)
            write_delta(run.raw, run.schemas, table, generation, added, removed)


def _appended_state(run: Run, seen: Seen, state: TableState) -> tuple[TableState, NDArray[np.uint64]]:
    """In append mode the state follows the image: what it held, the new rows, without those that were replaced.

    The file's digest stands for the image only where the image holds nothing else.
    """
    assert seen.delta is not None and seen.hashes is not None
    replaced = intake.read_leaving_hashes(run.raw, run.schemas, seen.table) if seen.is_changed else seen.hashes[:0]
    new = sum128(seen.hashes[seen.wanted]) if seen.wanted is not None else 0
    hash_sum = (seen.before.hash_sum + new - sum128(replaced)) % MODULUS
    rows = seen.before.rows + seen.delta.new.total - len(replaced)
    digest = seen.digest if hash_sum == seen.hash_sum and rows == seen.rows else None
    return replace(state, file_digest=digest, rows=rows, hash_sum=hash_sum), replaced[:, 0]
