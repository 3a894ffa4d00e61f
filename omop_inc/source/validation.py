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
from omop_inc.source.frames import frame_of_block
from omop_inc.source.records import Chunk
from omop_inc.source.snapshot import UTF8_BOM
from omop_inc.source.tables import SOURCE_TABLES, Column, ColumnType

MAX_TEXT_BYTES = 1_000_000

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


def failures_of(chunk: Chunk, table: str) -> list[Failure]:
    """Check a chunk of a source table; every failure of every row.

    The lines of a plain block are checked as the file holds them, by the columns that have a rule. What a fold alters is no
    valid value before, so that it is looked at again in the canonical lines.
    """
    if not len(chunk):
        return []
    if chunk.canonical.longest <= MAX_TEXT_BYTES and _is_clean(_screened(chunk, table), table):
        return []
    return failures(chunk.frame, table)


def _screened(chunk: Chunk, table: str) -> pl.DataFrame:
    """The columns that have a rule, from the plain block where there is one, else with all others from the canonical lines."""
    if chunk.block is None or chunk.block.startswith(UTF8_BOM):
        return chunk.frame
    places = dict(zip(chunk.names, chunk.layout.positions, strict=True))
    return frame_of_block(chunk.block, chunk.layout.width, {name: places[name] for name in _ruled(table)})


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


def _is_clean(frame: pl.DataFrame, table: str) -> bool:
    """Check the columns that have a rule all at once; which value fails is for `failures` to say.

    One pandera check over the distinct values of each type: a chunk of claims_transactions costs 5 ms and 0.6 us a row so,
    with a check for each column 40 ms and 1.2 us.
    """
    _refuse_without_pandera()
    try:
        screen_of(table).validate(frame, lazy=True)
    except SchemaErrors:
        return False
    return True


@cache
def _ruled(table: str) -> tuple[str, ...]:
    """The staged columns on whose values there is a rule besides their length."""
    return tuple(column.staged for column in SOURCE_TABLES[table].significant if column.type != "text" or not column.nullable)


@cache
def screen_of(table: str) -> pa.DataFrameSchema:
    """Build the pandera schema that says of many rows at once whether all are valid."""
    return pa.DataFrameSchema(checks=pa.Check(partial(_has_valid_columns, table), name="screen", error="screen"), name=table)


def _has_valid_columns(table: str, data: PolarsData) -> bool:
    frame = data.lazyframe.collect()
    distinct: dict[ColumnType, list[pl.Series]] = {}
    for column in SOURCE_TABLES[table].significant:
        if column.staged not in frame.columns:
            continue
        values = frame[column.staged]
        if not column.nullable and values.null_count():
            return False
        if column.type != "text" and values.null_count() < len(values):
            distinct.setdefault(column.type, []).append(values.unique().alias("value"))
    for column_type, parts in distinct.items():
        valid = pl.concat(parts).drop_nulls().to_frame().select(_is_valid(pl.col("value"), column_type).all())
        if not valid.item():
            return False
    return True


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
