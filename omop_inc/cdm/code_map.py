"""Resolve a run's distinct codes, units and answers once into small tables that the transforms join.

Belongs here: code_map, unit_map, answer_map and fixed_concept of a run's schema. Does not: which codes are in use
(the views of sql/view/), loading a vocabulary (vocabulary.py).
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from psycopg import sql

from omop_inc.cdm.cache import MapCache
from omop_inc.cdm.concepts import FIXED_CONCEPTS, missing_concepts
from omop_inc.cdm.units import unit_aliases, units_digest
from omop_inc.cdm.vocabulary import current_fingerprint, search_path, stored_vocabulary
from omop_inc.errors import VocabularyError
from omop_inc.resources import read_sql
from omop_inc.store.db import Connection, execute, fetch_value

# Raise it when a resolve_*.sql file changes what it gives: cached maps of the older text are then not found.
RESOLVER_VERSION = 2

# Digests kept of maps that were resolved: more than one CDM schema may share a vocabulary.
KEPT_DIGESTS = 100

CODE_COLUMNS = ("vocabulary_id", "code", "ordinal", "target_table", "concept_id", "source_concept_id", "value_as_concept_id")
UNIT_COLUMNS = ("unit_source_value", "unit_concept_id")

MapRows = dict[str, list[list[Any]]]


@dataclass(frozen=True, kw_only=True)
class CodeMapReport:
    """What one resolution gave."""

    codes: int  # distinct codes in use
    unmapped: int  # of those without a standard concept
    units: int  # distinct units in use
    unmapped_units: int  # of those without a standard concept
    answers: int  # texts that name an answer
    from_cache: bool  # whether code_map and unit_map came from the disk cache
    missing_fixed: tuple[int, ...]  # fixed concepts that the vocabulary lacks, ascending
    missing_ucum: tuple[str, ...]  # codes that the user's own list of units names and the vocabulary lacks


def mapping_fingerprint(connection: Connection, vocab_schema: str = "vocab", units: Path | None = None) -> str:
    """What every look-up depends on: vocabulary, the user's own list, the lists of units and the resolver's version.

    Raises:
        VocabularyError: If no vocabulary is loaded.
    """
    return f"{current_fingerprint(connection, vocab_schema)}-{RESOLVER_VERSION}-{units_digest(units)}"


def resolve(connection: Connection, run_schema: str, vocab_schema: str, cache: MapCache | None, units: Path | None = None) -> CodeMapReport:
    """Make and fill the look-ups of a run from what is in use in its schema.

    The run's schema holds `code_in_use(vocabulary_id, code)`; `unit_in_use(unit_source_value)` and
    `answer_in_use(value_text)` where there are any. They may be tables or views and are read once.

    Args:
        connection: Any; the work is one transaction (a savepoint inside yours).
        run_schema: Where the look-ups go; those of an earlier call are replaced.
        vocab_schema: The vocabulary.
        cache: The disk cache, or None. It only saves work: an entry counts if its digest is the one that this
            database recorded when it resolved the same codes.
        units: The user's own list of units.

    Raises:
        VocabularyError: If no vocabulary is loaded.
        SettingsError: If the list of units is not one.
    """
    with connection.transaction():
        stored = stored_vocabulary(connection, vocab_schema)
        known = mapping_fingerprint(connection, vocab_schema, units)
        with search_path(connection, run_schema, vocab_schema):
            execute(connection, read_sql("ddl/vocab_map.sql"))
            _collect(connection, run_schema)
            key = f"{known}-{_digest_in_use(connection)}"
            rows = _trusted(connection, cache, key)
            if rows is not None:
                _copy_map(connection, rows)
            else:
                _resolve_map(connection, cache, key, stored.release_date if stored else None, units)
            execute(connection, read_sql("query/resolve_answers.sql"))
            present = _fill_fixed(connection)
            for table in ("code_map", "unit_map", "answer_map", "fixed_concept"):
                execute(connection, sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
            return replace(
                _report(connection, from_cache=rows is not None, missing=missing_concepts(present)), missing_ucum=_missing_ucum(connection, units)
            )


def _collect(connection: Connection, run_schema: str) -> None:
    """Make the optional inputs where they are missing, and statistics of all that are tables."""
    if fetch_value(connection, "SELECT to_regclass(%s)", (f"{run_schema}.code_in_use",)) is None:
        raise VocabularyError(f"Schema '{run_schema}' has no code_in_use(vocabulary_id, code). Create it before the codes are resolved.")
    execute(connection, "CREATE UNLOGGED TABLE IF NOT EXISTS unit_in_use (unit_source_value text)")
    execute(connection, "CREATE UNLOGGED TABLE IF NOT EXISTS answer_in_use (value_text text)")
    for name in ("code_in_use", "unit_in_use", "answer_in_use"):
        if fetch_value(connection, "SELECT relkind IN ('r', 'm') FROM pg_class WHERE oid = to_regclass(%s)", (f"{run_schema}.{name}",)):
            execute(connection, sql.SQL("ANALYZE {}").format(sql.Identifier(run_schema, name)))


def _digest_in_use(connection: Connection) -> str:
    statement = """
        SELECT encode(sha256(convert_to(coalesce(string_agg(line, E'\\n' ORDER BY line COLLATE "C"), ''), 'UTF8')), 'hex')
        FROM (
            SELECT DISTINCT json_build_array(vocabulary_id, code)::text AS line FROM code_in_use
            UNION ALL
            SELECT DISTINCT json_build_array(unit_source_value)::text AS line FROM unit_in_use
        ) AS used
    """
    return str(fetch_value(connection, statement))


def _trusted(connection: Connection, cache: MapCache | None, key: str) -> MapRows | None:
    """The cached map, if this database resolved the very same once."""
    recorded = fetch_value(connection, "SELECT content_digest FROM code_map_digest WHERE cache_key = %s", (key,))
    if cache is None or recorded is None:
        return None
    rows = cache.get(key)
    return rows if rows is not None and content_digest(rows) == recorded else None


def content_digest(rows: Any) -> str:
    """SHA-256 over the canonical JSON of a map's rows."""
    text = json.dumps(rows, ensure_ascii=True, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _resolve_map(connection: Connection, cache: MapCache | None, key: str, release_date: date | None, units: Path | None) -> None:
    aliases = [(one.place, one.unit_source_value, one.ucum_code, one.is_own) for one in unit_aliases(units)]
    _copy_rows(connection, "unit_alias", ("place", "unit_source_value", "ucum_code", "is_own"), aliases)
    execute(connection, "ANALYZE unit_alias")
    parameters = {"release_date": release_date}
    execute(connection, read_sql("query/resolve_codes.sql"), parameters)
    execute(connection, read_sql("query/resolve_units.sql"), parameters)
    rows: MapRows = {"codes": _sorted_rows(connection, "code_map", CODE_COLUMNS), "units": _sorted_rows(connection, "unit_map", UNIT_COLUMNS)}
    _record_digest(connection, key, content_digest(rows))
    if cache is not None:
        cache.put(key, rows)


def _record_digest(connection: Connection, key: str, digest: str) -> None:
    execute(
        connection,
        "INSERT INTO code_map_digest VALUES (%s, %s, now())"
        " ON CONFLICT (cache_key) DO UPDATE SET content_digest = excluded.content_digest, used_at = excluded.used_at",
        (key, digest),
    )
    execute(
        connection,
        "DELETE FROM code_map_digest WHERE cache_key IN"
        " (SELECT cache_key FROM code_map_digest ORDER BY used_at DESC, cache_key OFFSET %s FOR UPDATE SKIP LOCKED)",
        (KEPT_DIGESTS,),
    )


def _sorted_rows(connection: Connection, table: str, columns: Sequence[str]) -> list[list[Any]]:
    statement = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table))
    rows = [list(row) for row in execute(connection, statement)]
    return sorted(rows, key=lambda row: json.dumps(row[:3]))


