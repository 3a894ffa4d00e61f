"""Load an Athena vocabulary beside the one in use and exchange the two in one short transaction.

Belongs here: the vocabulary's tables in PostgreSQL, what they were made from, their fingerprint.
Does not: the files' format (athena.py), the look-up of codes (code_map.py).
"""

import contextlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from omop_inc.cdm import athena, spec
from omop_inc.errors import VocabularyError
from omop_inc.resources import read_sql
from omop_inc.store.db import Connection, execute, fetch_value

LOAD_IT = "Load one: give an Athena folder or zip with --vocabulary PATH, or run `python -m flows.vocabulary PATH`"

# Our user's own code list: a download does not hold it, so an exchange must not lose it.
OWN_LIST = "source_to_concept_map"


# A load waits for another one, or for the runs that read the vocabulary, so long before it gives up.
LOAD_WAIT_S = 300.0
LOAD_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True)
class VocabularyInfo:
    """The vocabulary that a database holds."""

    fingerprint: str  # digest of the files' content
    version: str | None  # as the vocabulary names itself
    release_date: date | None  # the date in that version
    rows: Mapping[str, int]  # per table
    is_new: bool  # whether this call loaded it


def load_vocabulary(connection: Connection, path: Path, schema: str = "vocab") -> VocabularyInfo:
    """Make the vocabulary of an Athena folder or zip the one in use; does nothing when it is already.

    Readers see the old tables until the exchange and the new ones after it. A load that died leaves only
    `<schema>_next`, which the next load drops. Call it outside a transaction.

    Args:
        connection: An idle connection; its transactions are this function's own.
        path: Athena's folder or zip. A SOURCE_TO_CONCEPT_MAP.csv in it is loaded too; without one the rows of
            the schema's present source_to_concept_map are kept.
        schema: The vocabulary's schema.

    Raises:
        VocabularyError: If the files are not what they should be, the schema holds another program's vocabulary,
            or another load is running.
    """
    files = athena.find_files(path)
    with _only_load(connection, schema):
        with connection.transaction():
            _check_owner(connection, schema)
            _create_own_tables(connection, schema)
            known = stored_vocabulary(connection, schema)
        if known and _is_same(connection, path, files, schema, known):
            return known
        digest = athena.ContentDigest()
        rows = _load_beside(connection, path, files, _next(schema), digest)
        with connection.transaction():
            execute(connection, "SET LOCAL synchronous_commit TO on")  # whatever the connection was opened for
            version = _check_content(connection, _next(schema), path)
            _exchange(connection, schema, with_own_list=OWN_LIST in files)
            _record(connection, schema, digest.hexdigest(), version, rows, athena.quick_facts(files))
            loaded = stored_vocabulary(connection, schema)
    if loaded is None:
        raise VocabularyError(f"The vocabulary in schema '{schema}' was dropped while it was loaded. {LOAD_IT}.")
    return replace(loaded, is_new=True)


def stored_vocabulary(connection: Connection, schema: str) -> VocabularyInfo | None:
    """What the schema holds, or None without a vocabulary that we loaded."""
    if fetch_value(connection, "SELECT to_regclass(%s)", (f"{schema}.omop_inc_vocabulary",)) is None:
        return None
    statement = sql.SQL("SELECT fingerprint, version, release_date, files FROM {}").format(sql.Identifier(schema, "omop_inc_vocabulary"))
    row = execute(connection, statement).fetchone()
    if row is None:
        return None
    counts = {table: int(facts["rows"]) for table, facts in row[3].items()}
    return VocabularyInfo(fingerprint=row[0], version=row[1], release_date=row[2], rows=counts, is_new=False)


def current_fingerprint(connection: Connection, schema: str = "vocab") -> str:
    """What look-ups depend on: the loaded files' digest and the content of source_to_concept_map as it is now.

    Raises:
        VocabularyError: If no vocabulary is loaded; the message names the remedy.
    """
    stored = stored_vocabulary(connection, schema)
    if stored is None:
        raise VocabularyError(f"Schema '{schema}' holds no vocabulary. {LOAD_IT}.")
    # JSON writes dates the same under every setting; md5 is missing where FIPS mode is on.
    statement = sql.SQL(
        "SELECT encode(sha256(convert_to(coalesce(string_agg(line, E'\\n' ORDER BY line COLLATE \"C\"), ''), 'UTF8')), 'hex')"
        " FROM (SELECT row_to_json(entry)::text AS line FROM {} AS entry) AS lines"
    ).format(sql.Identifier(schema, OWN_LIST))
    return f"{stored.fingerprint}-{str(fetch_value(connection, statement))[:32]}"


def _next(schema: str) -> str:
    return f"{schema}_next"


