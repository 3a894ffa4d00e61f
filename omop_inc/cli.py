"""The command line: `omop-inc run | reload | verify | vocabulary | status | db`.

Belongs here: options, exit codes, what is printed. Does not: any step of a run (runs/).
"""

import os
import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from omop_inc import __version__, cli_db
from omop_inc.cdm.vocabulary import load_vocabulary
from omop_inc.errors import EXIT_FAILED, OmopIncError
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot, exit_code
from omop_inc.settings import Settings, load_settings
from omop_inc.store import ledger, state
from omop_inc.store.db import open_database, translated
from omop_inc.store.ledger import StepTiming
from omop_inc.store.schemas import Schemas
from omop_inc.telling.summary import Summary, print_summary, write_json
from omop_inc.telling.timings import Listener, print_timings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Keep an OMOP CDM 5.4 in PostgreSQL current from Synthea's CSV exports, by change data capture.",
)
app.add_typer(cli_db.app, name="db")


# The widest table, that of the ledger, needs 170 columns.
FILE_WIDTH = 180


class Mode(StrEnum):
    """What an absent row means."""

    snapshot = "snapshot"
    append = "append"


class Unknown(StrEnum):
    """What an unknown column does."""

    freeze = "freeze"
    ignore = "ignore"


Source = Annotated[Path, typer.Argument(help="Folder of one snapshot: Synthea's CSV files, plain or .gz.", show_default=False)]
VocabularyPath = Annotated[Path | None, typer.Option("--vocabulary", help="Athena folder or zip; loaded first, unless it is the one in use.")]
DatabaseUrl = Annotated[
    str | None, typer.Option("--database-url", help="PostgreSQL 14-18 (OMOP_INC_DATABASE_URL); default: the embedded one.", show_default=False)
]
CdmSchema = Annotated[str | None, typer.Option("--cdm-schema", help="Schema of the CDM (default cdm); each has a store of its own.")]
ModeOption = Annotated[Mode | None, typer.Option("--mode", help="snapshot (default): an absent row was removed; append: nothing is.")]
Json = Annotated[Path | None, typer.Option("--json", help="Write the run's summary to this file.")]
Allow = Annotated[str | None, typer.Option("--allow", help="Digest of the one snapshot that a guard refused and that is right.")]
AllowOlder = Annotated[bool, typer.Option("--allow-older", help="Apply a snapshot whose manifest is dated before the last one's.")]
UnknownColumns = Annotated[Unknown | None, typer.Option("--unknown-columns", help="freeze (default): stop; ignore: leave them out and say so.")]
StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Embedded database and cache (OMOP_INC_STATE_DIR, default state/).")]
ForeignKeys = Annotated[bool, typer.Option("--foreign-keys", help="Add the CDM's foreign keys.")]
Workers = Annotated[int | None, typer.Option("--workers", help="Connections that work at once (default: the cores).")]


@app.command()
def run(
    source: Source,
    vocabulary: VocabularyPath = None,
    database_url: DatabaseUrl = None,
    cdm_schema: CdmSchema = None,
    mode: ModeOption = None,
    json: Json = None,
    allow: Allow = None,
    allow_older: AllowOlder = False,
    unknown_columns: UnknownColumns = None,
    state_dir: StateDir = None,
    foreign_keys: ForeignKeys = False,
    workers: Workers = None,
) -> None:
    """Apply a snapshot: only what differs from the last one is loaded and transformed."""
    settings = _settings(locals())
    raise typer.Exit(_apply("incremental", source, vocabulary, settings, json))


@app.command()
def reload(
    source: Source,
    vocabulary: VocabularyPath = None,
    database_url: DatabaseUrl = None,
    cdm_schema: CdmSchema = None,
    mode: ModeOption = None,
    json: Json = None,
    allow: Allow = None,
    allow_older: AllowOlder = False,
    unknown_columns: UnknownColumns = None,
    state_dir: StateDir = None,
    foreign_keys: ForeignKeys = False,
    workers: Workers = None,
    renumber: Annotated[bool, typer.Option("--renumber", help="Forget all ids and start afresh.")] = False,
) -> None:
    """Rebuild the CDM beside from a whole snapshot and exchange it; known rows keep their ids."""
    settings = _settings(locals())
    raise typer.Exit(_apply("full_reload", source, vocabulary, settings, json))


@app.command()
def verify(
    source: Source,
    database_url: DatabaseUrl = None,
    cdm_schema: CdmSchema = None,
    mode: ModeOption = None,
    json: Json = None,
    unknown_columns: UnknownColumns = None,
    state_dir: StateDir = None,
    workers: Workers = None,
) -> None:
    """Prove that the CDM equals a rebuild of the snapshot that was applied last, ids included; changes nothing."""
    settings = _settings(locals())
    raise typer.Exit(_apply("verify", source, None, settings, json))


@app.command()
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


@app.command()
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


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False) -> None:
    if version:
        typer.echo(f"omop_inc {__version__}")
        raise typer.Exit


def _settings(options: dict[str, Any]) -> Settings:
    """The settings of the options that name one; a flag that is not given leaves the environment's value."""
    names = set(Settings.model_fields)
    given = {name: value for name, value in options.items() if name in names and value is not None and value is not False}
    return load_settings(**{name: str(v) if isinstance(v, StrEnum) else v for name, v in given.items()})


def _apply(kind: Kind, source: Path, vocabulary: Path | None, settings: Settings, json: Path | None) -> int:
    console, errors = wide_console(), Console(stderr=True)
    with progress(errors) as listener:
        summary, error = apply_snapshot(Request(source=source, kind=kind, vocabulary=vocabulary), settings, listener=listener)
    show(summary, console, json)
    if error is not None:
        errors.print(f"omop-inc: {error}", markup=False, highlight=False, soft_wrap=True)
    return exit_code(summary, error)


def wide_console() -> Console:
    """The terminal, or lines wide enough for every table where the output goes to a file."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)


def show(summary: Summary, console: Console, json: Path | None) -> None:
    """Print a run's summary and timings, and write its JSON."""
    if json is not None:
        write_json(summary, json)
    message, summary.message = summary.message, summary.message if summary.status in ("no_change", "skipped") else None
    print_summary(summary, console)
    summary.message = message
    print_timings(summary.timings, console)


class progress:  # noqa: N801 - used as a function
    """A line on the terminal that tells the step that ended last; nothing where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> Listener | None:
        if self._status is None:
            return None
        self._status.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _tell(self, timing: StepTiming) -> None:
        assert self._status is not None
        self._status.update(f"{timing.step} {timing.table} {timing.status} {timing.duration_s:.1f} s")


def main() -> None:
    """Run the command line; an error that a user can mend is one line, any other its place without its values."""
    try:
        app()
    except OmopIncError as error:
        print(f"omop-inc: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:  # noqa: BLE001 - the message of an unknown error may quote a row
        if os.environ.get("OMOP_INC_DEBUG"):
            raise
        print("".join(traceback.format_tb(error.__traceback__)), file=sys.stderr)
        print(f"omop-inc: unexpected {type(error).__name__}; OMOP_INC_DEBUG=1 shows its text, which may hold values", file=sys.stderr)
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
