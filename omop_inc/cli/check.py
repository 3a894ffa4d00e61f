"""`omop-inc check`: count the quality checks of the committed CDM.

Belongs here: the command. Does not: the checks (cdm/quality/), their order (runs/checking.py).
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omop_inc.cli.options import CdmSchema, DatabaseUrl, StateDir, Workers, settings_of
from omop_inc.cli.terminal import progress, wide_console
from omop_inc.errors import EXIT_FAILED
from omop_inc.runs.checking import check_committed
from omop_inc.telling.checks import print_checks, write_checks


class Severity(StrEnum):
    """What a check that does not pass does to a run."""

    fail = "fail"
    warn = "warn"


def check(
    only: Annotated[str | None, typer.Option("--only", help="Pattern of the checks' ids: 'plausible*', '*.person.*'.")] = None,
    severity: Annotated[Severity | None, typer.Option("--severity", help="Only checks that stop a run (fail) or only warn (warn).")] = None,
    database_url: DatabaseUrl = None,
    cdm_schema: CdmSchema = None,
    json: Annotated[Path | None, typer.Option("--json", help="Write every check's result to this file.")] = None,
    state_dir: StateDir = None,
    workers: Workers = None,
) -> None:
    """Count the quality checks over the whole CDM; exit code 1 if one marked fail finds too many rows. Changes nothing."""
    settings = settings_of({"database_url": database_url, "cdm_schema": cdm_schema, "state_dir": state_dir, "workers": workers})
    with progress(Console(stderr=True)) as listener:
        report = check_committed(settings, only, severity.value if severity else None, listener=listener)
    console = wide_console()
    print_checks(report.checked.results, console)
    if report.differing:
        console.print(
            f"warning: the runs have kept other counts of {len(report.differing)} checks ({', '.join(report.differing[:3])} ...):"
            " the CDM was changed by something else. A reload counts anew.",
            style="yellow",
            markup=False,
        )
    if json is not None:
        write_checks(report.checked.results, report.generation, json)
    if report.stops:
        raise typer.Exit(EXIT_FAILED)
