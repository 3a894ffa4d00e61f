"""The OMOP CDM 5.4 specification as facts, and the DDL that follows from it.

Belongs here: tables, fields, types, keys, and statements made from them alone. Does not: running a statement, data.
The facts are in cdm54.csv: one row per field. Types are PostgreSQL's. Ids that data bring are bigint, concept ids
integer, amounts and other decimals numeric (exact), datetimes timestamp without time zone. `index` marks the fields
that are worth an index at every load; foreign keys bring more of their own.

Source: CDM 5.4 specification (table and field level).
"""

import csv
import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import resources
from types import MappingProxyType
from typing import Literal

from psycopg import sql

CDM_VERSION = "5.4"

SchemaKind = Literal["cdm", "vocab"]

# Indexes on several columns, which the table of facts cannot say. concept: a code is looked up within its vocabulary.
COMPOSITE_INDEXES: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "concept": (("vocabulary_id", "concept_code"), ("domain_id", "concept_class_id")),
        "concept_relationship": (("concept_id_1", "relationship_id"), ("concept_id_2", "relationship_id")),
        "concept_ancestor": (("ancestor_concept_id", "descendant_concept_id"), ("descendant_concept_id",)),
        "source_to_concept_map": (("source_code", "source_vocabulary_id"),),
    }
)

MAX_IDENTIFIER = 63


@dataclass(frozen=True, kw_only=True)
class Field:
    """One field of a CDM table."""

    name: str
    type: str  # PostgreSQL's: bigint, integer, numeric, date, timestamp, text, varchar(n)
    is_required: bool
    is_primary_key: bool
    references: tuple[str, str] | None  # table and field of the foreign key
    domain: str | None  # domain that a concept must have
    concept_class: str | None  # class that a concept must have
    is_indexed: bool

    @property
    def text_limit(self) -> int | None:
        """Characters that fit, or None where there is no limit."""
        match = re.fullmatch(r"varchar\((\d+)\)", self.type)
        return int(match[1]) if match else None


@dataclass(frozen=True, kw_only=True)
class CdmTable:
    """One table of the CDM, its fields in the specification's order."""

    name: str
    schema: SchemaKind  # cdm: also the results tables cohort and cohort_definition
    fields: tuple[Field, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The fields' names."""
        return tuple(field.name for field in self.fields)

    @property
    def primary_key(self) -> tuple[str, ...]:
        """The fields of the primary key; empty where the specification names none."""
        return tuple(field.name for field in self.fields if field.is_primary_key)

    @property
    def person_column(self) -> str | None:
        """The field that holds the person, or None."""
        return "person_id" if "person_id" in self.columns else None

    def field(self, name: str) -> Field:
        """The field of that name."""
        return next(field for field in self.fields if field.name == name)


@functools.cache
def cdm_tables() -> Mapping[str, CdmTable]:
    """Every table of CDM 5.4 by name, in the specification's order."""
    text = resources.files("omop_inc").joinpath("cdm", "cdm54.csv").read_text(encoding="utf-8")
    fields: dict[tuple[SchemaKind, str], list[Field]] = {}
    for row in csv.DictReader(text.splitlines()):
        schema: SchemaKind = "vocab" if row["schema"] == "vocab" else "cdm"
        fields.setdefault((schema, row["table"]), []).append(_field(row))
    tables = {name: CdmTable(name=name, schema=schema, fields=tuple(found)) for (schema, name), found in fields.items()}
    return MappingProxyType(tables)


def _field(row: Mapping[str, str]) -> Field:
    table, _, field = row["references"].partition(".")
    return Field(
        name=row["field"],
        type=row["type"],
        is_required=row["required"] == "yes",
        is_primary_key=row["key"] == "primary",
        references=(table, field) if table else None,
        domain=row["domain"] or None,
        concept_class=row["class"] or None,
        is_indexed=row["index"] == "yes",
    )


def tables_of(schema: SchemaKind) -> tuple[CdmTable, ...]:
    """The tables that live in the CDM's schema or in the vocabulary's."""
    return tuple(table for table in cdm_tables().values() if table.schema == schema)


@functools.cache
def text_limits() -> Mapping[str, Mapping[str, int]]:
    """How many characters fit, per table and column; columns without a limit are absent."""
    limits = {
        table.name: MappingProxyType({f.name: f.text_limit for f in table.fields if f.text_limit is not None}) for table in cdm_tables().values()
    }
    return MappingProxyType(limits)


def identity(table: CdmTable) -> tuple[str, ...]:
    """The columns that tell a CDM table's rows apart."""
    if table.primary_key:
        return table.primary_key
    return ("person_id",) if table.name == "death" else table.columns


def create_table(table: CdmTable, schema: str, *, unlogged: bool = False, constraints: bool = True) -> sql.Composed:
    """CREATE TABLE of the columns alone; the primary key is a statement of its own, for after the load.

    Args:
        table: What to create.
        schema: Where; any schema, not only the table's own.
        unlogged: For a run's own tables.
        constraints: Whether required fields are NOT NULL.
    """
    lines = [
        sql.SQL("{} {}{}").format(sql.Identifier(f.name), _type(f), sql.SQL(" NOT NULL" if constraints and f.is_required else ""))
        for f in table.fields
    ]
    kind = sql.SQL("UNLOGGED TABLE" if unlogged else "TABLE")
    return sql.SQL("CREATE {} {} (\n    {}\n)").format(kind, sql.Identifier(schema, table.name), sql.SQL(",\n    ").join(lines))


def _type(field: Field) -> sql.SQL:
    return sql.SQL(field.type)


def primary_key_statement(table: CdmTable, schema: str) -> sql.Composed | None:
    """ALTER TABLE ... ADD PRIMARY KEY, or None for a table without one."""
    if not table.primary_key:
        return None
    return sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} PRIMARY KEY ({})").format(
        sql.Identifier(schema, table.name), sql.Identifier(f"pk_{table.name}"), _columns(table.primary_key)
    )


