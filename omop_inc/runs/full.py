"""A full load: everything is built beside and exchanged in one transaction; known rows keep their ids.

Belongs here: the order of a full load's steps, for the first load, a reload, and a reload from the image (append mode).
Does not: increments (increment.py).
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from psycopg import sql

from omop_inc.cdm import lookups, outcomes
from omop_inc.cdm.cut_texts import cut_at
from omop_inc.cdm.id_sets import IdSet, read_id_set
from omop_inc.cdm.publish import Written, compare_with_committed, exchange
from omop_inc.cdm.quality.checker import Checked
from omop_inc.cdm.results import full_path, keep_view, prepare_full, prepare_full_views, route_full, routed_sources, routed_targets, run_full
from omop_inc.cdm.transforms import KEPT_VIEWS, all_reads, coded_sources, transforms, views, views_of, waits
from omop_inc.errors import CheckFailed
from omop_inc.runs import accounting, checking, guards
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen, digest_snapshot, largest_first, one_by_one
from omop_inc.runs.increment import tell_codes
from omop_inc.runs.loading import Loaded, load
from omop_inc.runs.publishing import Outcome, publishing
from omop_inc.runs.scaffold import build_scaffold
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import apply, fates, history, intake
from omop_inc.store.db import execute
from omop_inc.store.row_ids import read_row_ids, write_row_ids
from omop_inc.store.state import TableState, adopt_next_base, create_next_base, write_table_state

# Steps of the graph that belong to no table.
_RESOLVED, _GUARDED, _PREPARED, _SCAFFOLD = "codes-resolved", "guard-losses", "check-before", "scaffold-increments"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A snapshot built beside, not yet published."""

    seen: dict[str, Seen]
    loaded: dict[str, Loaded]
    staged: dict[str, int]  # rows that are settled as loaded, by source table
    written: dict[str, Written]  # by CDM table: the difference to the committed rows
    checks: checking.BuiltChecks


def full_load(run: Run, seen: dict[str, Seen], outcome: Outcome) -> None:
    """Build image and CDM beside from the snapshot (or, in append mode, from the image) and exchange them."""
    built = build_beside(run, seen, outcome)
    run.summary.cdm_tables = {table: dict(vars(written)) for table, written in built.written.items()}
    _publish(run, built, outcome, built.checks.conclude())


