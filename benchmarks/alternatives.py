"""Ways that the product does not go, measured beside the one that it goes: on the same rows, in the same session.

Belongs here: compiled loops against Python's, packed state against a row a hash, the code map against joins of the vocabulary,
plain tables against partitions. Does not: anything that the product itself can be told to leave out (ablation.py).

Each is measured on a database in which a snapshot is loaded; the whole of the work counts, its result is checked.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from benchmarks.floors import hash_in_python
from omop_inc.sampling.rows import open_source
from omop_inc.source.deltas import compare
from omop_inc.source.hashing import sum128
from omop_inc.source.lines import Batch, Layout, layout_of, plain_batch
from omop_inc.source.snapshot import SourceFile, read_blocks
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.schemas import Schemas
from omop_inc.store.state import read_hashes

Connection = psycopg.Connection[Any]
SCHEMAS = Schemas(cdm="cdm", vocabulary="vocab")
# As large as a full download of the vocabulary, which the shipped one is not: rows that no code finds.
FILLER_CONCEPTS = 2_000_000
PARTITIONS = 16
# Tables with codes, as the code map names them: table, vocabulary, column.
CODED = (
    ("conditions", "SNOMED", "code"), ("procedures", "SNOMED", "code"), ("observations", "LOINC", "code"),
    ("medications", "RxNorm", "code"), ("immunizations", "CVX", "code"),
)  # fmt: skip
# The largest tables of an image, and the column of their person.
LARGE = (("observations", "patient"), ("claims_transactions", "patientid"), ("procedures", "patient"))
EVERY_NTH_PERSON = 100


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One way against another."""

    name: str
    about: str
    measured_on: str
    measure: Callable[[str, Path, bool], float]  # database, next snapshot, whether the product's way; seconds


def _state(url: str, day: Path, is_ours: bool) -> float:  # noqa: FBT001 - it is what differs
    """Find what differs between the stored hashes and a snapshot's, the files being hashed already."""
    hashes = {table: _hashes(file) for table, file in open_source(day).files.items()}
    with psycopg.connect(url) as connection:
        expected = _differing(connection, hashes)
        if is_ours:
            start = time.perf_counter()
            found = _differing(connection, hashes)
        else:
            _store_rows(connection, hashes)
            start = time.perf_counter()
            found = _differing_rows(connection, hashes)
        seconds = time.perf_counter() - start
    if found != expected:
        raise ValueError(f"the two ways differ: {found}, {expected}")
    return seconds


def _hashes(file: SourceFile) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.sort(np.concatenate([np.empty((0, 2), dtype=np.uint64), *(batch.hashes for batch in map(_batch, _blocks(file)))])[:, 0])


def _blocks(file: SourceFile) -> Iterator[tuple[bytes, Layout]]:
    """A file's records in blocks of whole lines."""
    layout, rest = layout_of(SOURCE_TABLES[file.table], file.header), b""
    for number, block in enumerate(read_blocks(file)):
        cut = block.rfind(b"\n") + 1
        lines, rest = rest + block[:cut], block[cut:]
        yield lines if number else lines[lines.index(b"\n") + 1 :], layout


def _batch(block: tuple[bytes, Layout]) -> Batch:
    batch = plain_batch(*block, 0)
    if batch is None:
        raise ValueError("expected files of plain lines")
    return batch


def _loops(_: str, day: Path, is_ours: bool) -> float:  # noqa: FBT001 - it is what differs
    """Cut and hash every line of a snapshot, in one thread."""
    files = open_source(day).files.values()
    work = (lambda block: _batch(block).hashes) if is_ours else (lambda block: hash_in_python(*block))
    start = time.perf_counter()
    found = [sum128(work(block)) for file in files for block in _blocks(file)]
    seconds = time.perf_counter() - start
    if found != [sum128(_batch(block).hashes) for file in files for block in _blocks(file)]:
        raise ValueError("the two ways differ")
    return seconds


def _differing(connection: Connection, hashes: dict[str, np.ndarray[Any, np.dtype[np.uint64]]]) -> tuple[int, int]:
    deltas = [compare(incoming, read_hashes(connection, SCHEMAS, table)) for table, incoming in hashes.items()]
    return sum(delta.new.total for delta in deltas), sum(delta.removed.total for delta in deltas)


