"""The proof as a flow: rebuild the snapshot applied last beside and compare every table, row by row and id by id.

Belongs here: the flow's parameters and its command line. Does not: the comparison (omop_inc/runs/verifying.py).
"""

from typing import Any

import typer
from prefect import flow
from prefect.client.schemas.objects import State

from flows import running, terminal
from omop_inc.cli import options


@flow(name="verify", flow_run_name="verify {source}", persist_result=False)
def verify(
    source: str,
    cdm_schema: str | None = None,
    mode: running.Mode | None = None,
    unknown_columns: running.UnknownColumns | None = None,
    json_file: str | None = None,
) -> State[Any]:
    """Prove that the CDM equals a rebuild of the snapshot that was applied last, ids included; changes nothing.

    Args:
        source: Folder of the snapshot that was applied last.
        cdm_schema: Schema of the CDM (default cdm); each has a store of its own.
        mode: snapshot (default), compare with the folder; append, with the staged image.
        unknown_columns: freeze (default), stop; ignore, leave them out and say so.
        json_file: Where to write the run's summary.

    Returns:
        NoChange where all is equal, or Skipped; Failed, with the tables that differ, counts and a few ids.
    """
    return running.apply_in_flow("verify", source, None, json_file, cdm_schema=cdm_schema, mode=mode, unknown_columns=unknown_columns)


def main(
    source: options.Source,
    database_url: options.DatabaseUrl = None,
    cdm_schema: options.CdmSchema = None,
    mode: options.ModeOption = None,
    json: options.Json = None,
    unknown_columns: options.UnknownColumns = None,
) -> None:
    """Prove as a Prefect flow that the CDM equals a rebuild of the snapshot that was applied last; changes nothing.

    Exit codes: 0 equal or skipped; 1 different, or failed; 2 wrong usage or unreadable input.
    Without PREFECT_API_URL a Prefect server of its own is started for the time of the run.
    """
    code = terminal.run(
        verify,
        database_url,
        source=str(source),
        cdm_schema=cdm_schema,
        mode=mode.value if mode else None,
        unknown_columns=unknown_columns.value if unknown_columns else None,
        json_file=str(json) if json else None,
    )
    raise typer.Exit(code)


if __name__ == "__main__":
    terminal.start(main)
