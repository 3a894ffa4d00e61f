"""A rebuild as a flow: make the CDM anew from a whole snapshot beside the present one, then exchange the two.

Belongs here: the flow's parameters and its command line. Does not: the run (omop_inc/runs/snapshots.py).
"""

from typing import Annotated, Any

import typer
from prefect import flow
from prefect.client.schemas.objects import State

from flows import running, terminal
from omop_inc.cli import options


@flow(name="full_reload", flow_run_name="full_reload {source}", persist_result=False)
def full_reload(
    source: str,
    vocabulary: str | None = None,
    cdm_schema: str | None = None,
    mode: running.Mode | None = None,
    allow: str | None = None,
    allow_older: bool = False,
    unknown_columns: running.UnknownColumns | None = None,
    renumber: bool = False,
    json_file: str | None = None,
) -> State[Any]:
    """Rebuild the CDM beside from a whole snapshot and exchange it; known rows keep their ids.

    Args:
        source: Folder of one snapshot: Synthea's CSV files, plain or .gz.
        vocabulary: Athena folder or zip; loaded first, unless it is the one in use.
        cdm_schema: Schema of the CDM (default cdm); each has a store of its own.
        mode: snapshot (default), an absent row was removed; append, nothing is.
        allow: Digest of the one snapshot that a guard refused and that is right.
        allow_older: Apply a snapshot whose manifest is dated before the last one's.
        unknown_columns: freeze (default), stop; ignore, leave them out and say so.
        renumber: Forget all ids and start afresh.
        json_file: Where to write the run's summary.

    Returns:
        Completed, NoChange or Skipped; Failed, with the reason, also for a snapshot that a guard refused.
    """
    return running.apply_in_flow(
        "full_reload",
        source,
        vocabulary,
        json_file,
        cdm_schema=cdm_schema,
        mode=mode,
        allow=allow,
        allow_older=allow_older,
        unknown_columns=unknown_columns,
        renumber=renumber,
    )


def main(
    source: options.Source,
    vocabulary: options.VocabularyPath = None,
    database_url: options.DatabaseUrl = None,
    cdm_schema: options.CdmSchema = None,
    mode: options.ModeOption = None,
    json: options.Json = None,
    allow: options.Allow = None,
    allow_older: options.AllowOlder = False,
    unknown_columns: options.UnknownColumns = None,
    renumber: Annotated[bool, typer.Option("--renumber", help="Forget all ids and start afresh.")] = False,
) -> None:
    """Rebuild the CDM beside from a whole snapshot as a Prefect flow and exchange it; known rows keep their ids.

    Exit codes: 0 applied or skipped; 1 failed; 2 wrong usage or unreadable input; 3 refused by a guard.
    Without PREFECT_API_URL a Prefect server of its own is started for the time of the run.
    """
    code = terminal.run(
        full_reload,
        database_url,
        source=str(source),
        vocabulary=str(vocabulary) if vocabulary else None,
        cdm_schema=cdm_schema,
        mode=mode.value if mode else None,
        allow=allow,
        allow_older=allow_older,
        unknown_columns=unknown_columns.value if unknown_columns else None,
        renumber=renumber,
        json_file=str(json) if json else None,
    )
    raise typer.Exit(code)


if __name__ == "__main__":
    terminal.start(main)
