"""Load the files of a full load into the staging image built beside, with the ids of all rows that the store knows.

Belongs here: one source table, from its file (or, in append mode, from the image) to its indexed table. Does not: what of it
is settled, transformed and published (full.py), a part of a file (store/intake.py).
"""

from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
from psycopg import sql

from omop_inc.runs.context import Run
from omop_inc.runs.detect import Seen
from omop_inc.source.digests import FileDigest, digest_file, join_digests
from omop_inc.source.parts import split_file
from omop_inc.source.records import check_count
from omop_inc.source.snapshot import Part, SourceFile
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store import apply, intake, pairing
from omop_inc.store.db import execute
from omop_inc.store.row_ids import KnownIds, RowIds, read_known_ids
from omop_inc.store.schemas import name
from omop_inc.store.staging import all_columns, create_staged, index_staged
from omop_inc.store.state import write_next_base

# So many workers load a table each. A table that one connection fills in the transaction that empties it needs no WAL (where the server's
# wal_level is minimal), and no scan of it looks at single rows' transactions: 3.1 instead of 3.7 s of the server for 1.4 million rows.
# More workers would wait for the largest table.
MOST_WHOLE = 2


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a full load took in of one source table."""

    intake: intake.Intake
    seen: Seen  # with what reading the file told


def load(run: Run, seen: Seen, ids: RowIds, pool: Executor) -> Loaded:
    """Load one source table into the image beside, and index it while others are loaded."""
    loaded = _load(run, seen, ids, pool)
    with run.recorder.step("index", seen.table), run.database.connection() as connection:
        apply.index_image(connection, run.schemas, SOURCE_TABLES[seen.table], is_indexed="drop_indexes" in run.settings.without)
    return loaded


def _load(run: Run, seen: Seen, ids: RowIds, pool: Executor) -> Loaded:
    table = SOURCE_TABLES[seen.table]
    with run.recorder.step("load", table.name) as counts:
        if run.settings.mode == "append" and run.last is not None:
            _create_tables(run, table)
            return _copy_image(run, seen)
        if seen.file is None or seen.file.is_empty:
            _create_tables(run, table)
            return Loaded(intake=intake.Intake(), seen=seen)
        taken, known, digest = _take_in(run, seen.file, ids, pool)
        counts.rows_in, counts.rows_new = taken.rows, taken.good
        with run.database.connection() as connection:
            hashes = taken.sorted_hashes()
            write_next_base(connection, run.schemas, table.name, [hashes] if known is None else known.with_used(hashes))
        if known is not None:
            intake.mark_incoming(run.database, run.schemas, table)
            counts.rows_changed = _pair(run, table.name, known)
        found = replace(seen, digest=digest.digest, rows=taken.rows, hash_sum=taken.hash_sum)
        return Loaded(intake=taken, seen=found)


def _create_tables(run: Run, table: SourceTable) -> None:
    """Create the image beside and what else takes records of a file, anew at each try."""
    with run.database.connection() as connection:
        create_staged(connection, run.schemas.next_staging, table)
        if "drop_indexes" in run.settings.without:
            index_staged(connection, run.schemas.next_staging, table)
        intake.create_intake_tables(connection, run.schemas, table)


def _take_in(run: Run, file: SourceFile, ids: RowIds, pool: Executor) -> tuple[intake.Intake, KnownIds | None, FileDigest]:
    """Load the records of a file, in parts if it holds no quote, and digest it by the way, unless the manifest's digest is to be seen first."""
    digest = digest_file(file) if file.expected_sha256 is not None else None
    parts = split_file(file)
    if len(parts) > 1 and not (digest and digest.has_quotes):
        taken, known = _load_parts(run, file, parts, ids, pool)
        if not taken.has_quotes:
            check_count(file, taken.rows)
            return taken, known, digest or join_digests(taken.digests)
        del taken, known  # the ids known are read again, none of them used
    taken, known = _load_parts(run, file, [None], ids, pool)
    return taken, known, digest or (join_digests(taken.digests) if len(parts) == 1 else digest_file(file))


def _load_parts(run: Run, file: SourceFile, parts: list[Part | None], ids: RowIds, pool: Executor) -> tuple[intake.Intake, KnownIds | None]:
    """Load the parts of a file: one after another by one connection, or as many at a time as the pool has threads."""
    _create_tables(run, SOURCE_TABLES[file.table])
    known = _known(run, file.table, ids.last)
    is_whole = len(parts) == 1 or run.settings.workers <= MOST_WHOLE
    tasks = [
        intake.LoadParts(
            url=run.database.url,
            schemas=run.schemas,
            file=file,
            parts=some,
            is_whole=is_whole,
            chunk_rows=run.settings.chunk_rows,
            ids=known or ids,
            without=frozenset(run.settings.without),
        )
        for some in ([parts] if is_whole else [[part] for part in parts])
    ]
    return intake.merge([intake.load_parts(tasks[0])] if is_whole else list(pool.map(intake.load_parts, tasks))), known


def _known(run: Run, table: str, last: int) -> KnownIds | None:
    if not run.keeps_ids:
        return None
    with run.database.connection() as connection:
        return read_known_ids(connection, [name(run.schemas.staging, table), name(run.schemas.quarantine, table)], last)


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
    return Loaded(intake=taken, seen=found)
