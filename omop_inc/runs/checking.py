"""What a run checks before it commits: everything after a full load, what it touched in an increment.

Belongs here: when a run checks, and whether it may go on. Does not: what is counted over which rows (cdm/quality/checker.py).
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase

from omop_inc.cdm import local_time
from omop_inc.cdm.delta import Delta
from omop_inc.cdm.quality import queries, rows
from omop_inc.cdm.quality.catalogue import Catalogue, read_catalogue
from omop_inc.cdm.quality.checker import Checked, Checker, Part, checked_tables, every_check
from omop_inc.cdm.quality.conditions import moves_with_time
from omop_inc.cdm.quality.facts import Check, fact_checks
from omop_inc.cdm.quality.results import CheckResult, tally
from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import transforms
from omop_inc.errors import CheckFailed, SettingsError
from omop_inc.runs.conductor import Conductor, Threads
from omop_inc.runs.context import Run
from omop_inc.settings import Settings
from omop_inc.store import check_ledger, ledger, state
from omop_inc.store.check_ledger import StoredResult
from omop_inc.store.db import Connection, Database, open_database, translated
from omop_inc.store.ledger import LastRun
from omop_inc.store.schemas import Schemas
from omop_inc.telling.timings import Listener, Recorder

# Failing checks that an error names; all are in the summary.
NAMED = 10
# The columns by which rows of the CDM are looked up from others.
LOOKED_UP = {
    "person": "person_id",
    "death": "person_id",
    "visit_occurrence": "visit_occurrence_id",
    "visit_detail": "visit_detail_id",
    "provider": "provider_id",
    "care_site": "care_site_id",
    "location": "location_id",
}


def homes(schemas: Schemas, built: Iterable[str] = ()) -> dict[str, str]:
    """The schema of every CDM table, where some are built beside."""
    beside = set(built)
    return {
        table: schemas.vocabulary if facts.schema == "vocab" else schemas.next_cdm if table in beside else schemas.cdm
        for table, facts in cdm_tables().items()
    }


@dataclass(frozen=True, kw_only=True)
class Committed:
    """What checks need of the committed state, which may be read while transforms run."""

    stored: Mapping[str, StoredResult]  # current results by check
    catalogue: Catalogue


def read_committed(run: Run) -> Committed | None:
    """Read what the checks of an increment need; None if it makes none."""
    if run.settings.checks == "off":
        return None
    with run.recorder.step("check", "before"), run.database.connection() as connection:
        stored = check_ledger.read_current(connection, run.schemas)
        return Committed(stored=stored, catalogue=read_catalogue(connection, homes(run.schemas)))


def check_increment(run: Run, delta: Delta, committed: Committed | None) -> Checked | None:
    """Check what an increment is about to publish.

    Args:
        committed: From `read_committed`.

    Raises:
        CheckFailed: If a check marked fail finds too many rows and the settings heed it.
    """
    if committed is None:
        return None
    assert run.last is not None
    with run.recorder.step("check") as counts, run.database.connection() as connection:
        moved = rows.note_moves(connection, run.schemas, delta.changed, LOOKED_UP)
        counts.rows_in = len(delta.changed)
    changes = rows.Changes(tables=frozenset(delta.changed), moved=moved)
    checker = Checker(
        database=run.database,
        world=rows.World(schemas=run.schemas, state="after", catalogue=committed.catalogue, changes=changes, time_zone=run.settings.time_zone),
        today=datetime.now(UTC).date(),
        queries=queries.check_queries(run.settings.checks_dir),
        delta=delta,
        stored=committed.stored,
        anew=run.last.fingerprint.get("vocabulary") != run.made_under["vocabulary"] or _time_zone(run.last) != run.settings.time_zone,
    )
    with run.recorder.step("check"), run.database.connection() as connection:
        checker = checker.with_touched(connection)
    return _judged(run, checker, run.each("check", checker.tables(), lambda table: _check(run, checker, table)).values())


class BuiltChecks:
    """The checks of the CDM that a full load builds beside, to be carried out among its other steps."""

    def __init__(self, run: Run, *, is_wanted: bool) -> None:
        self._run = run
        self._queries = queries.check_queries(run.settings.checks_dir)
        self._checker: Checker | None = None
        self._parts: dict[str, Part] = {}
        self.tables = checked_tables(every_check(self._queries)) if is_wanted and run.settings.checks != "off" else []

    def prepare(self) -> None:
        """Look at what there is; the CDM is built."""
        run, built = self._run, frozenset(transforms())
        with run.recorder.step("check", "before"), run.database.connection() as connection:
            existing = read_catalogue(connection, homes(run.schemas, built))
            others = [table for table, facts in cdm_tables().items() if facts.schema == "cdm" and table not in built]
            catalogue = read_catalogue(connection, homes(run.schemas, built), missing_as_specified=others)
        world = rows.World(schemas=run.schemas, state="built", catalogue=catalogue, existing=existing, built=built, time_zone=run.settings.time_zone)
        self._checker = Checker(database=run.database, world=world, today=datetime.now(UTC).date(), queries=self._queries)

    def check(self, table: str) -> None:
        """Check one table."""
        assert self._checker is not None
        self._parts[table] = _check(self._run, self._checker, table)

    def conclude(self) -> Checked | None:
        """Judge what was found; None if nothing was checked.

        Raises:
            CheckFailed: If a check marked fail finds too many rows and the settings heed it.
        """
        return None if self._checker is None else _judged(self._run, self._checker, [self._parts[table] for table in self.tables])


def _time_zone(last: LastRun) -> str:
    """The zone in which a run wrote dates and times."""
    return last.fingerprint.get("time_zone", local_time.UTC)


def committed_checker(
    database: Database, schemas: Schemas, connection: Connection, found: Mapping[str, queries.CheckQuery], last: LastRun
) -> Checker:
    """What checks the CDM that the last run committed, in full."""
    catalogue = read_catalogue(connection, homes(schemas))
    world = rows.World(schemas=schemas, state="committed", catalogue=catalogue, time_zone=_time_zone(last))
    return Checker(database=database, world=world, today=datetime.now(UTC).date(), queries=found)


@dataclass(frozen=True, kw_only=True)
class Report:
    """A full check of the committed CDM."""

    generation: int
    checked: Checked
    differing: tuple[str, ...]  # checks whose counts or status the runs have kept otherwise

    @property
    def stops(self) -> bool:
        """Whether a check marked fail found too many rows."""
        return any(one.stops for one in self.checked.results)


def check_committed(
    settings: Settings, only: str | None = None, severity: str | None = None, conductor: Conductor | None = None, listener: Listener | None = None
) -> Report:
    """Count the checks of the committed CDM in full; nothing is written.

    Args:
        settings: Which CDM.
        only: A pattern of ids with * and ?; None means all.
        severity: Only checks of this severity.
        conductor: Who carries the steps out; threads if None.
        listener: Is told of every table when it is done.

    Raises:
        CheckFailed: If there is no CDM, or a run was published meanwhile.
        SettingsError: If no check is wanted.
    """
    schemas = Schemas(cdm=settings.cdm_schema, vocabulary=settings.vocabulary_schema)
    found = queries.check_queries(settings.checks_dir)
    wanted = _wanted({**{key: one for key, one in fact_checks().items()}, **{key: one.check for key, one in found.items()}}, only, severity)
    database, recorder = open_database(settings), Recorder(listener=listener)
    try:
        last = read_last_run(database, schemas)
        with database.connection() as connection:
            checker = replace(committed_checker(database, schemas, connection, found, last), only=wanted)
            kept = check_ledger.read_current(connection, schemas)

        def check(table: str) -> Part:
            with recorder.step("check", table):
                return checker.check(table)

        checked = checker.conclude((conductor or Threads(settings.workers)).each("check", checker.tables(), check).values())
        if read_last_run(database, schemas).generation != last.generation:
            raise CheckFailed("A run was published while the checks were counted. Check again when none is going on.")
    finally:
        database.close()
    return Report(generation=last.generation, checked=checked, differing=tuple(_differing(checked, kept)))


def _wanted(every: Mapping[str, Check], only: str | None, severity: str | None) -> frozenset[str] | None:
    if only is None and severity is None:
        return None
    wanted = frozenset(k for k, c in every.items() if (only is None or fnmatchcase(k, only)) and severity in (None, c.severity))
    if not wanted:
        raise SettingsError(f"No check has an id like '{only}'; expected a pattern such as 'plausible*' or '*.person.*'.")
    return wanted


def read_last_run(database: Database, schemas: Schemas) -> LastRun:
    """The run that committed the CDM.

    Raises:
        CheckFailed: If there is none.
    """
    with database.connection() as connection:
        known = state.exists(connection, schemas)
    if known:
        with translated(), database.engine.connect() as session:
            last = ledger.read_last_run(session, schemas)
        if last is not None:
            return last
    raise CheckFailed(f"Schema '{schemas.cdm}' holds no CDM yet; there is nothing to check. Apply a snapshot first.")


def _differing(checked: Checked, kept: Mapping[str, StoredResult]) -> Iterator[str]:
    """The checks of which another result is kept; not those that another day answers otherwise."""
    moving = {one.check.id for one in checked.results if moves_with_time(one.check)}
    for one in checked.stored():
        known = kept.get(one.check_id)
        if known is None or (one.check_id in moving and known.as_of != one.as_of):
            continue
        if (one.violated, one.denominator, one.status) != (known.violated, known.denominator, known.status):
            yield one.check_id


def _check(run: Run, checker: Checker, table: str) -> Part:
    with run.recorder.step("check", table) as counts:
        part = checker.check(table)
        counts.rows_in = len(part.counted)
    return part


def _judged(run: Run, checker: Checker, parts: Iterable[Part]) -> Checked:
    """Give every check its status, and stop at those that are heeded."""
    checked = checker.conclude(parts)
    run.summary.checks = summarize(checked.results, checked.counted)
    stopping = [one for one in checked.results if one.stops]
    if stopping and run.settings.checks == "fail":
        listed = "; ".join(describe(one) for one in stopping[:NAMED])
        more = f"; and {len(stopping) - NAMED} more" if len(stopping) > NAMED else ""
        raise CheckFailed(
            f"{len(stopping)} checks marked fail found too many rows: {listed}{more}. Nothing was applied; the CDM is as it was."
            " Look at them, or let them only warn with OMOP_INC_CHECKS=warn."
        )
    return checked


def describe(result: CheckResult) -> str:
    """A check that did not pass, in a few words: names, counts and ids of ours."""
    ids = f" (ids {', '.join(map(str, result.samples))})" if result.samples else ""
    return f"{result.check.id}: {result.count.violated:,} of {result.count.denominator:,}{ids}"


def summarize(found: Iterable[CheckResult], counted: int) -> dict[str, object]:
    """What a summary says of checks: counts, and those that did not pass."""
    every = list(found)
    listed = [
        {
            "check": one.check.id,
            "severity": one.check.severity,
            "violated": one.count.violated,
            "denominator": one.count.denominator,
            "threshold": one.check.threshold,
        }
        for one in every
        if one.status == "failed"
    ]
    return {**tally(every), "counted": counted, "not_passed": listed}


def keep(run: Run, checked: Checked | None, generation: int) -> None:
    """Write what the checks found, in the publishing transaction."""
    connection, schemas = run.raw, run.schemas
    if checked is None:
        check_ledger.forget(connection, schemas)
        return
    check_ledger.write_results(connection, schemas, run.run_id, generation, checked.stored(), checked.known)
    check_ledger.write_values(connection, schemas, checked.values, checked.counted_anew)
    check_ledger.prune(connection, schemas, run.settings.keep_runs)
