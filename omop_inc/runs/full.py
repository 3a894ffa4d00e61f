"""A full load: everything is built beside and exchanged in one transaction; known rows keep their ids.

Belongs here: the order of a full load's steps, for the first load, a reload, and a reload from the image (append mode).
Does not: increments (increment.py).
"""

from dataclasses import dataclass, replace

import numpy as np
from psycopg import sql

from omop_inc.cdm import lookups
from omop_inc.cdm.cache import MapCache
from omop_inc.cdm.publish import Written, compare_with_committed, exchange
from omop_inc.cdm.quality.checker import Checked
from omop_inc.cdm.results import full_path, prepare_full, prepare_full_views, run_full
from omop_inc.cdm.transforms import transforms, waves
from omop_inc.runs import accounting, checking, guards
from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen, digest_snapshot
from omop_inc.runs.increment import tell_codes
from omop_inc.runs.publishing import Outcome, publishing
from omop_inc.source.hashing import digest_file, sum128
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import apply, fates, intake, pairing
from omop_inc.store.db import Connection, execute
from omop_inc.store.row_ids import KnownIds, RowIds, read_known_ids, read_row_ids, write_row_ids
from omop_inc.store.schemas import name
from omop_inc.store.staging import all_columns, create_staged
from omop_inc.store.state import TableState, write_base, write_table_state
from omop_inc.telling.summary import SourceCounts


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a full load took in of one source table."""

    intake: intake.Intake
    seen: Seen  # with what reading the file told
    matched: int = 0  # rows that the old image holds too
    changed: int = 0  # rows that took the id of a row of the old image that is not there any more


@dataclass(frozen=True, kw_only=True)
class Built:
    """A snapshot built beside, not yet published."""

    seen: dict[str, Seen]
    loaded: dict[str, Loaded]
    written: dict[str, Written]  # by CDM table: the difference to the committed rows


def full_load(run: Run, seen: dict[str, Seen], outcome: Outcome) -> None:
    """Build image and CDM beside from the snapshot (or, in append mode, from the image) and exchange them."""
    built = build_beside(run, seen, outcome)
    run.summary.cdm_tables = {table: dict(vars(written)) for table, written in built.written.items()}
    _publish(run, built, outcome, checking.check_built(run))


def build_beside(run: Run, seen: dict[str, Seen], outcome: Outcome, *, guarded: bool = True) -> Built:
    """Build image and CDM of a snapshot beside the committed ones, with the ids of all rows that the store knows.

    Args:
        guarded: Whether a snapshot that would lose data is refused.
    """
    is_first, schemas = run.last is None, run.schemas
    with run.database.connection() as connection:
        for schema in (schemas.run, schemas.next_staging):
            execute(connection, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))
        intake.create_bad_table(connection, schemas)
        ids = read_row_ids(connection, schemas)
    loaded = run.each("load", _largest_first(seen), lambda table: load(run, seen[table], ids))
    with run.database.connection() as connection:
        write_row_ids(connection, schemas, ids)
    seen = {table: loaded[table].seen for table in seen}
    outcome.snapshot_digest = digest_snapshot({table: (one.rows, one.hash_sum) for table, one in seen.items()})
    _settle(run)
    if guarded and run.settings.mode == "snapshot" and not is_first:
        with run.recorder.step("guard"):
            guards.check_files(run, seen, outcome.snapshot_digest)
            guards.check_losses(run, seen, outcome.snapshot_digest, is_full=True, tables=list(SOURCE_TABLES))
    run.each("index", list(SOURCE_TABLES), lambda table: _index(run, table))
    _prepare(run, outcome)
    for wave in waves():
        run.each("transform", wave, lambda transform: _transform(run, transform, full_path(schemas)))
    written = run.each("compare", list(transforms()), lambda transform: _compare(run, transform, is_first=is_first))
    return Built(seen=seen, loaded=loaded, written=written)


def _compare(run: Run, transform: str, *, is_first: bool) -> Written:
    with run.recorder.step("compare", transform), run.database.connection() as connection:
        return compare_with_committed(connection, run.schemas, transform, is_first=is_first)


def _largest_first(seen: dict[str, Seen]) -> list[str]:
    """The tables by falling file size, so that the last thread to end ends early."""
    sizes = {t: one.file.path.stat().st_size if one.file else 0 for t, one in seen.items()}
    return sorted(sizes, key=lambda t: -sizes[t])


def load(run: Run, seen: Seen, ids: RowIds) -> Loaded:
    """Load one source table into the image beside."""
    table, schemas = SOURCE_TABLES[seen.table], run.schemas
    with run.recorder.step("load", seen.table) as counts:
        with run.database.connection() as connection:
            create_staged(connection, schemas.next_staging, table)
            intake.create_intake_tables(connection, schemas, table)
            known = _known(connection, run, table.name)
        if run.settings.mode == "append" and run.last is not None:
            return _copy_image(run, seen)
        if seen.file is None or seen.file.is_empty:
            return Loaded(intake=intake.Intake(), seen=seen)
        digest = digest_file(seen.file).digest
        taken = intake.load_file(run.database, schemas, seen.file, ids, known, run.settings.chunk_rows)
        counts.rows_in, counts.rows_new = taken.rows, taken.good
        matched = taken.good - taken.unnumbered if known is not None else 0
        if known is not None:
            counts.rows_changed = _pair(run, table.name, known)
        found = replace(seen, digest=digest, rows=taken.rows, hash_sum=sum128(taken.all_hashes()))
        return Loaded(intake=taken, seen=found, matched=matched, changed=counts.rows_changed)


def _known(connection: Connection, run: Run, table: str) -> KnownIds | None:
    if run.last is None or run.settings.renumber:
        return None
    return read_known_ids(connection, [name(run.schemas.staging, table), name(run.schemas.quarantine, table)])


def _pair(run: Run, table: str, known: KnownIds) -> int:
    """Find the ids of the rows that no hash found, and put them into the image beside.

    Returns:
        How many of them took the id of an old row.
    """
    facts, schemas = SOURCE_TABLES[table], run.schemas
    candidate = name(schemas.run, table + "_candidate")
    names = sql.SQL(", ").join(map(sql.Identifier, all_columns(facts)))
    unused = np.sort(known.row_ids[~known.used])
    with run.database.connection() as connection:
        execute(connection, "CREATE TEMP TABLE unused (row_id bigint) ON COMMIT DROP")
        with connection.cursor() as cursor, cursor.copy("COPY pg_temp.unused FROM STDIN") as copy:
            copy.write("".join(f"{i}\n" for i in unused.tolist()))
        for origin, schema in (("staging", schemas.staging), ("held", schemas.quarantine)):
            statement = sql.SQL(
                "INSERT INTO {} ({}, origin) SELECT {}, {} FROM {} AS image WHERE image.row_id IN (SELECT row_id FROM pg_temp.unused)"
            )
            listed = sql.SQL(", ").join(sql.Identifier("image", c) for c in all_columns(facts))
            execute(connection, statement.format(name(schemas.run, table + "_leave"), names, listed, sql.Literal(origin), name(schema, table)))
        pairing.assign_row_ids(connection, schemas, facts)
        execute(connection, sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {}").format(name(schemas.next_staging, table), names, names, candidate))
        changed = sql.SQL("SELECT count(*) FROM {} WHERE row_id IN (SELECT row_id FROM {})").format(candidate, name(schemas.run, table + "_leave"))
        row = execute(connection, changed).fetchone()
    return int(row[0]) if row else 0


def _copy_image(run: Run, seen: Seen) -> Loaded:
    """Append mode: the truth is the image, so the new one begins with it and with what is held."""
    table, schemas = SOURCE_TABLES[seen.table], run.schemas
    names = sql.SQL(", ").join(map(sql.Identifier, all_columns(table)))
    taken = intake.Intake()
    with run.database.connection() as connection:
        for schema in (schemas.staging, schemas.quarantine):
            statement = sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2}")
            taken.good += execute(connection, statement.format(name(schemas.next_staging, table.name), names, name(schema, table.name))).rowcount
        bad = sql.SQL("INSERT INTO {0} ({2}) SELECT {2} FROM {1} WHERE source_table = {3}")
        listed = sql.SQL("source_table, row_hash, line, column_name, rule, record")
        taken.bad = execute(
            connection,
            bad.format(name(schemas.run, "bad_record"), name(schemas.quarantine, "bad_record"), listed, sql.Literal(table.name)),
        ).rowcount
    taken.rows = taken.good + taken.bad
    found = replace(seen, digest=seen.before.file_digest, rows=taken.rows, hash_sum=seen.before.hash_sum)
    return Loaded(intake=taken, seen=found, matched=taken.good)


def _settle(run: Run) -> None:
    with run.database.connection() as connection:
        for table in SOURCE_TABLES.values():
            execute(connection, sql.SQL("ANALYZE {}").format(name(run.schemas.next_staging, table.name)))
            with run.recorder.step("settle", table.name):
                fates.settle_image(connection, run.schemas, table)


def _index(run: Run, table: str) -> None:
    with run.recorder.step("index", table), run.database.connection() as connection:
        apply.index_image(connection, run.schemas, SOURCE_TABLES[table])
        image = run.schemas.next_staging
        run.summary.unknown_references.update(accounting.count_unknown_references(connection, image, image, table))


def _prepare(run: Run, outcome: Outcome) -> None:
    schemas = run.schemas
    with run.recorder.step("codes") as counts, run.database.connection() as connection:
        parameters = lookups.read_parameters(connection, schemas, outcome.snapshot_date)
        lookups.create_lookups(connection, schemas, parameters, renumber=run.settings.renumber)
        prepare_full(connection, schemas)
        lookups.gather_codes(connection, schemas, schemas.next_staging, with_known=False)
        report = lookups.resolve_codes(connection, schemas, MapCache(run.settings.cache_dir))
        counts.rows_in = report.codes
        prepare_full_views(connection, schemas)
    tell_codes(run, report)


def _transform(run: Run, transform: str, path: list[str]) -> None:
    with run.recorder.step("transform", transform) as counts:
        result = run_full(run.database, run.schemas, transform, path, foreign_keys=run.settings.foreign_keys)
        counts.rows_written = result.rows


def _publish(run: Run, built: Built, outcome: Outcome, checked: Checked | None) -> None:
    schemas = run.schemas
    with run.database.connection() as connection:
        staged = {table: accounting.count_staged(connection, schemas.next_staging, table) for table in SOURCE_TABLES}
    with run.recorder.step("publish") as counts, publishing(run, outcome) as generation:
        connection = run.raw
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
            _account(run, one, built.loaded[table], staged[table], held.get(table, accounting.Held()))
        accounting.check_accounts(run)
        _write_state(run, built, staged, generation)
        checking.keep(run, checked, generation)
        counts.rows_written = sum(entry["total"] for entry in run.summary.cdm_tables.values())


def _account(run: Run, seen: Seen, loaded: Loaded, staged: int, held: accounting.Held) -> None:
    """The fates of a table's rows: unchanged means that the old image held the row too."""
    total = staged + held.copies
    unchanged = min(total, loaded.matched)
    changed = min(total - unchanged, loaded.changed)
    run.summary.source_tables[seen.table] = SourceCounts(
        read=loaded.intake.rows,
        unchanged=unchanged,
        changed=changed,
        new=total - unchanged - changed,
        removed=max(0, seen.before.loaded - unchanged - changed),
        quarantined=held.quarantined,
        pending=held.pending,
    )


def _write_state(run: Run, built: Built, staged: dict[str, int], generation: int) -> None:
    for table, one in built.seen.items():
        if not one.rows and not one.before.rows:
            continue
        counts = run.summary.source_tables[table]
        state = TableState(
            file_digest=one.digest,
            rows=one.rows,
            hash_sum=one.hash_sum,
            loaded=staged[table],
            quarantined=counts.quarantined,
            pending=counts.pending,
        )
        write_table_state(run.raw, run.schemas, table, state)
        if run.settings.mode == "snapshot" or run.last is None:  # else the image is as it was, and so are its hashes
            write_base(run.raw, run.schemas, table, generation, np.sort(built.loaded[table].intake.all_hashes()[:, 0]))
