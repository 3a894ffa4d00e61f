"""Take records of a file in: check them, COPY the good ones into typed tables, set the bad ones aside.

Belongs here: the way of a record from the reader into the run's own tables, and finding the staged rows that left.
Does not: which records differ (source/deltas.py), ids by natural key and fates (pairing.py, fates.py).
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from omop_inc.source.deltas import Delta64, Multiset
from omop_inc.source.digests import PartDigest, Watch
from omop_inc.source.hash_blocks import HashBlocks
from omop_inc.source.hashing import MODULUS, sum128
from omop_inc.source.parts import lines_before
from omop_inc.source.records import Chunk, Places, read_chunks
from omop_inc.source.screening import failures_of
from omop_inc.source.snapshot import Part, SourceFile
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.copying import Copier
from omop_inc.store.db import Connection, Database, connect_for_work, execute, fetch_value
from omop_inc.store.row_ids import KnownIds, RowIds
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import (
    FATE_COLUMNS,
    all_columns,
    binary_copy_statement,
    copy_statement,
    create_staged,
    hash_hex,
    row_lines,
    row_tuples,
    text_field,
)

CANDIDATE_COLUMNS = ("origin", *FATE_COLUMNS, "was")
BAD_COLUMNS = ("source_table", "row_hash", "line", "column_name", "rule", "record")


@dataclass(kw_only=True)
class Intake:
    """What came in from one file."""

    rows: int = 0
    good: int = 0
    bad: int = 0
    unnumbered: int = 0  # good rows whose id is still to be found by natural key
    hash_sum: int = 0  # of the 128-bit hashes of every record read
    hashes: HashBlocks = field(default_factory=partial(HashBlocks, is_half=True))  # their high 64 bits, but of rows whose ids were known
    digests: list[PartDigest] = field(default_factory=list)  # of the parts of a full load

    @property
    def has_quotes(self) -> bool:
        """Whether there was a quote."""
        return any(digest.has_quotes for digest in self.digests)

    def note_sum(self, hashes: NDArray[np.uint64]) -> None:
        """Note the sum of the hashes of records read, shape (n, 2)."""
        self.hash_sum = (self.hash_sum + sum128(hashes)) % MODULUS

    def sorted_hashes(self) -> NDArray[np.uint64]:
        """The hashes noted, ascending; they are let go as they are put together."""
        whole = self.hashes.whole()
        self.hashes = HashBlocks(is_half=True)
        whole.sort()
        return whole


def merge(parts: list[Intake]) -> Intake:
    """Put together what came in from the parts of one file."""
    hashes = HashBlocks(is_half=True)
    hashes.take_over([part.hashes for part in parts])
    return Intake(
        rows=sum(part.rows for part in parts),
        good=sum(part.good for part in parts),
        bad=sum(part.bad for part in parts),
        unnumbered=sum(part.unnumbered for part in parts),
        hash_sum=sum(part.hash_sum for part in parts) % MODULUS,
        hashes=hashes,
        digests=[digest for part in parts for digest in part.digests],
    )


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A chunk after validation: which of its records are good, and the bad ones as rows of bad_record."""

    chunk: Chunk
    good: NDArray[np.int64]  # positions in the chunk
    bad: list[tuple[object, ...]]


@dataclass(frozen=True, kw_only=True)
class _Target:
    """A table that takes checked records."""

    copier: Copier
    place: sql.Identifier
    table: SourceTable
    is_text: bool = False  # whether even plain records are written as text
    is_frozen: bool = False  # whether the table was emptied in this transaction

    def write(self, chunk: Chunk, rows: NDArray[np.int64], ids: NDArray[np.int64] | None) -> None:
        """Copy some records of a chunk, binary where they are plain."""
        names = all_columns(self.table)
        tuples = row_tuples(self.table, ids, chunk.hashes, chunk.canonical, rows) if chunk.is_plain and not self.is_text else None
        if tuples is not None:
            self.copier.write(binary_copy_statement(self.place, names, is_frozen=self.is_frozen), tuples, is_binary=True)
        else:
            self.copier.write(copy_statement(self.place, names, is_frozen=self.is_frozen), row_lines(ids, chunk.hashes, chunk.payload, rows))


