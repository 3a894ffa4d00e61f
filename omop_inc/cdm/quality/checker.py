"""Count the checks of one CDM, a table at a time: in full, or by what an increment touches.

Belongs here: which checks are counted over which rows, and their results together. Does not: counting (counting.py, violations.py),
when a run checks (runs/checking.py), keeping results (store/check_ledger.py).

Counts are kept, and an increment moves them by new minus old. A check whose meaning is another than that of its kept count, that has no
kept count, or whose vocabulary changed is counted in full.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date

from psycopg import sql

from omop_inc.cdm.delta import Delta
from omop_inc.cdm.quality import counting, results, rows, samples, touched, violations
from omop_inc.cdm.quality.conditions import moves_with_time
from omop_inc.cdm.quality.counting import Count, Side
from omop_inc.cdm.quality.facts import Check, checks_of, fact_checks
from omop_inc.cdm.quality.plan import Plan, looked_up_in, plan_counts
from omop_inc.cdm.quality.queries import CheckQuery
from omop_inc.cdm.quality.results import CheckResult, is_exceeded, is_of_presence, judge
from omop_inc.cdm.spec import cdm_tables
from omop_inc.store import check_ledger
from omop_inc.store.check_ledger import StoredResult, ValueChange
from omop_inc.store.db import Connection, Database, fetch_value
from omop_inc.store.schemas import columns

# The tables whose checks take longest, so that the last thread to end ends early; condition_occurrence has the comparison of all events.
_LONG = ("condition_occurrence", "cost", "measurement", "procedure_occurrence", "observation", "drug_exposure", "visit_detail", "visit_occurrence")


def every_check(found: Mapping[str, CheckQuery]) -> list[Check]:
    """The checks of facts, and those of queries, which may take the place of one of facts."""
    return list({**fact_checks(), **{key: query.check for key, query in found.items()}}.values())


def checked_tables(checks: Iterable[Check]) -> list[str]:
    """The tables that have checks, those that take longest first."""
    named = {check.table for check in checks}
    return sorted(named, key=lambda table: (table not in _LONG, _LONG.index(table) if table in _LONG else 0, table))


@dataclass(kw_only=True)
class Checked:
    """What the checks of a run found, and what of it is to be kept."""

    results: list[CheckResult] = field(default_factory=list)
    values: list[ValueChange] = field(default_factory=list)
    counted_anew: list[str] = field(default_factory=list)  # checks whose counts by value take the place of those kept
    counted: int = 0  # checks that were looked at; the others are as they were
    today: date = date.min
    known: Mapping[str, StoredResult] | None = None  # the results kept so far, where they were read

    def stored(self) -> list[StoredResult]:
        """The results as the ledger keeps them."""
        return [
            StoredResult(
                check_id=one.check.id,
                fingerprint=one.check.fingerprint,
                severity=one.check.severity,
                threshold=one.check.threshold,
                violated=one.count.violated,
                denominator=one.count.denominator,
                status=one.status,
                samples=one.samples,
                as_of=self.today,
            )
            for one in self.results
        ]


@dataclass(kw_only=True)
class Part:
    """What was found of the checks of one table."""

    counts: dict[str, Count] = field(default_factory=dict)
    samples: dict[str, tuple[int, ...]] = field(default_factory=dict)
    values: list[ValueChange] = field(default_factory=list)
    counted_anew: list[str] = field(default_factory=list)
    counted: set[str] = field(default_factory=set)


@dataclass(frozen=True, kw_only=True)
class Checker:
    """The checks of one CDM in one state, a table at a time."""

    database: Database
    world: rows.World
    today: date
    queries: Mapping[str, CheckQuery]
    only: frozenset[str] | None = None  # ids of the checks that are wanted; None: all
    delta: Delta | None = None
    stored: Mapping[str, StoredResult] = field(default_factory=dict)
    touched: frozenset[str] = frozenset()  # checks of persons and rows of which the increment touches some
    anew: bool = True  # whether all is counted in full

    def tables(self) -> list[str]:
        """The tables that have wanted checks, those that take longest first."""
        return checked_tables(self.checks())

    def checks(self) -> list[Check]:
        """The wanted checks."""
        return [check for check in every_check(self.queries) if self.only is None or check.id in self.only]

    def check(self, table: str) -> Part:
        """Check one table; in an increment what is not touched keeps its counts."""
        part = Part()
        with self.database.connection() as connection:
            self._check_facts(connection, table, part)
            for query in self.queries.values():
                if query.check.table == table and (self.only is None or query.check.id in self.only):
                    self._check_query(connection, query, part)
        return part

    def conclude(self, parts: Iterable[Part]) -> Checked:
        """Put the parts together and give every check its status."""
        counts: dict[str, Count] = {}
        found: dict[str, tuple[int, ...]] = {}
        checked = Checked(today=self.today, known=self.stored or None)
        for part in parts:
            counts |= part.counts
            found |= part.samples
            checked.values += part.values
            checked.counted_anew += part.counted_anew
            checked.counted += len(part.counted)
        checked.results = judge(self.checks(), counts, self.world.catalogue, found)
        return checked

    def _check_facts(self, connection: Connection, table: str, part: Part) -> None:
        own = [c for c in checks_of(table) if c.id not in self.queries and (self.only is None or c.id in self.only)]
        own += [c for c in self._helpers(table, own)]
        for check in own:
            if is_of_presence(check):
                part.counts[check.id] = results.presence(check, self.world.catalogue)
        countable = [check for check in own if not is_of_presence(check)]
        whole = [check for check in countable if self._is_counted_anew(check)]
        if whole and self.world.catalogue.has(table):
            self._count_whole(connection, table, whole, part)
        anew = {check.id for check in whole}
        moved = [check for check in countable if check.id not in anew]
        if moved:
            self._move(connection, table, moved, part)

    def _helpers(self, table: str, own: list[Check]) -> list[Check]:
        """Where only some checks are wanted: those that tell whether a field is empty."""
        if self.only is None:
            return []
        fields = {check.field for check in own}
        return [c for c in checks_of(table) if c.type == results.COMPLETENESS and c.field in fields and c not in own]

    def _is_counted_anew(self, check: Check) -> bool:
        known = self.stored.get(check.id)
        if self.anew or known is None or known.fingerprint != check.fingerprint:
            return True
        return moves_with_time(check) and known.violated > 0 and known.as_of != self.today

    def _count_whole(self, connection: Connection, table: str, checks: list[Check], part: Part) -> None:
        plan = plan_counts(self.world, table, checks, self.today)
        names = [c for c in cdm_tables()[table].columns if self.world.catalogue.has(table, c)]
        changed = self.world.is_changed(table)
        query = rows.whole_table(self.world, table, names)
        source: sql.Composable = sql.SQL("({})").format(query) if changed else self.world.table(table)
        side = Side(world=self.world, rows=source)
        if not fetch_value(connection, sql.SQL("SELECT EXISTS (SELECT FROM {} AS any_row)").format(source)):
            found = counting.count_nothing(plan)
        else:
            found = counting.count(connection, plan, [side], constraints=not changed)
        part.counts |= found.counts
        for check_id, values in found.values.items():
            part.counts[check_id] = Count(violated=sum(u > 0 for _, u in values.values()), denominator=sum(r > 0 for r, _ in values.values()))
            part.values += [ValueChange(check_id=check_id, value_key=key, rows=r, unmapped=u) for key, (r, u) in values.items()]
            part.counted_anew.append(check_id)
        part.counted |= {check.id for check in checks}
        self._sample(connection, checks, side, part)

    def _move(self, connection: Connection, table: str, checks: list[Check], part: Part) -> None:
        """Move kept counts by what the run takes away from a table and adds to it."""
        for check in checks:
            known = self.stored[check.id]
            part.counts[check.id] = Count(violated=known.violated, denominator=known.denominator)
            part.samples[check.id] = known.samples
        changes = self.world.changes
        if table not in changes.tables and not changes.moved & {one for check in checks for one in looked_up_in(check)}:
            return
        plan = plan_counts(self.world, table, checks, self.today)
        sides = self._sides(table, plan)
        if sides is None:
            return
        found = counting.count(connection, plan, sides, constraints=False)
        for check_id, difference in found.counts.items():
            part.counts[check_id] += difference
        for check_id, values in found.values.items():
            self._move_values(connection, check_id, values, part)
        part.counted |= {check.id for check in plan.checks}
        # Where as many rows violate a check as before, those that were shown go on being shown.
        violated = [check for check in checks if part.counts[check.id].violated != self.stored[check.id].violated]
        for check in violated:
            part.samples.pop(check.id)
        self._sample(connection, violated, sides[-1], part)

    def _sides(self, table: str, plan: Plan) -> list[Side] | None:
        """The rows that go and those that come, each in its world; None where there are neither."""
        world = self.world
        before = replace(world, state="committed")
        staying = rows.moved_rows(before, table, plan.columns, plan.looked_up)
        listed = columns(plan.columns)
        if table in world.changes.tables:
            moving = [sql.SQL("SELECT {} FROM {}").format(listed, one) for one in rows.gone_and_added(world.schemas, table)]
        elif staying is not None:
            moving = [sql.SQL("SELECT {} FROM {} WHERE false").format(listed, world.table(table))] * 2
        else:
            return None
        if staying is not None and plan.has_gender and "person" in world.changes.moved:  # the gender is what rows are grouped by
            moving, staying = [sql.SQL(" UNION ALL ").join((one, staying)) for one in moving], None
        old, new = (sql.SQL("({})").format(one) for one in moving)
        return [Side(world=before, rows=old, sign=-1, staying=staying), Side(world=world, rows=new, staying=staying)]

    def _move_values(self, connection: Connection, check_id: str, values: counting.ValueRows, part: Part) -> None:
        known = check_ledger.read_values(connection, self.world.schemas, check_id, values)
        for key, (more, unmapped) in values.items():
            had, lacked = known.get(key, (0, 0))
            part.counts[check_id] += Count(violated=int(lacked + unmapped > 0) - int(lacked > 0), denominator=int(had + more > 0) - int(had > 0))
            if more or unmapped:
                part.values.append(ValueChange(check_id=check_id, value_key=key, rows=more, unmapped=unmapped))

    def _sample(self, connection: Connection, checks: Iterable[Check], side: Side, part: Part) -> None:
        for check in checks:
            if check.id not in part.counts or not is_exceeded(check, part.counts[check.id]):
                continue
            found = samples.sample(connection, check, side, self.today)
            known = self.stored[check.id].samples if check.id in self.stored and not self.anew else ()
            part.samples[check.id] = tuple(dict.fromkeys((*found, *known)))[: violations.SAMPLES]

    def with_touched(self, connection: Connection) -> "Checker":
        """The checker of an increment, once it is noted which persons and rows the increment touches."""
        assert self.delta is not None
        moved = [query for query in self.queries.values() if not self._is_counted_anew(query.check) and not touched.missing_tables(query, self.world)]
        return replace(self, touched=touched.note_touched(connection, self.world, self.delta, moved))

    def _check_query(self, connection: Connection, query: CheckQuery, part: Part) -> None:
        check, known = query.check, self.stored.get(query.check.id)
        if touched.missing_tables(query, self.world):
            return
        if self.delta is None or known is None or self._is_counted_anew(check):
            found = violations.run_query(connection, query, self.world, self.delta)
        elif check.id not in self.touched:
            part.counts[check.id] = Count(violated=known.violated, denominator=known.denominator)
            part.samples[check.id] = known.samples
            return
        elif query.scope == "whole":
            found = violations.run_query(connection, query, self.world, self.delta)
        else:
            found = self._move_query(connection, query, known, self.delta)
        part.counted.add(check.id)
        part.counts[check.id], part.samples[check.id] = found.count, found.samples

    def _move_query(self, connection: Connection, query: CheckQuery, known: StoredResult, delta: Delta) -> violations.Found:
        before = replace(self.world, state="committed")
        # A count of nothing has nothing that could go.
        old = violations.run_query(connection, query, before, delta, part="touched", counted=known.violated > 0)
        new = violations.run_query(connection, query, self.world, delta, part="touched")
        return violations.move(Count(violated=known.violated, denominator=known.denominator), old, new)