def index_statements(table: CdmTable, schema: str, *, foreign_keys: bool = False) -> Iterator[sql.Composed]:
    """CREATE INDEX statements of a table, for after its load.

    Args:
        table: The table.
        schema: Where it is.
        foreign_keys: Also index what foreign keys into the CDM refer from; else each deleted visit scans every event table.
    """
    for columns in _indexed(table):
        yield _index(table, schema, columns)
    if foreign_keys:
        known = {columns[0] for columns in _indexed(table)} | set(table.primary_key[:1])
        for field in table.fields:
            if field.references and field.name not in known and cdm_tables()[field.references[0]].schema == "cdm":
                yield _index(table, schema, (field.name,), is_partial=not field.is_required)


def _indexed(table: CdmTable) -> tuple[tuple[str, ...], ...]:
    return COMPOSITE_INDEXES.get(table.name, ()) + tuple((field.name,) for field in table.fields if field.is_indexed)


def _index(table: CdmTable, schema: str, columns: tuple[str, ...], *, is_partial: bool = False) -> sql.Composed:
    statement = sql.SQL("CREATE INDEX {} ON {} ({})").format(
        sql.Identifier(_short(f"ix_{table.name}_{'_'.join(columns)}")), sql.Identifier(schema, table.name), _columns(columns)
    )
    where = sql.SQL(" WHERE {} IS NOT NULL").format(_columns(columns)) if is_partial else sql.SQL("")
    return sql.Composed([statement, where])


def foreign_key_statements(schema: str, vocab_schema: str, *, kinds: tuple[SchemaKind, ...] = ("cdm",)) -> Iterator[sql.Composed]:
    """ALTER TABLE ... ADD FOREIGN KEY for every reference of the CDM's tables, checked at COMMIT.

    Args:
        schema: The CDM's schema.
        vocab_schema: The vocabulary's.
        kinds: Whose references: the CDM tables', the vocabulary tables', or both.
    """
    home = {"cdm": schema, "vocab": vocab_schema}
    for table in cdm_tables().values():
        for field in table.fields if table.schema in kinds else ():
            if field.references:
                target_table, target_field = field.references
                yield sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({}) DEFERRABLE INITIALLY DEFERRED").format(
                    sql.Identifier(home[table.schema], table.name),
                    sql.Identifier(foreign_key_name(table.name, field.name)),
                    sql.Identifier(field.name),
                    sql.Identifier(home[cdm_tables()[target_table].schema], target_table),
                    sql.Identifier(target_field),
                )


def drop_foreign_key_statements(schema: str, *, kind: SchemaKind = "cdm") -> Iterator[sql.Composed]:
    """ALTER TABLE ... DROP CONSTRAINT IF EXISTS for every foreign key that we may have added."""
    for table in tables_of(kind):
        names = [foreign_key_name(table.name, field.name) for field in table.fields if field.references]
        if names:
            drops = sql.SQL(", ").join(sql.SQL("DROP CONSTRAINT IF EXISTS {}").format(sql.Identifier(n)) for n in names)
            yield sql.SQL("ALTER TABLE IF EXISTS {} {}").format(sql.Identifier(schema, table.name), drops)


def foreign_key_name(table: str, field: str) -> str:
    """The constraint's name, within PostgreSQL's limit."""
    return _short(f"fk_{table}_{field}")


def _short(name: str) -> str:
    return name if len(name) <= MAX_IDENTIFIER else name[:MAX_IDENTIFIER]


def _columns(names: tuple[str, ...]) -> sql.Composed:
    return sql.SQL(", ").join([sql.Identifier(name) for name in names])
