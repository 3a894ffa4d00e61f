"""What an exporter computes anew with each export, redrawn as Synthea does it.

Belongs here: new values of volatile and folded columns. Does not: significant changes (mutation.py).

claims_transactions numbers its rows through the whole file, so one row more or less early in it renumbers all that
follow, and each of these gets another ID and, for a patient's own payments, another METHOD. Totals over everything
(payers, organizations, providers, the people touched) grow.
"""

import random

from omop_inc.sampling.rows import Shape
from omop_inc.source.hashing import FOLDS

# What a payment by the patient is drawn from.
METHODS = (b"CASH", b"CC", b"CHECK")
# Of 835 organizations as many providers: 70 changed in a week; payers change all.
SHARE_OF_DIMENSIONS = {"payers": 1.0, "organizations": 0.1, "providers": 0.1}
NUMBERED_TABLE = "claims_transactions"


def redraw_totals(shape: Shape, fields: list[bytes], source: random.Random) -> None:
    """Let a row's volatile amounts and counts grow."""
    for column in shape.table.columns:
        if not column.volatile or column.staged not in shape.at:
            continue
        place = shape.at[column.staged]
        try:
            if column.type == "integer":
                fields[place] = b"%d" % (int(fields[place]) + source.randrange(1, 9))
            elif column.type == "numeric":
                fields[place] = b"%.2f" % (float(fields[place]) + source.randrange(1, 50_000) / 100)
        except ValueError:
            continue  # empty, or not a number


class Renumberer:
    """Redraws the rows of claims_transactions behind the first difference."""

    def __init__(self, shape: Shape, source: random.Random) -> None:
        names = {column.staged: column for column in shape.table.columns}
        present = [name for name in names if name in shape.at]
        self._ids = [shape.at[n] for n in present if names[n].volatile and names[n].type == "uuid"]
        self._numbers = [shape.at[n] for n in present if names[n].volatile and names[n].type == "text"]
        self._folded = [(shape.at[n], FOLDS["method"]) for n in present if names[n].fold == "method"]
        self._source = source

    def redraw(self, fields: list[bytes], shift: int) -> None:
        """Give a row the numbers that it has behind `shift` more rows, another id, and another way of payment."""
        for place in self._ids:
            digits = b"%032x" % self._source.getrandbits(128)
            fields[place] = b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
        for place in self._numbers:
            if fields[place].isdigit():
                fields[place] = b"%d" % (int(fields[place]) + shift)
        for place, fold in self._folded:
            if fold(fields[place]) == b"OTHER":
                fields[place] = self._source.choice(METHODS)


def is_redrawn(table: str, source: random.Random) -> bool:
    """Whether a row of a table whose totals run over everything differs in this export."""
    return table in SHARE_OF_DIMENSIONS and source.random() < SHARE_OF_DIMENSIONS[table]
