"""The vocabulary as a flow: load an Athena download, or find that it is the one in use.

Belongs here: the flow's parameters and its command line. Does not: the load (omop_inc/cdm/vocabulary.py).
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import running, terminal
from flows.tasks import PrefectConductor
from omop_inc.cdm.vocabulary import VocabularyInfo, load_vocabulary
from omop_inc.cli import options
from omop_inc.settings import Settings, load_settings
from omop_inc.store.db import open_database, translated


@flow(name="vocabulary", flow_run_name="vocabulary {path}", persist_result=False)
def vocabulary(path: str) -> State[Any]:
    """Load an Athena vocabulary, or find that it is the one in use.

    Args:
        path: Athena folder or zip.

    Returns:
        Completed, or NoChange where it is in use; Failed, with the reason.
    """
    try:
        settings = load_settings()
        with PrefectConductor(workers=1) as conductor:
            info = conductor.each("load", ["vocabulary"], lambda _: _load(Path(path), settings))["vocabulary"]
    except Exception as error:  # noqa: BLE001 - its text may hold values and must not reach Prefect
        return running.failed(error)
    rows = [{"table": table, "rows": count} for table, count in sorted(info.rows.items())]
    about = f"{'Loaded' if info.is_new else 'Already in use:'} vocabulary {info.version or 'without a version'}"
    about += f" in schema '{settings.vocabulary_schema}', fingerprint {info.fingerprint[:16]}"
    running.publish_table(f"{settings.vocabulary_schema}-rows", rows, about)
    print(about, *(f"  {row['table']}: {row['rows']:,} rows" for row in rows), sep="\n")
    return Completed(name="Completed" if info.is_new else "NoChange", message=about)


def _load(path: Path, settings: Settings) -> VocabularyInfo:
    database = open_database(settings)
    try:
        with translated(), database.pool.connection() as connection:
            return load_vocabulary(connection, path, settings.vocabulary_schema)
    finally:
        database.close()


def main(
    path: Annotated[Path, typer.Argument(help="Athena folder or zip.", show_default=False)],
    database_url: options.DatabaseUrl = None,
) -> None:
    """Load an Athena vocabulary as a Prefect flow, or find that it is the one in use.

    Exit codes: 0 loaded or in use; 1 failed; 2 wrong usage or unreadable files.
    """
    raise typer.Exit(terminal.run(vocabulary, database_url, path=str(path)))


if __name__ == "__main__":
    terminal.start(main)