@contextlib.contextmanager
def _only_load(connection: Connection, schema: str) -> Iterator[None]:
    key = ("SELECT {}(hashtextextended(%s, 0))", (f"omop_inc vocabulary {schema}",))
    deadline = time.monotonic() + LOAD_WAIT_S
    while not _try_lock(connection, *key):
        if time.monotonic() > deadline:
            raise VocabularyError(f"Another load into schema '{schema}', or a run that reads it, goes on. Start again when it has ended.")
        time.sleep(LOAD_POLL_S)
    try:
        yield
    finally:
        if not connection.closed and connection.info.transaction_status != psycopg.pq.TransactionStatus.UNKNOWN:
            with connection.transaction():
                execute(connection, key[0].format("pg_advisory_unlock"), key[1])


def _try_lock(connection: Connection, statement: str, parameters: tuple[str]) -> bool:
    with connection.transaction():
        return bool(fetch_value(connection, statement.format("pg_try_advisory_lock"), parameters))


def hold_vocabulary(connection: Connection, schema: str) -> None:
    """Keep loads out of a vocabulary until the session ends; other readers may come."""
    execute(connection, "SELECT pg_advisory_lock_shared(hashtextextended(%s, 0))", (f"omop_inc vocabulary {schema}",))


def _check_owner(connection: Connection, schema: str) -> None:
    has_concepts = fetch_value(connection, "SELECT to_regclass(%s)", (f"{schema}.concept",)) is not None
    if has_concepts and stored_vocabulary(connection, schema) is None:
        raise VocabularyError(
            f"Schema '{schema}' holds a vocabulary that omop_inc did not load, and loading would replace it."
            " Name another schema with OMOP_INC_VOCABULARY_SCHEMA, or drop that vocabulary's tables."
        )


def _create_own_tables(connection: Connection, schema: str) -> None:
    if fetch_value(connection, "SELECT to_regclass(%s)", (f"{schema}.code_map_digest",)) is None:
        execute(connection, sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        with search_path(connection, schema):
            execute(connection, read_sql("ddl/vocab.sql"))


@contextlib.contextmanager
def search_path(connection: Connection, *schemas: str) -> Iterator[None]:
    """Look names up in these schemas inside a transaction, and as before behind it."""
    before = fetch_value(connection, "SELECT current_setting('search_path')")
    wanted = sql.SQL(", ").join([sql.Identifier(schema) for schema in (*schemas, "pg_catalog")]).as_string(connection)
    execute(connection, "SELECT set_config('search_path', %s, true)", (wanted,))
    yield
    execute(connection, "SELECT set_config('search_path', %s, true)", (before,))


def _is_same(connection: Connection, path: Path, files: Mapping[str, athena.AthenaFile], schema: str, known: VocabularyInfo) -> bool:
    with connection.transaction():
        statement = sql.SQL("SELECT files FROM {}").format(sql.Identifier(schema, "omop_inc_vocabulary"))
        stored = fetch_value(connection, statement)
    facts = {table: entry["facts"] for table, entry in stored.items() if entry.get("facts")}
    # A full vocabulary is 5 GB: it is read again only if a file looks touched.
    return facts == athena.quick_facts(files) or athena.path_fingerprint(path) == known.fingerprint


def _load_beside(
    connection: Connection, path: Path, files: Mapping[str, athena.AthenaFile], side: str, digest: athena.ContentDigest
) -> dict[str, int]:
    with connection.transaction():
        execute(connection, sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(side)))
        execute(connection, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(side)))
    rows = {}
    for table in sorted(spec.tables_of("vocab"), key=lambda t: t.name):
        with connection.transaction():  # table and rows in one transaction, so that COPY may freeze them
            execute(connection, spec.create_table(table, side))
            if file := files.get(table.name):
                rows[table.name] = _copy_file(connection, path, file, table, side, digest)
            _index_table(connection, table, side, files.get(table.name))
    return rows


def _copy_file(connection: Connection, path: Path, file: athena.AthenaFile, table: spec.CdmTable, side: str, digest: athena.ContentDigest) -> int:
    with athena.open_file(path, file) as stream:
        blocks = athena.LineBlocks(stream, file, table, digest)
        try:
            with connection.cursor() as cursor:
                with cursor.copy(_copy_statement(table, blocks.columns, side)) as copy:
                    for block in blocks:
                        copy.write(block)
                copied = cursor.rowcount
        except psycopg.DataError as error:
            raise _refused_row(error, file) from None
        except psycopg.IntegrityError as error:
            raise _refused_row(error, file) from None
    if copied != blocks.lines:
        raise VocabularyError(f"'{file.name}': {blocks.lines} records were read but {copied} loaded. {athena.ATHENA_FORMAT}.")
    return copied


def _copy_statement(table: spec.CdmTable, columns: tuple[str, ...], side: str) -> sql.Composed:
    # Csv format with a quote that cannot occur: nothing is special but tab and line end, and what is required
    # keeps an empty text (text format can read it as NULL only).
    empties = [sql.Identifier(f.name) for f in table.fields if f.name in columns and f.is_required and f.text_limit]
    return sql.SQL(
        "COPY {} ({}) FROM STDIN WITH (FORMAT csv, DELIMITER E'\\t', QUOTE E'\\b', ESCAPE E'\\b', NULL '',"
        " FORCE_NOT_NULL ({}), FREEZE, ENCODING 'UTF8')"
        if empties
        else "COPY {} ({}) FROM STDIN WITH (FORMAT csv, DELIMITER E'\\t', QUOTE E'\\b', ESCAPE E'\\b', NULL '', FREEZE, ENCODING 'UTF8')"
    ).format(
        sql.Identifier(side, table.name),
        sql.SQL(", ").join([sql.Identifier(column) for column in columns]),
        sql.SQL(", ").join(empties),
    )


