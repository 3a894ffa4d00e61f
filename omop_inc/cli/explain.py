"""`omop-inc explain`: where a CDM row comes from, or what became of a source row.

Belongs here: the command and what may be asked. Does not: the answer (telling/explaining.py).
"""

from pathlib import Path
from typing import Annotated

import typer

from omop_inc.cli.options import CdmSchema, DatabaseUrl, StateDir
from omop_inc.errors import SettingsError
from omop_inc.settings import load_settings
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store import held
from omop_inc.store.db import Connection, open_database
from omop_inc.store.schemas import Schemas
from omop_inc.store.state import require
from omop_inc.telling.explaining import explain_cdm_row, explain_source_rows


def explain(
    table: Annotated[str | None, typer.Argument(help="CDM table, such as condition_occurrence.", show_default=False)] = None,
    row: Annotated[str | None, typer.Argument(help="Id of its row, or Synthea's Id (a patient's for person).", show_default=False)] = None,
    source: Annotated[str | None, typer.Option("--source", help="Source table, such as conditions: explain a source row.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Its columns: patient=...,start=...,code=...; nothing after = means empty.")] = None,
    own_id: Annotated[str | None, typer.Option("--id", help="Its Id, for source tables that have one.")] = None,
    row_id: Annotated[int | None, typer.Option("--row-id", help="Its row_id.")] = None,
    folder: Annotated[Path | None, typer.Option("--folder", help="The snapshot applied last: also tell the row's line in it.")] = None,
    database_url: DatabaseUrl = None,
    cdm_schema: CdmSchema = None,
    state_dir: StateDir = None,
) -> None:
    """Tell where a CDM row comes from, or what became of a source row and why, and which runs saw it.

    The answer shows the row's values, patients' data among them. It goes to this terminal alone; nothing is logged.
    """
    of_cdm = table is not None and row is not None and source is None and row_id is None
    if not of_cdm and row_id is None and not (source and (key or own_id)):
        raise SettingsError("Expected a CDM table and an id, or --row-id, or --source with --key or --id. See omop-inc explain --help.")
    settings = load_settings(database_url=database_url, cdm_schema=cdm_schema, state_dir=state_dir)
    schemas = Schemas(cdm=settings.cdm_schema, vocabulary=settings.vocabulary_schema)
    database = open_database(settings)
    try:
        with database.connection() as connection:
            require(connection, schemas)
            if of_cdm and table is not None and row is not None:
                lines = explain_cdm_row(connection, schemas, table, row, folder)
            else:
                lines = explain_source_rows(connection, schemas, _find(connection, schemas, source, key, own_id, row_id), folder)
            for line in lines:
                typer.echo("".join(c if c.isprintable() else " " for c in line))
    finally:
        database.close()


def _find(connection: Connection, schemas: Schemas, source: str | None, key: str | None, own_id: str | None, row_id: int | None) -> list[held.Found]:
    """The source rows that are asked for.

    Raises:
        SettingsError: If it is not said which, or there is none.
    """
    if source is not None and source not in SOURCE_TABLES:
        raise SettingsError(f"'{source}' is no source table; expected one of {', '.join(sorted(SOURCE_TABLES))}.")
    if row_id is not None:
        found = held.find_by_row_id(connection, schemas, row_id, source)
    else:
        assert source is not None  # or nothing was asked
        found = held.find_by_columns(connection, schemas, source, {**_columns(key), **({"id": own_id} if own_id else {})})
    if not found:
        raise SettingsError("No such source row is loaded, held, or removed.")
    return found


def _columns(key: str | None) -> dict[str, str]:
    """`patient=...,start=...` as columns; a comma inside a value cannot be asked for."""
    parts = [part.partition("=") for part in (key or "").split(",") if part]
    if any(not mark for _column, mark, _value in parts):
        raise SettingsError("--key: expected column=value,column=value")
    return {column.strip().lower(): value.strip() for column, _mark, value in parts}