def build_beside(run: Run, seen: dict[str, Seen], outcome: Outcome, *, to_publish: bool = True, expected: str | None = None) -> Built:
    """Build image and CDM of a snapshot beside the committed ones, with the ids of all rows that the store knows, and count them.

    Args:
        to_publish: Whether it is to be checked, and a snapshot that would lose data refused.
        expected: Digest of the one snapshot that makes sense here.

    Raises:
        CheckFailed: If the folder is another snapshot; known as soon as the files are read.
    """
    is_first, schemas = run.last is None, run.schemas
    with run.database.connection() as connection:
        for schema in (schemas.run, schemas.next_staging):
            execute(connection, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        intake.create_bad_table(connection, schemas)
        create_next_base(connection, schemas)
        ids = read_row_ids(connection, schemas)
    with ThreadPoolExecutor(run.settings.workers, thread_name_prefix="load") as pool:
        after = one_by_one({table: one.before.rows for table, one in seen.items()}, run.settings.workers) if run.keeps_ids else None
        loaded = run.each("load", largest_first(seen), lambda table: load(run, seen[table], ids, pool), after)
    with run.database.connection() as connection:
        write_row_ids(connection, schemas, ids)
    seen = {table: loaded[table].seen for table in seen}
    outcome.snapshot_digest = digest_snapshot({table: (one.rows, one.hash_sum) for table, one in seen.items()})
    _check_expected(outcome.snapshot_digest, expected)
    _prepare(run, outcome)
    checks = checking.BuiltChecks(run, is_wanted=to_publish)
    is_guarded = to_publish and run.settings.mode == "snapshot" and not is_first
    done = _carry_out(run, seen, outcome, checks, is_guarded=is_guarded, to_publish=to_publish)
    run.summary.outcomes = {table: done[f"account-{table}"] for table in largest_first(seen)}
    staged = {table: done[f"settle-{table}"] for table in largest_first(seen)}
    if is_first:
        written = {transform: Written(inserted=done[transform], total=done[transform]) for transform in transforms()}
    else:
        written = {transform: done[f"compare-{transform}"] for transform in transforms()}
    return Built(seen=seen, loaded=loaded, staged=staged, written=written, checks=checks)


def _check_expected(digest: str, expected: str | None) -> None:
    if expected is not None and digest != expected:
        raise CheckFailed(f"The folder's snapshot is {digest}, the CDM holds {expected}. Verify with the folder that was applied last.")


def _read_ids(run: Run, table: str, ids: dict[str, IdSet]) -> None:
    """Note the ids that a CDM table holds."""
    with run.recorder.step("account", table) as counts, run.database.connection() as connection:
        ids[table] = read_id_set(connection, run.schemas.next_cdm, table, f"{table}_id")
        counts.rows_in = ids[table].size


def _count_outcomes(run: Run, table: str, ids: dict[str, IdSet]) -> dict[str, int]:
    with run.recorder.step("account", table) as counts, run.database.connection() as connection:
        found = outcomes.count_whole(connection, table, run.schemas.next_staging, full_path(run.schemas), ids)
        counts.rows_in = found.total()
    return dict(sorted(found.items()))


def _compare(run: Run, transform: str, rows: dict[str, int]) -> Written:
    """How what a transform wrote differs from what is committed."""
    with run.recorder.step("compare", transform), run.database.connection() as connection:
        return compare_with_committed(connection, run.schemas, transform, rows[transform])


def _settle(run: Run, table: str) -> int:
    """Take out of the image what is not to be loaded; what its rows name is settled by now.

    Returns:
        The rows that stay.
    """
    with run.recorder.step("settle", table) as counts, run.database.connection() as connection:
        seen = fates.settle_image(connection, run.schemas, SOURCE_TABLES[table], cut_at(table))
        counts.rows_in = seen.rows
    run.summary.unknown_references.update(seen.unknown_references)
    run.summary.cut_texts.update(seen.long_texts)
    return seen.rows


def _prepare(run: Run, outcome: Outcome) -> None:
    """Make the look-ups, empty yet, and the views over the new image that tell which codes are in use."""
    schemas = run.schemas
    with run.recorder.step("codes"), run.database.connection() as connection:
        parameters = lookups.read_parameters(connection, schemas, outcome.snapshot_date, run.settings.time_zone)
        lookups.create_lookups(connection, schemas, renumber=run.settings.renumber)
        lookups.write_parameters(connection, schemas, parameters)
        prepare_full(connection, schemas, run.settings.time_zone)


def _carry_out(
    run: Run, seen: dict[str, Seen], outcome: Outcome, checks: checking.BuiltChecks, *, is_guarded: bool, to_publish: bool
) -> dict[str, Any]:
    """Carry out all steps behind the loading, each as soon as what it needs is there.

    Settle the image, resolve the codes in use, route the coded rows, run the transforms, compare with what is committed, check, and count
    what became of every row.

    Returns:
        What each gave: rows that stay, by `settle-` and source table; rows by CDM table; the differences by `compare-` and CDM table;
        the outcomes by `account-` and source table.
    """
    tables = largest_first(seen)
    routed = [table for table in tables if table in routed_sources()]
    built, compared = set(transforms()), [] if run.last is None else list(transforms())
    ids: dict[str, IdSet] = {}
    rows: dict[str, int] = {}
    # What the codes wait for goes first: all that is routed waits for them.
    work: dict[str, Callable[[], Any]] = {
        **{f"settle-{table}": partial(_settle, run, table) for table in tables if table in coded_sources()},
        **{f"codes-{kind}": partial(_gather, run, kind) for kind in lookups.IN_USE},
        _RESOLVED: partial(_resolve, run),
        **{f"settle-{table}": partial(_settle, run, table) for table in tables if table not in coded_sources()},
        _GUARDED: partial(_guard, run, seen, outcome, is_guarded=is_guarded),
        **{f"keep-{view}": partial(_keep, run, view) for view in KEPT_VIEWS},
        **{f"route-{table}": partial(_route, run, table) for table in routed},
        **{transform: partial(_transform, run, transform, rows) for transform in waits()},
        **{f"compare-{transform}": partial(_compare, run, transform, rows) for transform in compared},
        **({_PREPARED: checks.prepare} if checks.tables else {}),
        **{f"check-{table}": partial(checks.check, table) for table in checks.tables},
        **({_SCAFFOLD: partial(build_scaffold, run)} if to_publish else {}),
        **{f"account-{table}": partial(_read_ids, run, table, ids) for table in outcomes.ID_TABLES},
        **{f"account-{table}": partial(_count_outcomes, run, table, ids) for table in tables},
    }
    after = {
        **{f"settle-{table}": {f"settle-{other}" for other in others} for table, others in fates.waits().items()},
        **{f"codes-{kind}": {f"settle-{table}" for table in _coded(kind)} for kind in lookups.IN_USE},
        _RESOLVED: {f"codes-{kind}" for kind in lookups.IN_USE},
        _GUARDED: {f"settle-{table}" for table in tables},
        **{f"keep-{view}": {_RESOLVED, *(f"settle-{table}" for table in all_reads(views()[view])[0])} for view in KEPT_VIEWS},
        **{f"route-{table}": {_RESOLVED, f"settle-{table}"} for table in routed},
        **{transform: _needs(transform, routed, is_guarded=is_guarded) for transform in waits()},
        **{f"compare-{transform}": {transform} for transform in compared},
        _PREPARED: built,
        **{f"check-{table}": {_PREPARED} for table in checks.tables},
        _SCAFFOLD: built,
        **{f"account-{table}": {table} for table in outcomes.ID_TABLES},
        **{f"account-{table}": {*built, *(f"account-{target}" for target in outcomes.ID_TABLES)} for table in tables},
    }
    return run.each("transform", list(work), lambda item: work[item](), after)


def _needs(transform: str, routed: list[str], *, is_guarded: bool) -> set[str]:
    """What must be done before a transform of a full load begins."""
    sources, others = all_reads(transforms()[transform])
    routes = {f"route-{table}" for table in routed} if transform in routed_targets() else set()
    kept = {f"keep-{view.name}" for view in views_of(transforms()[transform]) if view.name in KEPT_VIEWS}
    return {_RESOLVED, *others, *routes, *kept, *(f"settle-{table}" for table in sources), *({_GUARDED} if is_guarded else ())}


def _coded(kind: str) -> Iterable[str]:
    """The source tables in which codes, units or answers are looked for."""
    return coded_sources() if kind == "code" else ("observations",)


def _gather(run: Run, kind: str) -> int:
    with run.recorder.step("codes", kind), run.database.connection() as connection:
        lookups.gather_codes(connection, run.schemas, kind, run.schemas.next_staging, with_known=False)
    return 0


def _resolve(run: Run) -> int:
    """Resolve the codes in use, and make the views that join what came of it."""
    with run.recorder.step("codes") as counts, run.database.connection() as connection:
        report = lookups.resolve_codes(connection, run.schemas, run.settings)
        counts.rows_in = report.codes
        prepare_full_views(connection, run.schemas)
    tell_codes(run, report)
    return report.codes


def _guard(run: Run, seen: dict[str, Seen], outcome: Outcome, *, is_guarded: bool) -> int:
    """Refuse a snapshot that would lose data."""
    if is_guarded:
        with run.recorder.step("guard"):
            guards.check_files(run, seen, outcome.snapshot_digest)
            guards.check_losses(run, seen, outcome.snapshot_digest, is_full=True, tables=list(SOURCE_TABLES))
    return 0


def _keep(run: Run, view: str) -> int:
    with run.recorder.step("keep", view) as counts:
        counts.rows_written = keep_view(run.database, run.schemas, view)
    return counts.rows_written


def _route(run: Run, table: str) -> int:
    with run.recorder.step("route", table) as counts:
        counts.rows_written = route_full(run.database, run.schemas, table)
    return counts.rows_written


def _transform(run: Run, transform: str, rows: dict[str, int]) -> int:
    with run.recorder.step("transform", transform) as counts:
        settings = run.settings
        index_first = "drop_indexes" in settings.without
        result = run_full(run.database, run.schemas, transform, full_path(run.schemas), foreign_keys=settings.foreign_keys, index_first=index_first)
        counts.rows_written = rows[transform] = result.rows
    return result.rows


def _publish(run: Run, built: Built, outcome: Outcome, checked: Checked | None) -> None:
    schemas, staged = run.schemas, built.staged
    with run.recorder.step("publish") as counts, publishing(run, outcome) as generation:
        connection = run.raw
        before = accounting.count_held(connection, schemas)
        moves = {table: _moves(run, one, staged[table]) for table, one in built.seen.items()}
        if run.last is not None:
            history.note_reload(connection, schemas, generation, renumber=run.settings.renumber)
        apply.exchange_image(connection, schemas, renumber=run.settings.renumber)
        apply.apply_bad_records(connection, schemas, run.run_id, replace=True)
        exchange(
            connection,
            schemas,
            run.run_id,
            is_first=run.last is None,
            foreign_keys=run.settings.foreign_keys,
            vocabulary=schemas.vocabulary,
        )
        apply.apply_content_ids(connection, schemas, renumber=run.settings.renumber)
        lookups.keep_codes(connection, schemas)
        held = accounting.count_held(connection, schemas)
        for table, one in built.seen.items():
            copies_before = before.get(table, accounting.Held()).copies
            counted = accounting.account(one, moves[table], held.get(table, accounting.Held()), copies_before)
            run.summary.source_tables[table] = counted
        accounting.check_accounts(run)
        accounting.check_outcomes(run.summary.outcomes, staged)
        _write_state(run, built, generation)
        checking.keep(run, checked, generation)
        counts.rows_written = sum(entry["total"] for entry in run.summary.cdm_tables.values())


def _moves(run: Run, seen: Seen, staged: int) -> accounting.Moves:
    """How the image of a table moves; without known ids every row is new."""
    if run.last is None or run.settings.renumber:
        return accounting.Moves(entered=staged, left=seen.before.loaded)
    return accounting.count_reload_moves(run.raw, run.schemas, seen.table, loaded_before=seen.before.loaded, staged=staged)


def _write_state(run: Run, built: Built, generation: int) -> None:
    for table, one in built.seen.items():
        if not one.rows and not one.before.rows:
            continue
        counts = run.summary.source_tables[table]
        state = TableState(
            file_digest=one.digest,
            rows=one.rows,
            hash_sum=one.hash_sum,
            loaded=built.staged[table],
            quarantined=counts.quarantined,
            pending=counts.pending,
        )
        write_table_state(run.raw, run.schemas, table, state)
        if run.settings.mode == "snapshot" or run.last is None:  # else the image is as it was, and so are its hashes
            adopt_next_base(run.raw, run.schemas, table, generation)
