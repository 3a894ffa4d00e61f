"""`omop-inc doctor`: whether the database is fit for runs, and what its owner might set otherwise.

Belongs here: the command and its table. Does not: what is looked at (store/examination.py).
"""

import dataclasses
from typing import Annotated

import psycopg
import typer
from rich.table import Table

from omop_inc.cli.options import DatabaseUrl, StateDir, Workers
from omop_inc.cli.terminal import wide_console
from omop_inc.errors import EXIT_FAILED
from omop_inc.machine import GB, read_machine
from omop_inc.settings import load_settings
from omop_inc.store.db import find_url, translated
from omop_inc.store.examination import Finding, examine

COLORS = {"good": "green", "advice": "yellow", "problem": "red"}


def doctor(
    database_url: DatabaseUrl = None,
    state_dir: StateDir = None,
    workers: Workers = None,
    server_memory: Annotated[
        float | None, typer.Option("--server-memory", min=0.1, help="GiB that the server may use (default: this machine's).")
    ] = None,
    server_cores: Annotated[
        int | None, typer.Option("--server-cores", min=1, help="Cores that the server may use (default: this machine's).")
    ] = None,
) -> None:
    """Compare the database with what runs need and with what we would choose, and say why; changes nothing.

    Exit codes: 0 fit for runs (with advice, perhaps); 1 a problem; 2 not to be reached.
    """
    settings = load_settings(database_url=database_url, state_dir=state_dir, workers=workers)
    machine = read_machine()
    machine = dataclasses.replace(
        machine,
        memory_bytes=int(server_memory * GB) if server_memory else machine.memory_bytes,
        cores=server_cores or machine.cores,
    )
    with translated(), psycopg.connect(find_url(settings), connect_timeout=10) as connection:
        found = examine(connection, machine, settings)
    wide_console().print(_table(found, f"For a server with {machine.memory_bytes / GB:.0f} GiB of memory and {machine.cores} cores"))
    counts = {level: sum(one.level == level for one in found) for level in COLORS}
    typer.echo(f"{counts['problem']} problems, {counts['advice']} pieces of advice, {counts['good']} good")
    if counts["problem"]:
        raise typer.Exit(EXIT_FAILED)


def _table(found: list[Finding], title: str) -> Table:
    table = Table(title=title, title_justify="left")
    for heading in ("", "what", "found", "wanted", "why"):
        table.add_column(heading, overflow="fold")
    for one in found:
        table.add_row(f"[{COLORS[one.level]}]{one.level}[/]", one.what, one.found, one.wanted, one.why)
    return table
