"""What PostgreSQL itself knows of the CDM's tables: whether they are there, their columns, and what its constraints rule out.

Belongs here: reading the catalogue. Does not: the specification (cdm/spec.py), which is what should be there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from omop_inc.cdm.spec import cdm_tables
from omop_inc.store.db import Connection, execute

_WHOLE = frozenset({"int2", "int4", "int8"})

_QUERY = """
SELECT
    namespace.nspname,
    relation.relname,
    attribute.attname,
    type.typname,
    attribute.attnotnull,
    EXISTS (
        SELECT
        FROM pg_catalog.pg_index AS index
        WHERE index.indrelid = relation.oid AND index.indisunique AND index.indisvalid AND index.indpred IS NULL
            AND index.indnkeyatts = 1 AND index.indkey[0] = attribute.attnum
    ) AS is_unique
FROM pg_catalog.pg_class AS relation
INNER JOIN pg_catalog.pg_namespace AS namespace
    ON namespace.oid = relation.relnamespace
INNER JOIN pg_catalog.pg_attribute AS attribute
    ON attribute.attrelid = relation.oid AND attribute.attnum > 0 AND NOT attribute.attisdropped
INNER JOIN pg_catalog.pg_type AS type
    ON type.oid = attribute.atttypid
WHERE namespace.nspname = ANY(%s) AND relation.relname = ANY(%s) AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
"""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column as it is."""

    is_whole: bool  # of an integer type
    is_required: bool  # NOT NULL
    is_unique: bool  # a unique index of its own


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """The CDM tables that are there, each with its columns."""

    tables: Mapping[str, Mapping[str, Column]] = field(default_factory=dict)

    def has(self, table: str, *names: str) -> bool:
        """Whether a table and columns of it are there."""
        return table in self.tables and all(name in self.tables[table] for name in names)

    def is_unique(self, table: str, name: str) -> bool:
        """Whether no value of a column can occur twice."""
        return self.has(table, name) and self.tables[table][name].is_unique

    def is_required(self, table: str, name: str) -> bool:
        """Whether a column cannot be empty."""
        return self.has(table, name) and self.tables[table][name].is_required

    def is_whole(self, table: str, name: str) -> bool:
        """Whether a column can hold nothing but whole numbers."""
        return self.has(table, name) and self.tables[table][name].is_whole


def read_catalogue(connection: Connection, homes: Mapping[str, str], missing_as_specified: Iterable[str] = ()) -> Catalogue:
    """Read what is there.

    Args:
        homes: The schema in which each CDM table is looked for.
        missing_as_specified: Tables that count as there and empty where they are not: the run is about to create them.
    """
    found: dict[str, dict[str, Column]] = {}
    for schema, table, column, kind, required, unique in execute(connection, _QUERY, (sorted(set(homes.values())), sorted(homes))):
        if homes[table] == schema:
            found.setdefault(table, {})[column] = Column(is_whole=kind in _WHOLE, is_required=required, is_unique=unique)
    for table in set(missing_as_specified) - set(found):
        found[table] = {
            f.name: Column(is_whole=f.type in ("bigint", "integer"), is_required=f.is_required, is_unique=f.is_primary_key)
            for f in cdm_tables()[table].fields
        }
    return Catalogue(tables=found)
