"""The small tables that every transform may join: run parameters, code map, units, answers, fixed concepts, content ids.

Belongs here: filling the run's look-ups. Does not: how a code is resolved (code_map.py).
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from psycopg import sql

from omop_inc import __version__
from omop_inc.cdm.cache import MapCache
from omop_inc.cdm.code_map import CodeMapReport, mapping_fingerprint, resolve
from omop_inc.cdm.concepts import CDM_VERSION_CONCEPTS
from omop_inc.cdm.local_time import UTC
from omop_inc.cdm.transforms import transforms, views_of
from omop_inc.cdm.vocabulary import search_path, stored_vocabulary
from omop_inc.resources import read_sql
from omop_inc.settings import Settings
from omop_inc.source.hashing import HASH_VERSION
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name

# Of the fingerprint: the keys that name a transform's SQL.
TRANSFORM_KEY = "transform:"


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What cdm_source and metadata say: functions of snapshot, vocabulary and tool alone."""

    snapshot_date: date | None
    tool_version: str
    hash_version: int
    vocabulary_version: str
    vocabulary_fingerprint: str
    cdm_version_concept_id: int
    time_zone: str


def made_under(connection: Connection, schemas: Schemas, settings: Settings) -> dict[str, str]:
    """What decides the CDM beside the rows: vocabulary, units, time zone, and each transform's SQL with the views that it reads."""
    texts = {name: "\0".join(file.text for file in (transform, *views_of(transform))) for name, transform in transforms().items()}
    return {
        "vocabulary": mapping_fingerprint(connection, schemas.vocabulary, settings.units),
        "time_zone": settings.time_zone,
        **{f"{TRANSFORM_KEY}{name}": hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()},
        "hash_version": str(HASH_VERSION),
        "tool": __version__,
    }


def whole_transforms(before: Mapping[str, str], now: Mapping[str, str]) -> frozenset[str]:
    """The transforms that must look at every person again: all after a change of vocabulary or zone, else those whose SQL changed."""
    if before.get("vocabulary") != now["vocabulary"] or before.get("time_zone", UTC) != now["time_zone"]:
        return frozenset(transforms())
    return frozenset(name for name in transforms() if before.get(TRANSFORM_KEY + name) != now[TRANSFORM_KEY + name])


def read_parameters(connection: Connection, schemas: Schemas, snapshot_date: date | None, time_zone: str) -> Parameters:
    """The parameters of a run with this vocabulary and zone."""
    stored = stored_vocabulary(connection, schemas.vocabulary)
    query = sql.SQL("SELECT concept_id FROM {} WHERE concept_id = ANY(%s) ORDER BY array_position(%s, concept_id) LIMIT 1")
    candidates = list(CDM_VERSION_CONCEPTS)
    concept = fetch_value(connection, query.format(name(schemas.vocabulary, "concept")), (candidates, candidates))
    return Parameters(
        snapshot_date=snapshot_date,
        tool_version=__version__,
        hash_version=HASH_VERSION,
        vocabulary_version=(stored.version if stored else None) or "",
        vocabulary_fingerprint=stored.fingerprint if stored else "",
        cdm_version_concept_id=concept or 0,
        time_zone=time_zone,
    )


def create_lookups(connection: Connection, schemas: Schemas, *, renumber: bool = False) -> None:
    """Make the empty tables of parameters, of the ids of content, and of what is in use."""
    run = sql.Identifier(schemas.run)
    execute(
        connection,
        sql.SQL(
            "CREATE UNLOGGED TABLE {}.run_parameter (snapshot_date date, tool_version text, hash_version integer, vocabulary_version text,"
            " vocabulary_fingerprint text, cdm_version_concept_id integer, time_zone text)"
        ).format(run),
    )
    sequence = sql.Literal(name(schemas.state, "row_id_seq").as_string(connection))
    execute(
        connection,
        sql.SQL("CREATE UNLOGGED TABLE {}.new_content_id (id_key uuid PRIMARY KEY, id bigint NOT NULL DEFAULT nextval({}))").format(run, sequence),
    )
    known = sql.SQL("SELECT id_key, id FROM {}.new_content_id").format(run)
    if not renumber:
        known += sql.SQL(" UNION ALL SELECT id_key, id FROM {}").format(name(schemas.state, "content_id"))
    execute(connection, sql.SQL("CREATE VIEW {}.content_id AS ").format(run) + known)
    for table, columns in (
        ("code_in_use", "vocabulary_id text, code text"),
        ("unit_in_use", "unit_source_value text"),
        ("answer_in_use", "value_text text"),
    ):
        execute(connection, sql.SQL("CREATE UNLOGGED TABLE {}.{} ({})").format(run, sql.Identifier(table), sql.SQL(columns)))


def create_map_tables(connection: Connection, schemas: Schemas) -> None:
    """Make the tables of resolved codes; `resolve_codes` makes them itself where they are missing."""
    with search_path(connection, schemas.run):
        execute(connection, read_sql("ddl/vocab_map.sql"))


def write_parameters(connection: Connection, schemas: Schemas, parameters: Parameters) -> None:
    """Write the run's parameters."""
    row = tuple(vars(parameters).values())
    execute(connection, sql.SQL("INSERT INTO {} VALUES (%s, %s, %s, %s, %s, %s, %s)").format(name(schemas.run, "run_parameter")), row)


# What is looked up of source rows: their codes, and the units and the answers of observations.
IN_USE = ("code", "unit", "answer")


def gather_codes(connection: Connection, schemas: Schemas, kind: str, rows: str, *, with_known: bool) -> None:
    """Collect the distinct codes, units or answers of a world of source rows.

    Args:
        kind: One of IN_USE.
        rows: The schema that holds the observations of that world; its view code_in_use is in the delta's schema.
        with_known: Whether the codes of earlier runs are wanted too (an increment sees old rows as well).
    """
    observations = name(rows, "observations")
    found = {
        "code": sql.SQL("SELECT vocabulary_id, code FROM {}").format(name(schemas.delta, "code_in_use")),
        "unit": sql.SQL("SELECT units AS unit_source_value FROM {} WHERE units IS NOT NULL").format(observations),
        "answer": sql.SQL("SELECT value AS value_text FROM {} WHERE type IS DISTINCT FROM 'numeric' AND value IS NOT NULL").format(observations),
    }
    known = sql.SQL(" UNION SELECT * FROM {}").format(name(schemas.state, f"known_{kind}")) if with_known else sql.SQL("")
    statement = sql.SQL("INSERT INTO {} SELECT DISTINCT * FROM ({}{}) AS found")
    execute(connection, statement.format(name(schemas.run, f"{kind}_in_use"), found[kind], known))


def resolve_codes(connection: Connection, schemas: Schemas, settings: Settings) -> CodeMapReport:
    """Resolve what was gathered into code_map, unit_map, answer_map and fixed_concept."""
    cache = None if "disk_cache" in settings.without else MapCache(settings.cache_dir)
    return resolve(connection, schemas.run, schemas.vocabulary, cache, settings.units)


def keep_codes(connection: Connection, schemas: Schemas) -> None:
    """Remember what is in use, in the publishing transaction, so that the next increment resolves it too."""
    for found, known in (("code_in_use", "known_code"), ("unit_in_use", "known_unit"), ("answer_in_use", "known_answer")):
        statement = sql.SQL("INSERT INTO {} SELECT * FROM {} ON CONFLICT DO NOTHING")
        execute(connection, statement.format(name(schemas.state, known), name(schemas.run, found)))
