r"""pandera schemas built from the table of facts: what a value must look like to be staged.

Belongs here: rules on single values, in a form that names column and rule and never the value. Does not: the shape of
a record (lines.py), parents and repeated Ids (they need other rows: store), plausibility (data-quality checks).

Everything is text until PostgreSQL casts it, and no cast may fail there (its message would quote the value): so a rule
accepts only what the cast accepts. The regular expressions are Rust's: `$` is the very end, `[0-9]` are ASCII digits.
"""

import os
from dataclasses import dataclass
from functools import cache, partial

import pandera.polars as pa
import polars as pl
from pandera.api.polars.types import PolarsData
from pandera.errors import SchemaErrors

from omop_inc.errors import SettingsError
from omop_inc.source.screening import MAX_TEXT_BYTES
from omop_inc.source.tables import SOURCE_TABLES, Column, ColumnType

_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
# Month and day by the length of the month; 29 February apart; year 0000 is none of ours and none of PostgreSQL's.
_DAY = (
    r"(?:[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    rf"|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_TIME = r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?Z?"
_TIMESTAMP = rf"^{_DAY}(?:T{_TIME})?$"
_INTEGER = r"^[+-]?[0-9]{1,10}$"
# Finite, and far inside numeric's 131,072 digits before and 16,383 behind the point.
_NUMERIC = r"^[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE](?:\+?[0-9]{1,2}|-[0-9]{1,3}))?$"

MIN_INTEGER, MAX_INTEGER = -(1 << 31), (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One value that may not be staged."""

    row_index: int  # position in the frame
    column: str  # staged name
    rule: str  # not_null, uuid, date, timestamp, integer, numeric, text


def failures(frame: pl.DataFrame, table: str) -> list[Failure]:
    """Check the rows of a source table; every failure of every row, ordered by row, column and rule.

    Args:
        frame: The staged columns of the table as text, in canonical order; empty is null.
        table: Name of the source table.

    Raises:
        SettingsError: If pandera is switched off in the environment.
    """
    _refuse_without_pandera()
    try:
        schema_of(table).validate(frame, lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
    else:
        return []
    return sorted(_failures(cases), key=lambda failure: (failure.row_index, failure.column, failure.rule))


def _refuse_without_pandera() -> None:
    if os.environ.get("PANDERA_VALIDATION_ENABLED", "True").lower() in ("false", "0"):
        raise SettingsError("PANDERA_VALIDATION_ENABLED switches validation off; expected it unset. Unset it and start again.")


def _failures(cases: pl.DataFrame) -> list[Failure]:
    """Reduce pandera's failure cases to position, column and rule."""
    found = []
    for index, column, check in cases.select("index", "column", "check").iter_rows():
        if index is None:
            raise ValueError(f"The frame does not fit the schema: {check}, column {column}.")
        found.append(Failure(row_index=index, column=column, rule="not_null" if check == "not_nullable" else check))
    return found


@cache
def schema_of(table: str) -> pa.DataFrameSchema:
    """Build the pandera schema of a source table from the table of facts."""
    columns = {column.staged: _schema_column(column) for column in SOURCE_TABLES[table].significant}
    return pa.DataFrameSchema(columns, strict=True, ordered=True, name=table)


def _schema_column(column: Column) -> pa.Column:
    check = pa.Check(partial(_check, column.type), name=column.type, error=column.type)
    return pa.Column(pl.String, check, nullable=column.nullable)


def _check(column_type: ColumnType, data: PolarsData) -> pl.LazyFrame:
    return data.lazyframe.select(_is_valid(pl.col(data.key), column_type))


def _is_valid(value: pl.Expr, column_type: ColumnType) -> pl.Expr:
    """Say whether a text can be cast to the staged type."""
    match column_type:
        case "uuid":
            return value.str.contains(_UUID)
        case "date" | "timestamp":
            # Of a timestamp in a date column the time of day is not staged.
            return value.str.contains(_TIMESTAMP) & ~value.str.starts_with("0000")
        case "integer":
            whole = value.str.to_integer(strict=False)
            return value.str.contains(_INTEGER) & whole.is_between(MIN_INTEGER, MAX_INTEGER)
        case "numeric":
            return value.str.contains(_NUMERIC)
        case "text":
            # A zero byte, which no text may hold in PostgreSQL, makes a bad record before it comes here (lines.py).
            return value.str.len_bytes() <= MAX_TEXT_BYTES
