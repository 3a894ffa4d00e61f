"""The quality checks of the whole CDM as a flow.

Belongs here: the flow's parameters and its command line. Does not: the checks (omop_inc/cdm/quality/), their order (omop_inc/runs/checking.py).
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import running, terminal
from flows.tasks import PrefectConductor
from omop_inc.cdm.quality.results import tally
from omop_inc.cli import options
from omop_inc.errors import CheckFailed, SettingsError
from omop_inc.runs.checking import Report, check_committed
from omop_inc.settings import load_settings
from omop_inc.telling.checks import print_checks, result_rows, tally_line, write_checks


@flow(name="check", flow_run_name="check", persist_result=False)
def check(cdm_schema: str | None = None, only: str | None = None, json_file: str | None = None) -> State[Any]:
    """Count the quality checks over the whole CDM; changes nothing.

    Args:
        cdm_schema: Schema of the CDM (default cdm).
        only: Pattern of the checks' ids, such as plausible* or *.person.*; empty: all.
        json_file: Where to write every check's result.

    Returns:
        Completed; Failed if a check marked fail finds too many rows.
    """
    try:
        settings = load_settings(cdm_schema=cdm_schema or None)
        with PrefectConductor(settings.workers) as conductor:
            report = check_committed(settings, only or None, conductor=conductor, listener=running.listener())
    except Exception as unexpected:  # noqa: BLE001 - its text may quote a row and must not reach Prefect
        return running.failed(unexpected)
    return _tell(report, settings.cdm_schema, json_file)


def _tell(report: Report, schema: str, json_file: str | None) -> State[Any]:
    results = report.checked.results
    print_checks(results, running.console())
    line = tally_line(tally(results))
    not_passed = [{k: v for k, v in row.items() if k != "samples"} for row in result_rows(results) if row["status"] == "failed"]
    running.publish_table(f"{schema}-checks", not_passed, f"Checks that did not pass. Schema '{schema}', generation {report.generation}. {line}")
    try:
        if json_file:
            write_checks(results, report.generation, Path(json_file))
    except OSError as unwritable:
        return running.failed(SettingsError(f"'{json_file}' cannot be written ({unwritable.strerror})."))
    if report.stops:
        return running.failed(CheckFailed(f"{line}. The failed ones are in the table '{schema}-checks'."))
    return Completed(message=line)


def main(
    cdm_schema: options.CdmSchema = None,
    database_url: options.DatabaseUrl = None,
    only: Annotated[str | None, typer.Option("--only", help="Pattern of the checks' ids: 'plausible*', '*.person.*'.")] = None,
    json: options.Json = None,
) -> None:
    """Count the quality checks as a Prefect flow.

    Exit codes: 0 no check marked fail finds too many rows; 1 one does, or the flow failed; 2 wrong usage.
    Without PREFECT_API_URL a Prefect server of its own is started for the time of the run.
    """
    code = terminal.run(check, database_url, cdm_schema=cdm_schema, only=only, json_file=str(json) if json else None)
    raise typer.Exit(code)


if __name__ == "__main__":
    terminal.start(main)
