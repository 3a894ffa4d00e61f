"""Reports as CSV files, and the unmapped codes as a SOURCE_TO_CONCEPT_MAP to fill in.

Belongs here: file formats, and what keeps a spreadsheet from running a cell. Does not: what the reports say (mapping.py).
"""

import csv
import io
from collections.abc import Iterable
from datetime import date
from pathlib import Path

from psycopg import sql

from omop_inc.cdm.spec import cdm_tables
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, name
from omop_inc.telling.mapping import Report

# A spreadsheet takes a cell that begins so for a formula.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
TEMPLATE = "SOURCE_TO_CONCEPT_MAP.csv"
# In force from before any vocabulary, and without an end, as the vocabularies write it.
FROM, UNTIL = "19700101", "20991231"
UNIT_VOCABULARY = "UCUM"


def guarded(cell: object) -> object:
    """A cell that no spreadsheet takes for a formula: an apostrophe stands before one that begins like it."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell


def csv_text(report: Report) -> str:
    """A report as CSV, its cells guarded."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(report.columns)
    writer.writerows([guarded(cell) for cell in row] for row in report.rows)
    return text.getvalue()


def write_reports(reports: Iterable[Report], folder: Path) -> list[Path]:
    """Write each report as `<name>.csv`, for its owner alone: answers are values of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write(folder / f"{report.name}.csv", csv_text(report)) for report in reports]


def _write(path: Path, text: str) -> Path:
    """Write a file whole or not at all."""
    beside = path.with_name(path.name + ".part")
    beside.touch(mode=0o600)
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
    return path


def write_template(connection: Connection, schemas: Schemas, codes: Report, units: Report, folder: Path) -> tuple[Path, int]:
    """Write the user's present list and one row per unmapped code and unit, in the format of a vocabulary download.

    It is tab separated and unquoted, as Athena's files are, so that it loads with the vocabulary's folder. Of what is
    loaded so the whole list is replaced, therefore the present rows are in it. A code is written as it is, or it would not
    be found again; one that a spreadsheet would run is left out.

    Returns:
        The file, and how many codes and units were left out.
    """
    columns = cdm_tables()["source_to_concept_map"].columns
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    order = sql.SQL("ORDER BY source_vocabulary_id, source_code, target_concept_id, valid_start_date")
    query = sql.SQL("SELECT {} FROM {} {}").format(listed, name(schemas.vocabulary, "source_to_concept_map"), order)
    present = [list(map(_as_text, row)) for row in execute(connection, query)]
    known = {(row[columns.index("source_vocabulary_id")], row[columns.index("source_code")]) for row in present}
    wanted = [(row[0], row[1], row[2]) for row in codes.rows] + [(UNIT_VOCABULARY, row[0], f"unit {row[0]}") for row in units.rows]
    new = [one for one in wanted if (one[0], one[1]) not in known and ("Synthea", one[1]) not in known]
    fit = [one for one in new if _fits(one[0], one[1])]
    lines = [list(columns), *present, *(_template_row(columns, *one) for one in fit)]
    text = "".join("\t".join(line) + "\n" for line in lines)
    folder.mkdir(parents=True, exist_ok=True)
    return _write(folder / TEMPLATE, text), len(new) - len(fit)


def _fits(vocabulary_id: str, code: str) -> bool:
    """Whether a code can stand in the file: the CDM's widths, no tab, nothing that a spreadsheet runs."""
    limits = cdm_tables()["source_to_concept_map"]
    is_short = len(code) <= (limits.field("source_code").text_limit or 0) and len(vocabulary_id) <= (
        limits.field("source_vocabulary_id").text_limit or 0
    )
    return is_short and code.isprintable() and not code.startswith(FORMULA_STARTS)


def _template_row(columns: tuple[str, ...], vocabulary_id: str, code: str, description: str | None) -> list[str]:
    words = " ".join((description or "").split())
    values = {
        "source_code": code,
        "source_concept_id": "0",
        "source_vocabulary_id": vocabulary_id,
        "source_code_description": str(guarded(words))[:255],
        "target_concept_id": "0",  # to be filled in
        "target_vocabulary_id": "None",
        "valid_start_date": FROM,
        "valid_end_date": UNTIL,
    }
    return [values.get(column, "") for column in columns]


def _as_text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:%Y%m%d}" if isinstance(value, date) else str(value)
