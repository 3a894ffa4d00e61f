"""`omop-inc run | reload | verify`: apply a snapshot, rebuild, prove.

Belongs here: these commands. Does not: any step of a run (runs/).
"""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from omop_inc.cli.options import (
    Allow,
    AllowOlder,
    CdmSchema,
    DatabaseUrl,
    ForeignKeys,
    Json,
    ModeOption,
    Source,
    StateDir,
    UnknownColumns,
    VocabularyPath,
    Workers,
    settings_of,
)
from omop_inc.cli.terminal import progress, show, wide_console
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot, exit_code
from omop_inc.settings import Settings


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
    settings = settings_of(locals())
    raise typer.Exit(_apply("incremental", source, vocabulary, settings, json))


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
    settings = settings_of(locals())
    raise typer.Exit(_apply("full_reload", source, vocabulary, settings, json))


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
    settings = settings_of(locals())
    raise typer.Exit(_apply("verify", source, None, settings, json))


def _apply(kind: Kind, source: Path, vocabulary: Path | None, settings: Settings, json: Path | None) -> int:
    console, errors = wide_console(), Console(stderr=True)
    with progress(errors) as listener:
        summary, error = apply_snapshot(Request(source=source, kind=kind, vocabulary=vocabulary), settings, listener=listener)
    show(summary, console, json)
    if error is not None:
        errors.print(f"omop-inc: {error}", markup=False, highlight=False, soft_wrap=True)
    return exit_code(summary, error)
