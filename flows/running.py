"""What the flows share: from parameters to the run, and how a run ends in Prefect.

Belongs here: from parameters to the core's call, from its summary to a state and artifacts.
Does not: the steps as tasks (tasks.py), the command line (terminal.py), anything of a run itself (omop_inc/runs/).
"""

import os
import sys
import traceback
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Literal

from prefect import get_run_logger
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from rich.console import Console

from flows.tasks import PrefectConductor, harmless, tell
from omop_inc.cli.terminal import show
from omop_inc.errors import EXIT_FAILED, OmopIncError, SettingsError
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot
from omop_inc.settings import Settings, load_settings
from omop_inc.store.db import open_database
from omop_inc.store.ledger import StepTiming
from omop_inc.store.schemas import Schemas
from omop_inc.telling.mapping import read_reports
from omop_inc.telling.summary import Summary
from omop_inc.telling.timings import Listener

# Parameters that are left empty are set by OMOP_INC_* where the flow runs; so is the database, whose URL may hold a
# password and is never a parameter. Prefect's form takes each description from the flow's docstring.
Mode = Literal["snapshot", "append"]
UnknownColumns = Literal["freeze", "ignore"]

# Rows of a mapping report on Prefect's pages: the most frequent ones matter.
MOST_SHOWN = 100

# Who else is told of every step: the line on the terminal of `python -m`.
WATCHER: ContextVar[Listener | None] = ContextVar("watcher", default=None)


def apply_in_flow(kind: Kind, source: str, vocabulary: str | None, json_file: str | None, **overrides: Any) -> State[Any]:
    """Apply a snapshot inside a flow run.

    Args:
        kind: What to do with it.
        source: The snapshot's folder.
        vocabulary: An Athena folder or zip to load first.
        json_file: Where to write the summary.
        overrides: Settings by name; None, empty and False leave the environment's value.

    Returns:
        The flow run's final state; that of a failed one holds the error.
    """
    try:
        settings = load_settings(**{name: value or None for name, value in overrides.items()})
        request = Request(source=Path(source), kind=kind, vocabulary=Path(vocabulary) if vocabulary else None)
        with PrefectConductor(settings.workers) as conductor:
            summary, error = apply_snapshot(request, settings, conductor, listener())
    except Exception as unexpected:  # noqa: BLE001 - its text may quote a row and must not reach Prefect
        return failed(unexpected)
    _publish_artifacts(summary, settings.cdm_schema)
    if summary.status == "applied":
        _publish_mapping(settings)
    try:
        show(summary, console(), Path(json_file) if json_file else None)
    except OSError as unwritable:
        return failed(SettingsError(f"The run ended as {summary.status}, but '{json_file}' cannot be written ({unwritable.strerror})."))
    except SystemExit:  # rich ends the program when nobody reads its output any more; the run has ended already
        get_run_logger().warning("The summary was not printed: nobody reads the output.")
    return failed(error) if error is not None else _completed(summary)


def listener() -> Listener:
    """Tells Prefect's log, and whoever watches, of every step that ends."""
    watcher = WATCHER.get()

    def told(timing: StepTiming) -> None:
        tell(timing)
        if watcher:
            watcher(timing)

    return told


class Stopped(Exception):
    """The end of a run that failed or was refused, as Prefect may log it: one line, no error behind it."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def failed(error: Exception) -> State[Any]:
    """The final state of a run that was stopped; its message is one line without values."""
    message = harmless(error)
    if not isinstance(error, OmopIncError):
        get_run_logger().error("%s at:\n%s", message, "".join(traceback.format_tb(error.__traceback__)))
        message += "; where the flow runs, OMOP_INC_DEBUG=1 shows its text, which may hold values"
        if os.environ.get("OMOP_INC_DEBUG"):
            traceback.print_exception(error)
    code = error.exit_code if isinstance(error, OmopIncError) else EXIT_FAILED
    return Failed(message=message, data=Stopped(message, code))


def _completed(summary: Summary) -> State[Any]:
    if summary.status == "skipped":
        return Completed(name="Skipped", message=summary.message)
    if summary.status == "no_change":
        return Completed(name="NoChange", message=summary.message or "The snapshot is the one that is applied; nothing was written.")
    totals = {name: sum(getattr(counts, name) for counts in summary.source_tables.values()) for name in ("read", "new", "changed", "removed")}
    return Completed(message="Applied: of {read:,} rows {new:,} new, {changed:,} changed; {removed:,} removed.".format(**totals))


def _publish_artifacts(summary: Summary, schema: str) -> None:
    """Show the counts and times on Prefect's pages: names and numbers only."""
    summed = summary.as_json()
    about = f"Run {summary.run_id}, schema '{schema}': {summary.kind} {summary.status}."
    publish_table(f"{schema}-source-rows", _named("source table", summed["source_tables"]), f"The fate of every source row. {about}")
    publish_table(f"{schema}-table-rows", _named("CDM table", summed["cdm_tables"]), f"Rows of the CDM. {about}")
    outcomes = [{"source table": t, "outcome": o, "rows": n} for t, counts in summary.outcomes.items() for o, n in counts.items()]
    publish_table(f"{schema}-outcomes", outcomes, f"Loaded rows by the CDM tables that hold them, or the rule that gives them none. {about}")
    publish_table(f"{schema}-checks", summed["checks"].get("not_passed", []), f"Checks that did not pass. {about}")
    publish_table(f"{schema}-timings", summed["steps"], f"Seconds and rows of every step. {about}")


def _publish_mapping(settings: Settings) -> None:
    """Show how well the CDM is mapped: counts, codes and their descriptions; what quotes rows is only counted."""
    schemas = Schemas(cdm=settings.cdm_schema, vocabulary=settings.vocabulary_schema)
    try:
        database = open_database(settings)
        try:
            with database.connection() as connection:
                reports = read_reports(connection, schemas)
        finally:
            database.close()
    except OmopIncError as error:
        get_run_logger().warning("The mapping reports are not shown: %s", harmless(error))
        return
    for report in reports:
        about = f"{report.title}, schema '{schemas.cdm}': {len(report.rows):,} rows"
        rows = report.dicts()[:MOST_SHOWN] if not report.has_values else [{"distinct": len(report.rows), "records": sum(r[-1] for r in report.rows)}]
        publish_table(f"{schemas.cdm}-{report.name}", rows, f"{about}; at most {MOST_SHOWN} are shown, omop-inc report shows all.")


def publish_table(key: str, rows: list[dict[str, Any]], about: str) -> None:
    """Show a table on Prefect's pages; without it a run is as good as with it, so that an error is only logged."""
    if not rows:
        return
    try:
        create_table_artifact(key=key.replace("_", "-").strip("-"), table=rows, description=about)
    except Exception as error:  # noqa: BLE001 - the run is committed already, and its end must say so
        get_run_logger().warning("The table '%s' is not shown: %s", key, harmless(error))


def _named(heading: str, counts: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    return [{heading: name, **values} for name, values in counts.items()]


def console() -> Console:
    """The terminal, or a width in which the tables stay whole where there is none."""
    return Console(width=None if sys.stdout.isatty() else 120)