def _store_rows(connection: Connection, hashes: dict[str, np.ndarray[Any, np.dtype[np.uint64]]]) -> None:
    """The committed state as a row a hash, identical rows with their number."""
    connection.execute("CREATE TABLE hash_row (source_table text NOT NULL, hash bigint NOT NULL, copies integer NOT NULL)")
    for table in hashes:
        _copy_hashes(connection, "hash_row", table, read_hashes(connection, SCHEMAS, table))
    connection.execute("ALTER TABLE hash_row ADD PRIMARY KEY (source_table, hash)")
    connection.execute("ANALYZE hash_row")


def _differing_rows(connection: Connection, hashes: dict[str, np.ndarray[Any, np.dtype[np.uint64]]]) -> tuple[int, int]:
    connection.execute("CREATE TEMP TABLE incoming (source_table text NOT NULL, hash bigint NOT NULL, copies integer NOT NULL)")
    for table, values in hashes.items():
        _copy_hashes(connection, "incoming", table, values)
    connection.execute("ANALYZE incoming")
    row = connection.execute(
        "SELECT sum(greatest(coalesce(incoming.copies, 0) - coalesce(known.copies, 0), 0)),"
        " sum(greatest(coalesce(known.copies, 0) - coalesce(incoming.copies, 0), 0))"
        " FROM incoming FULL JOIN hash_row AS known ON known.source_table = incoming.source_table AND known.hash = incoming.hash"
        " WHERE incoming.copies IS DISTINCT FROM known.copies"
    ).fetchone()
    return (int(row[0] or 0), int(row[1] or 0)) if row else (0, 0)


def _copy_hashes(connection: Connection, target: str, table: str, values: np.ndarray[Any, np.dtype[np.uint64]]) -> None:
    distinct, copies = np.unique(values, return_counts=True)
    statement = sql.SQL("COPY {} FROM STDIN").format(sql.Identifier(target))
    lines = (f"{table}\t{value}\t{count}\n" for value, count in zip(distinct.view(np.int64).tolist(), copies.tolist(), strict=True))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write("".join(lines))


def _codes(url: str, _: Path, is_ours: bool) -> float:  # noqa: FBT001 - it is what differs
    """Give every coded row of the image its standard concept."""
    with psycopg.connect(url) as connection:
        connection.execute("SET search_path TO vocab")
        _fill_vocabulary(connection)
        start = time.perf_counter()
        if is_ours:
            connection.execute(f"CREATE TEMP TABLE code_map AS {_resolved(_distinct_codes())}")
            connection.execute("ANALYZE code_map")
            found = [_count(connection, _mapped(*one)) for one in CODED]
        else:
            found = [_count(connection, _joined(*one)) for one in CODED]
        seconds = time.perf_counter() - start
        expected = [_count(connection, _joined(*one)) for one in CODED] if is_ours else found
        connection.rollback()
    if found != expected:
        raise ValueError(f"the two ways differ: {found}, {expected}")
    return seconds


def _fill_vocabulary(connection: Connection) -> None:
    """Make the concept table as large as a full one's; the caller's transaction is rolled back."""
    connection.execute(
        "INSERT INTO concept (concept_id, concept_name, domain_id, vocabulary_id, concept_class_id, standard_concept, concept_code,"
        " valid_start_date, valid_end_date) SELECT 1000000000 + n, 'filler ' || n, 'Condition', 'SNOMED', 'Filler', 'S', 'F' || n,"
        f" '1970-01-01', '2099-12-31' FROM generate_series(1, {FILLER_CONCEPTS}) AS n"
    )
    connection.execute("ANALYZE concept")


def _distinct_codes() -> str:
    return " UNION ".join(f"SELECT '{vocabulary}' AS vocabulary_id, {column} AS code FROM cdm_staging.{table}" for table, vocabulary, column in CODED)


def _resolved(codes: str) -> str:
    return (
        "SELECT used.vocabulary_id, used.code, target.concept_id FROM (" + codes + ") AS used INNER JOIN concept AS own"
        " ON own.vocabulary_id = used.vocabulary_id AND own.concept_code = used.code INNER JOIN concept_relationship AS maps"
        " ON maps.concept_id_1 = own.concept_id AND maps.relationship_id = 'Maps to' AND maps.invalid_reason IS NULL"
        " INNER JOIN concept AS target ON target.concept_id = maps.concept_id_2 AND target.standard_concept = 'S'"
    )


