"""The next day's snapshot: some people changed, everything volatile redrawn, and what really differs told.

Belongs here: carrying a day's plan into the rows of every file. Does not: whom it touches (plan.py), volatile columns
(redraw.py), the order of rows (shuffling.py).

Rows of nobody touched pass as they are. A row that is made is a copy of an old one with ids and days of its own, so that
parents are there and codes, units and prices are as real as the source's.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from omop_inc.errors import SettingsError
from omop_inc.sampling.edits import bury, correct
from omop_inc.sampling.plan import Action, Plan, make_plan
from omop_inc.sampling.redraw import NUMBERED_TABLE, Renumberer, is_redrawn, redraw_totals
from omop_inc.sampling.rows import Shape, Write, join, make_target, new_file, open_source, read_records, shape_of
from omop_inc.sampling.shuffling import shuffled
from omop_inc.sampling.truth import TableTruth, Tally
from omop_inc.source.snapshot import SourceFile

# Ids that name a person or what happened to one; all others name dimensions, which a day does not add to.
PERSONAL_TABLES = ("patients", "encounters", "claims")


@dataclass(frozen=True, kw_only=True)
class Mutated:
    """What was written, and what a run must find."""

    day: date
    actions: dict[Action, int]  # people touched
    tables: dict[str, TableTruth]


def mutate_snapshot(
    source: Path, target: Path, *, percent: float, seed: int = 0, day: date | None = None, among: int | None = None, shuffle: bool = False
) -> Mutated:
    """Write the next day's snapshot of a folder.

    Args:
        source: A snapshot's folder.
        target: A new or empty folder.
        percent: Of the people who are touched, at least one; 0 alters no row.
        seed: Another one touches others; the same arguments write the same bytes.
        day: The day; None is the one after the latest encounter.
        among: Only the first so many people are touched, and the percent is of them; None is all. What is made of a snapshot and of a larger
            scale of it then changes alike.
        shuffle: Whether every file's rows are put into random order.

    Raises:
        SettingsError: If the target holds something, or the share is none.
    """
    if not 0 <= percent <= 100:
        raise SettingsError(f"{percent} percent; expected 0 to 100.")
    if among is not None and among < 1:
        raise SettingsError(f"Among {among} people; expected at least 1.")
    snapshot = open_source(source)
    make_target(target)
    plan = make_plan(snapshot, percent=percent, seed=seed, day=day, among=among)
    repeated_claims: set[bytes] = set()
    dropped_claims: set[bytes] = set()
    tables = {}
    for table, file in snapshot.files.items():  # claims before their transactions
        day_of = _Day(plan, shape_of(file), repeated_claims, dropped_claims)
        with new_file(target, day_of.shape) as write:
            if not shuffle:
                tables[table] = day_of.write(file, write)
                continue
            with shuffled(write, file, random.Random(f"order {seed} {table}")) as shuffling:
                tables[table] = day_of.write(file, shuffling)
    counts: dict[Action, int] = {}
    for action in plan.actions.values():
        counts[action] = counts.get(action, 0) + 1
    return Mutated(day=plan.day, actions=dict(sorted(counts.items())), tables=tables)


class _Day:
    """One day in one table."""

    def __init__(self, plan: Plan, shape: Shape, repeated_claims: set[bytes], dropped_claims: set[bytes]) -> None:
        self._plan, self.shape = plan, shape
        self._table = shape.table
        self._source = random.Random(f"rows {plan.seed} {plan.day} {self._table.name}")
        self._patient = shape.at[self._table.patient] if self._table.patient else None
        parents = {parent.column: parent.table for parent in self._table.parents}
        self._encounters = shape.places(["id"] if self._table.name == "encounters" else [c for c, t in parents.items() if t == "encounters"])
        self._claims = shape.places(["id"] if self._table.name == "claims" else [c for c, t in parents.items() if t == "claims"])
        self._repeated_claims, self._dropped_claims = repeated_claims, dropped_claims
        own = [c.staged for c in self._table.columns if c.staged == "id" and not c.volatile and self._patient is not None]
        self._own = shape.places([*own, *(c for c, t in parents.items() if t in PERSONAL_TABLES and t != "patients")])
        self._days = shape.places([c.staged for c in self._table.significant if c.type in ("date", "timestamp")])
        self._renumberer = Renumberer(shape, self._source) if self._table.name == NUMBERED_TABLE else None
        self._tally = Tally(self._table)
        self._truth = TableTruth()
        self._corrected: set[bytes] = set()

    def write(self, file: SourceFile, write: Write) -> TableTruth:
        """Write the table's records of the day."""
        for records in read_records(file):
            written = self._mutate(records)
            write(written)
            self._truth.rows += len(written)
        self._tally.count(self._truth)
        return self._truth

    def _mutate(self, records: list[bytes]) -> list[bytes]:
        """Give the day's records of some of the day before."""
        if self._patient is None:
            return [self._grow(record) for record in records]
        actions, place, written = self._plan.actions, self._patient, []
        for record in records:
            patient = record.split(b",", place + 1)[place] if record.count(b",") >= place and b'"' not in record else self._owner(record)
            action = actions.get(patient)
            if action is None:
                written.append(self._numbered(record) if self._renumberer else record)
            else:
                written.extend(self._act(record, action))
        return written

    def _owner(self, record: bytes) -> bytes:
        assert self._patient is not None
        fields = self.shape.split(record)
        return fields[self._patient] if fields else b""

    def _grow(self, record: bytes) -> bytes:
        """Redraw the totals of a dimension's row."""
        fields = self.shape.split(record) if self._plan.actions and is_redrawn(self._table.name, self._source) else None
        if fields is None:
            return record
        redraw_totals(self.shape, fields, self._source)
        self._truth.redrawn += 1
        return join(fields)

    def _numbered(self, record: bytes) -> bytes:
        """Renumber a row that is not touched, if one before it is."""
        assert self._renumberer is not None
        if not self._tally.is_touched:
            return record
        fields = self.shape.split(record)
        if fields is None:
            return record
        self._renumberer.redraw(fields, self._tally.growth)
        self._truth.redrawn += 1
        return join(fields)

    def _act(self, record: bytes, action: Action) -> Iterator[bytes]:
        """Give what becomes of a record of somebody touched: itself or not, altered or not, and what is made from it."""
        fields = self.shape.split(record)
        if fields is None:
            yield record
            return
        before = self.shape.canonical(fields)
        if self._leaves(fields, action):
            self._tally.leave(before)
            return
        made = self._made_from(fields, action)
        self._alter(fields, action)
        after = self.shape.canonical(fields)
        if after != before:
            self._tally.leave(before)
            self._tally.enter(after)
        yield self._finished(fields)
        if made is not None:
            self._tally.enter(self.shape.canonical(made))
            yield self._finished(made)

    def _finished(self, fields: list[bytes]) -> bytes:
        if self._renumberer and self._tally.is_touched:
            self._renumberer.redraw(fields, self._tally.growth)
        elif self._table.name == "patients":
            redraw_totals(self.shape, fields, self._source)
        return join(fields)

    def _leaves(self, fields: list[bytes], action: Action) -> bool:
        """Whether a record leaves, with its person or with its encounter."""
        if action == "departure":
            return True
        is_dropped = any(fields[place] in self._plan.dropped for place in self._encounters)
        is_dropped = is_dropped or any(fields[place] in self._dropped_claims for place in self._claims)
        if is_dropped and self._table.name == "claims":
            self._dropped_claims.add(fields[self.shape.at["id"]])
        return is_dropped

    def _made_from(self, fields: list[bytes], action: Action) -> list[bytes] | None:
        """Give the new record that a record is the model of: of a new person, or of a new encounter."""
        if action == "newcomer":
            made = self._with_fresh_ids(fields)
            assert self._patient is not None
            made[self._patient] = self._plan.fresh(fields[self._patient])
            return made
        encounter = next((fields[place] for place in self._encounters if fields[place] in self._plan.repeated), None)
        if encounter is None:
            return None
        if self._table.name == "claims_transactions" and not any(fields[place] in self._repeated_claims for place in self._claims):
            return None
        if self._table.name == "claims":
            self._repeated_claims.add(fields[self.shape.at["id"]])
        made = self._with_fresh_ids(fields)
        later = self._plan.day - self._plan.starts[encounter]
        for place in self._days:
            made[place] = _moved(fields[place], later)
        return made

    def _with_fresh_ids(self, fields: list[bytes]) -> list[bytes]:
        made = list(fields)
        for place in self._own:
            if fields[place]:
                made[place] = self._plan.fresh(fields[place])
        return made

    def _alter(self, fields: list[bytes], action: Action) -> None:
        """Alter an old record of somebody who died or whose records were corrected."""
        if action == "death":
            bury(self.shape, fields, self._plan.day)
        elif action == "correction" and self._patient is not None and fields[self._patient] not in self._corrected:
            before = list(fields)
            correct(self.shape, fields, self._plan.day)
            if fields != before:  # one row of a table and person
                self._corrected.add(fields[self._patient])


def _moved(value: bytes, later: timedelta) -> bytes:
    """Move a date or timestamp; what is none stays as it is."""
    try:
        return (date.fromisoformat(value[:10].decode()) + later).isoformat().encode() + value[10:]
    except (ValueError, OverflowError):
        return value
