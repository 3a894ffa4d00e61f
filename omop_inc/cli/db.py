"""`omop-inc db`: the database of the settings, from the command line.

Belongs here: start, stop, status, url, psql. Does not: how a server is started (store/embedded.py).
"""

import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from omop_inc.errors import EXIT_FAILED, SettingsError
from omop_inc.settings import Settings, load_settings
from omop_inc.store import embedded

app = typer.Typer(no_args_is_help=True, help="The database: the embedded PostgreSQL, or the one of OMOP_INC_DATABASE_URL.")

StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Folder of the embedded database (OMOP_INC_STATE_DIR).")]


@app.command()
def start(state_dir: StateDir = None) -> None:
    """Start the embedded PostgreSQL, or find it running."""
    settings = _embedded_settings(state_dir)
    server = embedded.start(settings)
    typer.echo(f"PostgreSQL {server.version} is up on port {server.port} of 127.0.0.1; data in {server.data_dir}")


@app.command()
def stop(state_dir: StateDir = None) -> None:
    """Stop the embedded PostgreSQL; open sessions end."""
    was_running = embedded.stop(_embedded_settings(state_dir))
    typer.echo("PostgreSQL is stopped." if was_running else "PostgreSQL was not running.")


@app.command()
def status(state_dir: StateDir = None) -> None:
    """Say whether the embedded PostgreSQL is up; exit code 1 if it is not."""
    found = embedded.status(_embedded_settings(state_dir))
    if found.server is None:
        typer.echo(f"PostgreSQL is {found.state}." + (f" Data in {found.data_dir}" if found.data_dir else ""))
        raise typer.Exit(EXIT_FAILED)
    typer.echo(f"PostgreSQL {found.server.version} is running on port {found.server.port} of 127.0.0.1; data in {found.data_dir}")


@app.command()
def url(state_dir: StateDir = None) -> None:
    """Print the database's URL as libpq reads it: psql "$(omop-inc db url)". Starts the embedded one if need be."""
    typer.echo(_url(load_settings(state_dir=state_dir)))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def psql(context: typer.Context, state_dir: StateDir = None) -> None:
    """Open psql on the database; further arguments go to psql (omop-inc db psql -c 'TABLE cdm.cdm_source')."""
    settings = load_settings(state_dir=state_dir)
    program = _find_psql(settings)
    # The command line of a process is open to all users of the machine: a password travels in the environment.
    parts = conninfo_to_dict(_url(settings))
    password = parts.pop("password", None)
    environment = {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}
    os.execve(program, [program, "--dbname", make_conninfo("", **parts), *context.args], environment)


def _embedded_settings(state_dir: Path | None) -> Settings:
    settings = load_settings(state_dir=state_dir)
    if settings.database_url is not None:
        raise SettingsError("OMOP_INC_DATABASE_URL names a PostgreSQL that is not ours to start or stop. Unset it for the embedded one.")
    return settings


def _url(settings: Settings) -> str:
    """The external database's URL, or the embedded one's, which is started."""
    if settings.database_url is not None:
        return settings.database_url.get_secret_value().replace("postgresql+psycopg://", "postgresql://", 1)
    return embedded.url(settings)


def _find_psql(settings: Settings) -> str:
    beside = embedded.start(settings).bin_dir / "psql" if settings.database_url is None else None
    found = str(beside) if beside and os.access(beside, os.X_OK) else shutil.which("psql")
    if found is None:
        raise SettingsError("psql was not found. Install PostgreSQL's client programs, or give the address to another client: omop-inc db url")
    return found
