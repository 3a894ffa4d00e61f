"""`omop-inc vocabulary | status`: what the store holds.

Belongs here: these commands. Does not: loading a vocabulary (cdm/vocabulary.py), the ledger (store/ledger.py).
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from omop_inc.cdm.vocabulary import load_vocabulary
from omop_inc.cli.options import CdmSchema, DatabaseUrl, StateDir
from omop_inc.cli.terminal import wide_console
from omop_inc.settings import load_settings
from omop_inc.store import ledger, state
from omop_inc.store.db import open_database, translated
from omop_inc.store.schemas import Schemas


def vocabulary(
    path: Annotated[Path, typer.Argument(help="Athena folder or zip.", show_default=False)],
    database_url: DatabaseUrl = None,
    state_dir: StateDir = None,
) -> None:
    """Load an Athena vocabulary, or find that it is the one in use."""
    settings = load_settings(database_url=database_url, state_dir=state_dir)
    database = open_database(settings)
    try:
        with translated(), database.pool.connection() as connection:
            info = load_vocabulary(connection, path, settings.vocabulary_schema)
    finally:
        database.close()
    done = "Loaded" if info.is_new else "Already in use:"
    typer.echo(
        f"{done} vocabulary {info.version or 'without a version'} in schema '{settings.vocabulary_schema}', fingerprint {info.fingerprint[:16]}"
    )
    for table, rows in sorted(info.rows.items()):
        typer.echo(f"  {table}: {rows:,} rows")


def status(database_url: DatabaseUrl = None, cdm_schema: CdmSchema = None, state_dir: StateDir = None, last: int = 10) -> None:
    """Show the last runs from the ledger."""
    settings = load_settings(database_url=database_url, cdm_schema=cdm_schema, state_dir=state_dir)
    schemas = Schemas(cdm=settings.cdm_schema, vocabulary=settings.vocabulary_schema)
    database = open_database(settings)
    try:
        with database.connection() as connection:
            known = state.exists(connection, schemas)
        if not known:
            typer.echo(f"Schema '{schemas.cdm}' has no store yet. Begin with: omop-inc run SOURCE --vocabulary PATH")
            return
        with translated(), database.engine.connect() as session:
            rows = ledger.read_runs(session, schemas, last)
    finally:
        database.close()
    table = Table(title=f"The last runs of '{schemas.cdm}'", title_justify="left")
    for heading in ("run", "kind", "mode", "status", "generation", "snapshot", "finished", "seconds"):
        table.add_column(heading)
    for row in rows:
        seconds = (row["finished_at"] - row["started_at"]).total_seconds()
        generation = "" if row["generation"] is None else str(row["generation"])
        table.add_row(
            row["run_id"], row["kind"], row["mode"], row["status"], generation, row["snapshot_digest"] or "",
            f"{row['finished_at']:%Y-%m-%d %H:%M:%S}", f"{seconds:.2f}",
        )  # fmt: skip
    wide_console().print(table)
