"""`omop-inc report`: how well the CDM is mapped, and what is not loaded.

Belongs here: the command. Does not: reading the reports (telling/mapping.py), their files (telling/exports.py).
"""

from pathlib import Path
from typing import Annotated

import typer

from omop_inc.cli.options import CdmSchema, DatabaseUrl, StateDir
from omop_inc.cli.terminal import wide_console
from omop_inc.settings import load_settings
from omop_inc.store.db import open_database
from omop_inc.store.schemas import Schemas
from omop_inc.store.state import require
from omop_inc.telling.exports import write_reports, write_template
from omop_inc.telling.mapping import read_reports, report_table


def report(
    output: Annotated[
        Path | None, typer.Option("--output", help="Write each report as CSV, and SOURCE_TO_CONCEPT_MAP.csv, into this folder.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="How many rows of each report to show.")] = 20,
    database_url: DatabaseUrl = None,
    cdm_schema: CdmSchema = None,
    state_dir: StateDir = None,
) -> None:
    """Show the share of records with a standard concept, what is not mapped, and the rows that are not loaded.

    The reports name codes, units and answers as the export wrote them.
    """
    settings = load_settings(database_url=database_url, cdm_schema=cdm_schema, state_dir=state_dir)
    schemas = Schemas(cdm=settings.cdm_schema, vocabulary=settings.vocabulary_schema)
    database = open_database(settings)
    try:
        with database.connection() as connection:
            require(connection, schemas)
            reports = read_reports(connection, schemas)
            if output is not None:
                files = write_reports(reports, output)
                by_name = {one.name: one for one in reports}
                template, left_out = write_template(connection, schemas, by_name["unmapped_codes"], by_name["unmapped_units"], output)
    finally:
        database.close()
    console = wide_console()
    for one in reports:
        if one.rows:
            console.print(report_table(one, most))
        else:
            console.print(f"{one.title}: none", markup=False)
    if output is not None:
        typer.echo(f"Written: {', '.join(str(file) for file in [*files, template])}")
        typer.echo("Fill in target_concept_id of the template's rows, take out those that you leave, and load it with the vocabulary's folder.")
        if left_out:
            typer.echo(f"{left_out} codes or units are not in the template: too long, or beginning like a spreadsheet's formula.")