def _mapped(table: str, vocabulary: str, column: str) -> str:
    return f"SELECT concept_id FROM cdm_staging.{table} AS row LEFT JOIN code_map ON vocabulary_id = '{vocabulary}' AND code_map.code = row.{column}"


def _joined(table: str, vocabulary: str, column: str) -> str:
    return (
        f"SELECT target.concept_id FROM cdm_staging.{table} AS row LEFT JOIN (concept AS own INNER JOIN concept_relationship AS maps"
        " ON maps.concept_id_1 = own.concept_id AND maps.relationship_id = 'Maps to' AND maps.invalid_reason IS NULL"
        " INNER JOIN concept AS target ON target.concept_id = maps.concept_id_2 AND target.standard_concept = 'S')"
        f" ON own.vocabulary_id = '{vocabulary}' AND own.concept_code = row.{column}"
    )


def _count(connection: Connection, query: str) -> tuple[int, int]:
    row = connection.execute(f"SELECT count(*), coalesce(sum(concept_id), 0)::bigint FROM ({query}) AS found").fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def _partitions(url: str, _: Path, is_ours: bool) -> float:  # noqa: FBT001 - it is what differs
    """Build the largest tables of the image, find some people's rows in them, and replace these."""
    with psycopg.connect(url) as connection:
        connection.execute("SET random_page_cost TO 1.1")
        connection.execute(
            f"CREATE TEMP TABLE scope AS SELECT id FROM (SELECT id, row_number() OVER (ORDER BY id) AS n FROM cdm_staging.patients) AS p"
            f" WHERE n % {EVERY_NTH_PERSON} = 0"
        )
        connection.execute("ANALYZE scope")
        start = time.perf_counter()
        for table, person in LARGE:
            for statement in _build(table, person, is_partitioned=not is_ours):
                connection.execute(statement)
            _work(connection, table, person)
        seconds = time.perf_counter() - start
        connection.rollback()
    return seconds


def _build(table: str, person: str, *, is_partitioned: bool) -> Iterator[str]:
    if is_partitioned:
        yield f"CREATE TABLE public.{table} (LIKE cdm_staging.{table}) PARTITION BY HASH ({person})"
        for part in range(PARTITIONS):
            parts = f"WITH (MODULUS {PARTITIONS}, REMAINDER {part})"
            yield f"CREATE TABLE public.{table}_{part} PARTITION OF public.{table} FOR VALUES {parts}"
    else:
        yield f"CREATE TABLE public.{table} (LIKE cdm_staging.{table})"
    yield f"INSERT INTO public.{table} SELECT * FROM cdm_staging.{table}"
    yield f"CREATE INDEX ON public.{table} ({person})"
    yield f"CREATE INDEX ON public.{table} (row_hash)"
    yield f"ANALYZE public.{table}"


def _work(connection: Connection, table: str, person: str) -> None:
    connection.execute(f"CREATE TEMP TABLE {table}_some AS SELECT image.* FROM public.{table} AS image INNER JOIN scope ON scope.id = image.{person}")
    connection.execute(f"ANALYZE {table}_some")
    connection.execute(f"DELETE FROM public.{table} AS image USING {table}_some AS gone WHERE image.row_hash = gone.row_hash")
    connection.execute(f"INSERT INTO public.{table} SELECT * FROM {table}_some")


ALTERNATIVES = (
    Compared(
        name="compiled_loops",
        about="lines cut and hashed by a loop that numba compiles, instead of numpy, slices and a call of xxhash each",
        measured_on="hashing every line in one thread",
        measure=_loops,
    ),
    Compared(
        name="packed_state",
        about="row hashes packed in few values, compared by numpy, instead of a row a hash, COPY and a join",
        measured_on="comparing a day of 1 %",
        measure=_state,
    ),
    Compared(
        name="code_map",
        about=f"distinct codes resolved once, instead of a join of each row with the vocabulary ({FILLER_CONCEPTS:,} concepts more)",
        measured_on="all coded rows",
        measure=_codes,
    ),
    Compared(
        name="no_partitioning",
        about=f"plain tables instead of {PARTITIONS} hash partitions by person",
        measured_on="building three large tables, replacing 1 % of the people",
        measure=_partitions,
    ),
)
