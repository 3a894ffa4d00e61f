"""How well the CDM is mapped, and what is not loaded: shares, unmapped codes, units and answers, rows held back.

Belongs here: reading these from the committed CDM, as plain tables. Does not: writing them as files (exports.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from psycopg import sql
from rich.table import Table

from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import views
from omop_inc.cdm.world import create_view, set_search_path
from omop_inc.resources import read_sql
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, name

# The concept fields whose source is a code or a word of the export; each gives a line if any record fills it.
MAPPED_FIELDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "person": ("gender_concept_id", "race_concept_id", "ethnicity_concept_id"),
        "visit_occurrence": ("visit_concept_id",),
        "visit_detail": ("visit_detail_concept_id",),
        "condition_occurrence": ("condition_concept_id",),
        "drug_exposure": ("drug_concept_id",),
        "procedure_occurrence": ("procedure_concept_id", "modifier_concept_id"),
        "measurement": ("measurement_concept_id", "value_as_concept_id", "unit_concept_id"),
        "observation": ("observation_concept_id", "value_as_concept_id", "unit_concept_id", "qualifier_concept_id"),
        "device_exposure": ("device_concept_id",),
        "specimen": ("specimen_concept_id",),
        "death": ("cause_concept_id",),
        "provider": ("specialty_concept_id", "gender_concept_id"),
        "payer_plan_period": ("payer_concept_id",),
    }
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """One table of a report."""

    name: str  # of its file
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    has_values: bool = False  # whether cells of rows are shown: not for artifacts and logs

    def dicts(self) -> list[dict[str, Any]]:
        """The rows with their columns' names."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


def read_reports(connection: Connection, schemas: Schemas) -> list[Report]:
    """All reports on the committed CDM, in one transaction."""
    return [
        report_shares(connection, schemas),
        report_unmapped_codes(connection, schemas),
        report_unmapped_units(connection, schemas),
        report_unmapped_answers(connection, schemas),
        report_held(connection, schemas),
    ]


def report_shares(connection: Connection, schemas: Schemas) -> Report:
    """Records and those with a standard concept, per CDM table and concept field, with the field's domain."""
    rows: list[tuple[Any, ...]] = []
    for table, fields in MAPPED_FIELDS.items():
        counts = sql.SQL(", ").join(
            sql.SQL("count({0}), count(*) FILTER (WHERE {0} <> 0)").format(sql.Identifier(field)) for field in fields
        )  # fmt: skip
        found = execute(connection, sql.SQL("SELECT {} FROM {}").format(counts, name(schemas.cdm, table))).fetchone() or ()
        for field, records, mapped in zip(fields, found[::2], found[1::2], strict=True):
            if records:
                rows.append((table, field, cdm_tables()[table].field(field).domain or "", records, mapped, f"{100 * mapped / records:.2f}"))
    columns = ("cdm_table", "field", "domain", "records", "with_standard_concept", "percent")
    return Report(name="mapped_share", title="Records with a standard concept", columns=columns, rows=tuple(rows))


def report_unmapped_codes(connection: Connection, schemas: Schemas) -> Report:
    """The codes of records without a standard concept, the most frequent first, with a description of the source's."""
    set_search_path(connection, [schemas.cdm, schemas.staging])
    create_view(connection, sql.Identifier("pg_temp", "source_event"), sql.SQL(views()["source_event"].text))
    texts = [
        sql.SQL("SELECT row_id, patient, description FROM {}").format(sql.Identifier(table.name))
        for table in SOURCE_TABLES.values()
        if {"patient", "description"} <= set(table.staged)
    ]
    create_view(connection, sql.Identifier("pg_temp", "description"), sql.SQL(" UNION ALL ").join(texts))
    rows = tuple(tuple(row) for row in execute(connection, read_sql("query/unmapped_codes.sql")))
    execute(connection, "DROP VIEW pg_temp.description, pg_temp.source_event")
    execute(connection, "SET LOCAL search_path TO DEFAULT")
    columns = ("vocabulary_id", "code", "description", "cdm_tables", "source_tables", "records")
    return Report(name="unmapped_codes", title="Codes without a standard concept", columns=columns, rows=rows)