def create_intake_tables(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Create the run's tables of one source table, candidates to load and rows that left, anew at each try of its step."""
    for bad in ("bad_record", "bad_leave"):
        execute(connection, sql.SQL("DELETE FROM {} WHERE source_table = %s").format(name(schemas.run, bad)), (table.name,))
    create_staged(connection, schemas.run, table, suffix="_candidate", extra=CANDIDATE_COLUMNS, unlogged=True)
    create_staged(connection, schemas.run, table, suffix="_leave", extra=("origin",), unlogged=True)


def create_bad_table(connection: Connection, schemas: Schemas) -> None:
    """Create the run's table of bad records and of bad records that left."""
    for suffix in ("bad_record", "bad_leave"):
        statement = sql.SQL("CREATE UNLOGGED TABLE {} (LIKE {} INCLUDING GENERATED)")
        execute(connection, statement.format(name(schemas.run, suffix), name(schemas.quarantine, "bad_record")))
        drop = "ALTER TABLE {} ALTER COLUMN record_id DROP NOT NULL, ALTER COLUMN run_id DROP NOT NULL"
        execute(connection, sql.SQL(drop).format(name(schemas.run, suffix)))


def create_delta_tables(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Create the tables in which increments hold the delta of a source table; each run finds them empty."""
    create_intake_tables(connection, schemas, table)
    for suffix, extra in (("_in", ()), ("_out", ()), ("_held_in", FATE_COLUMNS)):
        create_staged(connection, schemas.run, table, suffix=suffix, extra=extra, unlogged=True)
    for suffix, column in (("_held_out", "row_id bigint"), ("_kept", "row_hash uuid")):
        statement = sql.SQL("CREATE UNLOGGED TABLE {} ({})")
        execute(connection, statement.format(name(schemas.run, table.name + suffix), sql.SQL(column)))


def empty_intake_tables(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Empty what an earlier try of the step may have left."""
    for bad in ("bad_record", "bad_leave"):
        execute(connection, sql.SQL("DELETE FROM {} WHERE source_table = %s").format(name(schemas.run, bad)), (table.name,))
    for suffix in ("_candidate", "_leave", "_kept"):
        execute(connection, sql.SQL("DELETE FROM {}").format(name(schemas.run, table.name + suffix)))


def stage_delta(
    database: Database, schemas: Schemas, file: SourceFile, want: NDArray[np.bool_], chunk_rows: int, places: Places | None = None
) -> Intake:
    """COPY the wanted records of a file into the run's candidates, without ids."""
    intake, table = Intake(), SOURCE_TABLES[file.table]
    with database.connection() as connection, Copier(connection) as copier:
        candidates = _Target(copier=copier, place=name(schemas.run, table.name + "_candidate"), table=table)
        for chunk in read_chunks(file, chunk_rows=chunk_rows, want=want, places=places):
            checked = _check(chunk, table, intake)
            intake.note_sum(_all_hashes(chunk))
            candidates.write(chunk, checked.good, None)
            copier.write(_bad_statement(schemas), _bad_lines(checked.bad))
            intake.unnumbered += len(checked.good)
    mark_incoming(database, schemas, table)
    return intake


def mark_incoming(database: Database, schemas: Schemas, table: SourceTable) -> None:
    """Note of all candidates of a table that they came with the snapshot, and let the planner know of them."""
    candidate = name(schemas.run, table.name + "_candidate")
    with database.connection() as connection:
        execute(connection, sql.SQL("UPDATE {} SET origin = 'incoming'").format(candidate))
        # What it was told at the end of the last run is that the table is empty: then each candidate would be compared with each row that leaves.
        execute(connection, sql.SQL("ANALYZE {} (row_id)").format(candidate))


@dataclass(frozen=True, kw_only=True)
class LoadParts:
    """Parts of a file to be copied into the staging image built beside."""

    url: str  # of the database
    schemas: Schemas
    file: SourceFile
    parts: list[Part | None]
    is_whole: bool  # whether these are all, so that nobody else writes to the image
    chunk_rows: int
    ids: KnownIds | RowIds  # the next ids, or those that the store knows by row hash
    without: frozenset[str] = frozenset()  # optimisations left out


def load_parts(task: LoadParts) -> Intake:
    """COPY every record of parts of a file into the staging image built beside; in any thread, in one transaction.

    Rows whose id is to be known and is not go to the candidates without one. A part with a quote ends it, for its lines may not be records:
    the file is to be loaded anew, whole.
    """
    intake, table = Intake(), SOURCE_TABLES[task.file.table]
    is_text = bool(task.without & {"copy", "binary_copy"})
    with connect_for_work(task.url, task.without) as connection, Copier(connection) as copier:
        place = name(task.schemas.next_staging, table.name)
        is_frozen = task.is_whole and "copy" not in task.without
        if is_frozen:
            execute(connection, sql.SQL("TRUNCATE {}").format(place))
        image = _Target(copier=copier, place=place, table=table, is_text=is_text, is_frozen=is_frozen)
        candidates = replace(image, place=name(task.schemas.run, table.name + "_candidate"), is_frozen=False)
        for part in task.parts:
            watch = Watch(finds_quotes=False)
            for chunk in read_chunks(task.file, part, chunk_rows=task.chunk_rows, watch=watch):
                if watch.has_quotes and part is not None:
                    break
                checked = _check(chunk, table, intake)
                hashes = _all_hashes(chunk)
                intake.note_sum(hashes)
                if checked.bad:
                    copier.write(_bad_statement(task.schemas), _bad_lines(checked.bad, lines_before(task.file, part)))
                if isinstance(task.ids, KnownIds):
                    found = task.ids.take(chunk.hashes[checked.good])
                    intake.hashes.add(np.delete(hashes[:, 0], checked.good[found > 0]))
                    _copy_known(image, candidates, found, checked, intake)
                else:
                    intake.hashes.add(hashes[:, 0])
                    image.write(chunk, checked.good, task.ids.take(len(checked.good)))
                del chunk, checked, hashes  # a tenth of the process's memory, while the next chunk is put together
            intake.digests.append(watch.found)
            if watch.has_quotes:
                break
    return intake


def _copy_known(image: _Target, candidates: _Target, found: NDArray[np.int64], checked: _Checked, intake: Intake) -> None:
    """Copy the rows whose id was found into the image, the others to the candidates."""
    known, unknown = np.flatnonzero(found), np.flatnonzero(found == 0)
    image.write(checked.chunk, checked.good[known], found[known])
    candidates.write(checked.chunk, checked.good[unknown], None)
    intake.unnumbered += len(unknown)


def _check(chunk: Chunk, table: SourceTable, intake: Intake) -> _Checked:
    """Validate a chunk and count it."""
    bad: list[tuple[object, ...]] = [(table.name, _hex_of(record.hash), record.line, None, record.rule, record.record) for record in chunk.bad]
    first_failure: dict[int, tuple[str, str]] = {}
    for failure in failures_of(chunk, table.name):
        first_failure.setdefault(failure.row_index, (failure.column, failure.rule))
    failed = sorted(first_failure)
    for digits, index in zip(hash_hex(chunk.hashes[failed]), failed, strict=True):
        bad.append((table.name, digits, int(chunk.line_numbers[index]), *first_failure[index], chunk.payload.tolist()[index]))
    intake.rows += len(chunk) + len(chunk.bad)
    intake.good += len(chunk) - len(failed)
    intake.bad += len(bad)
    good = np.arange(len(chunk))
    return _Checked(chunk=chunk, good=np.delete(good, failed) if failed else good, bad=bad)


def _all_hashes(chunk: Chunk) -> NDArray[np.uint64]:
    """Of a chunk's records, shape (n, 2); those of bad ones behind."""
    bad = np.array([record.hash for record in chunk.bad], dtype=np.uint64).reshape(-1, 2)
    return np.concatenate([chunk.hashes, bad])


def _hex_of(pair: tuple[int, int]) -> bytes:
    return b"%016x%016x" % (int(pair[0]), int(pair[1]))


def _bad_statement(schemas: Schemas) -> sql.Composed:
    return sql.SQL("COPY {} ({}) FROM STDIN").format(name(schemas.run, "bad_record"), sql.SQL(", ").join(map(sql.Identifier, BAD_COLUMNS)))


def _bad_lines(bad: list[tuple[Any, ...]], lines_before: int = 0) -> bytes:
    """The COPY lines of bad records, whose physical lines are counted from a part's start."""
    rows = [(table, digits, line + lines_before, *rest) for table, digits, line, *rest in bad]
    return b"".join(b"\t".join([*map(text_field, row[:5]), b"\\\\x" + _bytes(row[5]).hex().encode()]) + b"\n" for row in rows)


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def find_leaving(connection: Connection, schemas: Schemas, table: SourceTable, delta: Delta64) -> int:
    """Find the rows whose hashes are gone, in staging, quarantine and among the bad records.

    Of identical rows the held copies leave first, then those with the largest ids.

    Returns:
        The sum of the 128-bit hashes of the rows found, to be held against the file's.
    """
    if not delta.removed.total:
        return 0
    _copy_gone(connection, delta.removed)
    parts = [
        _leaving_part(name(schemas.quarantine, table.name), 0, "held", all_columns(table)),
        _leaving_part(name(schemas.staging, table.name), 1, "staging", all_columns(table)),
    ]
    names = sql.SQL(", ").join(map(sql.Identifier, all_columns(table)))
    statement = sql.SQL(
        "INSERT INTO {target} ({names}, origin) SELECT {names}, origin FROM (SELECT found.*, row_number() OVER"
        " (PARTITION BY low ORDER BY rank, row_id DESC) AS nth FROM ({parts}) AS found) AS numbered WHERE nth <= copies"
    ).format(target=name(schemas.run, table.name + "_leave"), names=names, parts=sql.SQL(" UNION ALL ").join(parts))
    execute(connection, statement)
    _find_bad_leaving(connection, schemas, table)
    return sum128(read_leaving_hashes(connection, schemas, table.name))


def _copy_gone(connection: Connection, removed: Multiset) -> None:
    """A temporary table of the ranges of 128-bit hashes that begin with the 64 bits gone."""
    execute(connection, "DROP TABLE IF EXISTS pg_temp.gone")
    execute(connection, "CREATE TEMP TABLE gone (low uuid, high uuid, copies bigint)")
    pairs = zip(removed.values.tolist(), removed.counts.tolist(), strict=True)
    lines = [b"%016x%s\t%016x%s\t%d\n" % (value, b"0" * 16, value, b"f" * 16, count) for value, count in pairs]
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.gone FROM STDIN") as copy:
        copy.write(b"".join(lines))
    execute(connection, "ANALYZE pg_temp.gone")


def _leaving_part(source: sql.Identifier, rank: int, origin: str, names: tuple[str, ...]) -> sql.Composed:
    listed = sql.SQL(", ").join(sql.Identifier("image", n) for n in names)
    return sql.SQL(
        "SELECT gone.low, gone.copies, {rank}::int AS rank, {origin}::text AS origin, {listed} FROM pg_temp.gone AS gone"
        " INNER JOIN {source} AS image ON image.row_hash BETWEEN gone.low AND gone.high"
    ).format(rank=sql.Literal(rank), origin=sql.Literal(origin), listed=listed, source=source)


def _find_bad_leaving(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    statement = sql.SQL(
        "INSERT INTO {target} SELECT {listed} FROM (SELECT bad.*, gone.copies, row_number() OVER (PARTITION BY gone.low ORDER BY"
        " record_id DESC) AS nth FROM pg_temp.gone AS gone INNER JOIN {bad} AS bad ON bad.source_table = {table}"
        " AND bad.row_hash BETWEEN gone.low AND gone.high) AS numbered WHERE nth <= copies"
    )
    listed = sql.SQL("record_id, source_table, row_hash, line, column_name, rule, run_id, record")
    execute(
        connection,
        statement.format(
            target=name(schemas.run, "bad_leave"),
            listed=listed,
            bad=name(schemas.quarantine, "bad_record"),
            table=sql.Literal(table.name),
        ),
    )


def read_leaving_hashes(connection: Connection, schemas: Schemas, table: str) -> NDArray[np.uint64]:
    """The 128-bit hashes of a table's leaving rows and bad records, shape (n, 2)."""
    query = sql.SQL(
        "SELECT string_agg(uuid_send(row_hash), '') FROM (SELECT row_hash FROM {leave} UNION ALL"
        " SELECT row_hash FROM {bad} WHERE source_table = {table}) AS leaving"
    ).format(leave=name(schemas.run, table + "_leave"), bad=name(schemas.run, "bad_leave"), table=sql.Literal(table))
    return unpack_hashes(fetch_value(connection, query) or b"")


def unpack_hashes(packed: bytes) -> NDArray[np.uint64]:
    """128-bit hashes as PostgreSQL sends them, as an array of shape (n, 2)."""
    return np.frombuffer(packed, dtype=">u8").reshape(-1, 2).astype(np.uint64)
