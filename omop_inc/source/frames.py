"""Records as frames of text columns, which pandera validates.

Belongs here: parsing plain blocks and canonical lines with polars. Does not: what a record is (lines.py), the rules on
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


def frame_of_block(block: bytes, width: int, positions: dict[str, int]) -> pl.DataFrame:
    """Parse some fields of a block of plain lines, whose number of fields is checked, into text columns; empty is null.

    Reading the 20 columns of claims_transactions that have a rule takes 1.1 us a row, all of its canonical line 1.7 us.

    Args:
        block: Whole lines; no BOM before them (see frame_of_lines).
        width: Fields of a line.
        positions: Name and place of each field to read; of -1, which the file lacks, all are null.
    """
    schema = dict.fromkeys(map(str, range(width)), pl.String)
    lines = pl.scan_csv(block, has_header=False, schema=schema, quote_char=None, infer_schema=False)
    fields = [pl.col(str(at)).alias(name) if at >= 0 else pl.lit(None, dtype=pl.String).alias(name) for name, at in positions.items()]
    return lines.select(fields).collect()