def _refused_row(error: psycopg.Error, file: athena.AthenaFile) -> VocabularyError:
    context = error.diag.context or ""
    line = re.search(r"line (\d+)", context)
    column = re.search(r"column (\w+)", context)
    field = error.diag.column_name or (column[1] if column else None)
    where = f"'{file.name}'" + (f", line {int(line[1]) + 1}" if line else "") + (f", column '{field}'" if field else "")
    expected = {
        "22007": "a date as yyyymmdd",
        "22008": "a date as yyyymmdd",
        "22P02": "a number",
        "22003": "a number within the column's range",
        "22001": "text that fits into the column",
        "22021": "text in UTF-8",
        "23502": "a value",
        "23505": "each key once",
    }.get(error.sqlstate or "", "a row that PostgreSQL can take")
    return VocabularyError(f"{where}: expected {expected} (PostgreSQL says {error.sqlstate}). {athena.ATHENA_FORMAT}.")


def _index_table(connection: Connection, table: spec.CdmTable, side: str, file: athena.AthenaFile | None) -> None:
    key = spec.primary_key_statement(table, side)
    try:
        for statement in ([key] if key else []) + list(spec.index_statements(table, side)):
            execute(connection, statement)
    except psycopg.IntegrityError as error:
        name = file.name if file else table.name
        raise VocabularyError(f"'{name}': a {'+'.join(table.primary_key)} occurs twice ({error.sqlstate}). {athena.ATHENA_FORMAT}.") from None
    if table.name == "concept":
        with search_path(connection, side):
            execute(connection, read_sql("ddl/vocab_answer_index.sql"))
    execute(connection, sql.SQL("ANALYZE {}").format(sql.Identifier(side, table.name)))


def _check_content(connection: Connection, side: str, path: Path) -> str | None:
    with search_path(connection, side):
        is_whole = fetch_value(
            connection,
            "SELECT EXISTS (SELECT FROM concept WHERE concept_id = 0)"
            " AND EXISTS (SELECT FROM concept_relationship WHERE relationship_id = 'Maps to')",
        )
        version = fetch_value(connection, "SELECT vocabulary_version FROM vocabulary WHERE vocabulary_id = 'None'")
    if not is_whole:
        raise VocabularyError(f"'{path}': expected concept 0 and 'Maps to' relationships, found a vocabulary without them. {athena.ATHENA_FORMAT}.")
    return None if version is None else str(version)


def _exchange(connection: Connection, schema: str, *, with_own_list: bool) -> None:
    side, tables = _next(schema), [table.name for table in spec.tables_of("vocab")]
    dependents = execute(connection, read_sql("ddl/vocab_dependents.sql"), {"schema": schema, "tables": tables}).fetchall()
    for _step, _place, undo, _redo in reversed(dependents):
        if undo:
            execute(connection, undo)
    if not with_own_list and fetch_value(connection, "SELECT to_regclass(%s)", (f"{schema}.{OWN_LIST}",)) is not None:
        execute(connection, sql.SQL("INSERT INTO {} SELECT * FROM {}").format(sql.Identifier(side, OWN_LIST), sql.Identifier(schema, OWN_LIST)))
    for table in tables:
        execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(schema, table)))
        execute(connection, sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(sql.Identifier(side, table), sql.Identifier(schema)))
    execute(connection, sql.SQL("DROP SCHEMA {}").format(sql.Identifier(side)))
    for _step, _place, _undo, redo in dependents:
        execute(connection, redo)


def _record(
    connection: Connection, schema: str, fingerprint: str, version: str | None, rows: Mapping[str, int], facts: Mapping[str, list[object]]
) -> None:
    own = sql.Identifier(schema, "omop_inc_vocabulary")
    files = {table: {"rows": count, "facts": facts.get(table)} for table, count in rows.items()}
    execute(connection, sql.SQL("DELETE FROM {}").format(own))
    statement = sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, now(), %s::jsonb)").format(own)
    parameters: tuple[Any, ...] = (fingerprint, version, release_date(version), json.dumps(files))
    execute(connection, statement, parameters)


def release_date(version: str | None) -> date | None:
    """The date in a vocabulary's version, such as 'v5.0 30-AUG-24', or None."""
    match = re.search(r"\b(\d{1,2})-([A-Za-z]{3})-(\d{2,4})\b", version or "")
    if not match:
        return None
    year = match[3] if len(match[3]) == 4 else f"20{match[3]}"
    with contextlib.suppress(ValueError):
        return datetime.strptime(f"{match[1]} {match[2].title()} {year} +0000", "%d %b %Y %z").date()
    return None
