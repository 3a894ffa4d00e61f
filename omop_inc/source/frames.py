"""Records as frames of text columns, which pandera validates.

Belongs here: parsing canonical lines with polars. Does not: what a record is (lines.py), the rules on
values (validation.py). A process that only hashes records never imports this module, nor polars.
"""

import csv
import io
from collections.abc import Sequence

import polars as pl

from omop_inc.source.lines import Lines
from omop_inc.source.snapshot import UTF8_BOM


def frame_of_lines(lines: Lines, names: Sequence[str], *, has_quotes: bool) -> pl.DataFrame:
    """Parse canonical lines into text columns; empty is null.

    polars takes a BOM away at the start of its input, where to us it is part of a value.
    """
    schema = dict.fromkeys(names, pl.String)
    if not len(lines):
        return pl.DataFrame(schema=schema)
    data = bytes(lines.data)
    if has_quotes or data.startswith(UTF8_BOM):  # rare, and Python's reader is exact about line breaks in quotes
        rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        return pl.DataFrame([[field or None for field in row] for row in rows], schema=schema, orient="row")
    return pl.read_csv(data, has_header=False, new_columns=list(names), schema=schema, quote_char=None, infer_schema=False)
