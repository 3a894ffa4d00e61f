"""The options that several commands share, and the settings that they make.

Belongs here: types, names and help of options. Does not: what a command does with them.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from omop_inc.settings import Settings, load_settings


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


def settings_of(options: dict[str, Any]) -> Settings:
    """The settings of the options that name one; a flag that is not given leaves the environment's value."""
    names = set(Settings.model_fields)
    given = {name: value for name, value in options.items() if name in names and value is not None and value is not False}
    return load_settings(**{name: str(v) if isinstance(v, StrEnum) else v for name, v in given.items()})