def _copy_map(connection: Connection, rows: MapRows) -> None:
    _copy_rows(connection, "code_map", CODE_COLUMNS, rows["codes"])
    _copy_rows(connection, "unit_map", UNIT_COLUMNS, rows["units"])


def _copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)))
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def _missing_ucum(connection: Connection, units: Path | None) -> tuple[str, ...]:
    """Codes of the user's own list that are no UCUM code: most likely slips, which would else look like unknown units."""
    named = sorted({one.ucum_code for one in unit_aliases(units) if one.is_own and one.ucum_code})
    if not named:
        return ()
    statement = """
        SELECT named.code FROM unnest(%s::text[]) AS named (code)
        LEFT JOIN concept ON named.code = concept.concept_code AND concept.vocabulary_id = 'UCUM'
        WHERE concept.concept_id IS NULL ORDER BY named.code COLLATE "C"
    """
    return tuple(row[0] for row in execute(connection, statement, (named,)))


def _fill_fixed(connection: Connection) -> set[int]:
    statement = """
        INSERT INTO fixed_concept (fixed_concept_id, concept_id)
        SELECT fixed.fixed_concept_id, coalesce(concept.concept_id, 0)
        FROM unnest(%s::integer[]) AS fixed (fixed_concept_id)
        LEFT JOIN concept ON fixed.fixed_concept_id = concept.concept_id
        RETURNING concept_id
    """
    return {row[0] for row in execute(connection, statement, (sorted(FIXED_CONCEPTS),))} - {0}


def _report(connection: Connection, *, from_cache: bool, missing: tuple[int, ...]) -> CodeMapReport:
    counts = execute(
        connection,
        "SELECT count(*) FILTER (WHERE ordinal = 1), count(*) FILTER (WHERE concept_id = 0),"
        " (SELECT count(*) FROM unit_map), (SELECT count(*) FROM unit_map WHERE unit_concept_id = 0), (SELECT count(*) FROM answer_map)"
        " FROM code_map",
    ).fetchone()
    codes, unmapped, units, unmapped_units, answers = counts or (0, 0, 0, 0, 0)
    return CodeMapReport(
        codes=codes,
        unmapped=unmapped,
        units=units,
        unmapped_units=unmapped_units,
        answers=answers,
        from_cache=from_cache,
        missing_fixed=missing,
        missing_ucum=(),
    )
