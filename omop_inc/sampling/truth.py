"""The true difference between two snapshots, kept while the second is written.

Belongs here: counting new, changed and removed rows from what was done. Does not: how a run finds them (source/deltas.py).
"""

from collections import Counter
from dataclasses import dataclass, field

from omop_inc.source.tables import SourceTable

Row = tuple[bytes, ...]  # significant values, folded, in canonical order


@dataclass(kw_only=True)
class TableTruth:
    """What differs in one table."""

    rows: int = 0  # in the second snapshot
    new: int = 0
    changed: int = 0
    removed: int = 0
    redrawn: int = 0  # rows that differ in volatile columns alone


@dataclass
class Tally:
    """The rows that entered and left one table; a row that does both does neither."""

    table: SourceTable
    entered: Counter[Row] = field(default_factory=Counter)
    left: Counter[Row] = field(default_factory=Counter)
    growth: int = 0  # rows more than before, so far
    is_touched: bool = False  # whether anything has entered or left

    def enter(self, row: Row) -> None:
        """Note a row that was not there."""
        self.entered[row] += 1
        self.growth += 1
        self.is_touched = True

    def leave(self, row: Row) -> None:
        """Note a row that is not there any more."""
        self.left[row] += 1
        self.growth -= 1
        self.is_touched = True

    def count(self, truth: TableTruth) -> None:
        """Sort the rows into new, changed and removed: rows of one natural key pair as changed."""
        entered, left = self.entered - self.left, self.left - self.entered
        names = self.table.staged
        places = [names.index(name) for name in self.table.key]
        keys: Counter[Row] = Counter()
        for row, count in left.items():
            keys[tuple(row[place] for place in places)] += count
        gained: Counter[Row] = Counter()
        for row, count in entered.items():
            gained[tuple(row[place] for place in places)] += count
        truth.changed = (gained & keys).total() if places else 0
        truth.new = entered.total() - truth.changed
        truth.removed = left.total() - truth.changed