def report_unmapped_units(connection: Connection, schemas: Schemas) -> Report:
    """The units without a standard concept, the most frequent first."""
    parts = _of_results(schemas, "SELECT unit_source_value AS unit, count(*) AS records FROM {} WHERE unit_concept_id = 0 GROUP BY 1")
    query = sql.SQL('SELECT unit, sum(records)::bigint FROM ({}) AS found GROUP BY unit ORDER BY 2 DESC, unit COLLATE "C"').format(parts)
    rows = tuple(tuple(row) for row in execute(connection, query))
    return Report(name="unmapped_units", title="Units without a standard concept", columns=("unit", "records"), rows=rows)


def report_unmapped_answers(connection: Connection, schemas: Schemas) -> Report:
    """The text results without a standard concept by question, the most frequent first; they are values of rows."""
    parts = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT {question} AS question, value_source_value AS answer, count(*) AS records FROM {table}"
            " WHERE value_as_concept_id = 0 AND value_source_value IS NOT NULL GROUP BY 1, 2"
        ).format(question=sql.Identifier(f"{table}_source_value"), table=name(schemas.cdm, table))
        for table in ("measurement", "observation")
    )
    query = sql.SQL(
        'SELECT question, answer, sum(records)::bigint FROM ({}) AS found GROUP BY 1, 2 ORDER BY 3 DESC, question COLLATE "C", answer COLLATE "C"'
    )
    rows = tuple(tuple(row) for row in execute(connection, query.format(parts)))
    columns = ("question_code", "answer", "records")
    return Report(name="unmapped_answers", title="Text results without a standard concept", columns=columns, rows=rows, has_values=True)


def _of_results(schemas: Schemas, text: str) -> sql.Composed:
    return sql.SQL(" UNION ALL ").join(sql.SQL(text).format(name(schemas.cdm, table)) for table in ("measurement", "observation"))


def report_held(connection: Connection, schemas: Schemas) -> Report:
    """Rows that are not loaded: quarantined, pending, copies, by source table, rule and column."""
    parts = [
        sql.SQL("SELECT {}, fate, rule, NULL AS column_name FROM {}").format(sql.Literal(table), name(schemas.quarantine, table))
        for table in SOURCE_TABLES
    ]
    parts.append(sql.SQL("SELECT source_table, 'quarantined', rule, column_name FROM {}").format(name(schemas.quarantine, "bad_record")))
    query = sql.SQL(
        "SELECT source_table, fate, rule, coalesce(column_name, ''), count(*) FROM ({}) AS held (source_table, fate, rule, column_name)"
        " GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 5 DESC, 3, 4"
    ).format(sql.SQL(" UNION ALL ").join(parts))
    rows = tuple(tuple(row) for row in execute(connection, query))
    columns = ("source_table", "fate", "rule", "column", "rows")
    return Report(name="held_rows", title="Rows that are not loaded", columns=columns, rows=rows)


def report_table(report: Report, most: int) -> Table:
    """A report's first rows for the terminal."""
    rest = f" (the first {most} of {len(report.rows):,})" if len(report.rows) > most else ""
    table = Table(title=f"{report.title}{rest}", title_justify="left")
    for column in report.columns:
        table.add_column(column.replace("_", " "), justify="right" if column in ("records", "with_standard_concept", "percent", "rows") else "left")
    for row in report.rows[:most]:
        table.add_row(*(f"{cell:,}" if isinstance(cell, int) else _plain(cell) for cell in row))
    return table


def _plain(cell: object) -> str:
    """A cell without what a terminal would take for markup or control."""
    text = "" if cell is None else str(cell)
    return "".join(c if c.isprintable() else " " for c in text).replace("[", r"\[")
