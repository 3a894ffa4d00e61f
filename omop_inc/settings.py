"""Every setting of a run in one frozen, typed model, read from `OMOP_INC_*` and the command line.

Belongs here: names, types, defaults and their checks. Does not: what is done with them.
"""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from omop_inc.errors import SettingsError
from omop_inc.machine import read_machine

Mode = Literal["snapshot", "append"]

# Optimisations that can be left out, each alone, to measure what it is worth (docs/benchmarks.md).
Switch = Literal[
    "analyze", "binary_copy", "chunking", "concurrency", "copy", "disk_cache", "drop_indexes", "file_digests", "pool", "postgres_settings", "unlogged"
]  # fmt: skip
# Some are no more than a setting at its extreme.
EXTREMES: dict[str, dict[str, Any]] = {"concurrency": {"workers": 1}, "chunking": {"chunk_rows": 1 << 40}}

# The longest suffix we put behind a schema's name is "_staging_next"; PostgreSQL's names end at 63 bytes.
MAX_SCHEMA_NAME = 40


# Read elsewhere: how errors are shown, and where PostgreSQL's programs come from.
OTHER_VARIABLES = frozenset({"OMOP_INC_DEBUG", "OMOP_INC_POSTGRES_SOURCE"})


class Settings(BaseSettings):
    """The settings of one run; unknown names are refused."""

    model_config = SettingsConfigDict(env_prefix="OMOP_INC_", frozen=True, extra="forbid")

    state_dir: Path = Field(Path("state"), description="where the embedded database, the cache and the logs live")
    database_url: SecretStr | None = Field(None, description="libpq URL of a PostgreSQL 14-18; empty: the embedded one")
    postgres_bin: Path | None = Field(None, description="folder of PostgreSQL's programs for the embedded database")
    cdm_schema: str = Field("cdm", description="schema of the CDM tables; every CDM schema has a store of its own")
    vocabulary_schema: str = Field("vocab", description="schema of the vocabulary, shared by all CDM schemas")
    units: Path | None = Field(None, description="CSV of other spellings of units (unit_source_value,ucum_code), before the shipped one")
    time_zone: str = Field("UTC", description="zone of the CDM's dates and times, by its name in PostgreSQL")
    mode: Mode = Field("snapshot", description="snapshot: an absent row was removed; append: nothing is removed")
    unknown_columns: Literal["freeze", "ignore"] = Field("freeze", description="what an unknown column does")
    foreign_keys: bool = Field(False, description="add the CDM's foreign keys (they cost time at every load)")
    allow: str | None = Field(None, description="digest of the one snapshot for which a guard may be overridden")
    allow_older: bool = Field(False, description="apply a snapshot whose manifest is dated before the last one")
    renumber: bool = Field(False, description="full reload only: forget all ids and start afresh")
    checks: Literal["fail", "warn", "off"] = Field("fail", description="what a run does when a check marked fail finds too many rows")
    checks_dir: Path | None = Field(None, description="folder of your own checks, one SQL file each")
    workers: int = Field(default_factory=lambda: max(2, read_machine().cores), ge=1, le=64, description="connections")
    chunk_rows: int = Field(50_000, ge=100, description="rows checked and copied at a time")
    lock_wait_s: float = Field(1.5, ge=0, description="how long a second run waits for the first before it is skipped")
    keep_runs: int = Field(100, ge=1, description="ledger rows kept of runs that changed nothing, and timings of those that did")
    without: Annotated[frozenset[Switch], NoDecode] = Field(frozenset(), description="optimisations left out, to measure them; parted by commas")

    @model_validator(mode="before")
    @classmethod
    def _take_extremes(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Split the switches, and carry out those that are other settings at their extreme."""
        given = values.get("without", ())
        names = frozenset(filter(None, map(str.strip, given.split(",")))) if isinstance(given, str) else frozenset(given)
        extremes = [EXTREMES[name] for name in sorted(names) if name in EXTREMES]
        return {**values, "without": names, **{name: value for extreme in extremes for name, value in extreme.items()}}

    @field_validator("cdm_schema", "vocabulary_schema")
    @classmethod
    def _check_schema_name(cls, name: str) -> str:
        if not re.fullmatch(r"[a-z_][a-z0-9_]*", name) or len(name) > MAX_SCHEMA_NAME or name.startswith("pg_"):
            raise ValueError(f"expected lower-case letters, digits and _ (at most {MAX_SCHEMA_NAME}), not starting with a digit or pg_")
        return name

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, zone: str) -> str:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_+/-]{0,62}", zone):
            raise ValueError("expected the name of a time zone, such as America/New_York")
        return zone

    @field_validator("units", mode="before")
    @classmethod
    def _no_units(cls, path: Any) -> Any:
        return path or None

    @field_validator("database_url")
    @classmethod
    def _empty_is_none(cls, url: SecretStr | None) -> SecretStr | None:
        return url if url and url.get_secret_value().strip() else None

    @property
    def cache_dir(self) -> Path:
        """Folder of the vocabulary cache."""
        return self.state_dir / "cache"


def _refuse_unknown_variables() -> None:
    """A misspelt variable would be a setting silently left at its default; `OMOP_INC_TEST_*` belong to the tests."""
    prefix = "OMOP_INC_"
    known = {prefix + name.upper() for name in Settings.model_fields} | OTHER_VARIABLES
    found = sorted(n for n in os.environ if n.startswith(prefix) and n not in known and not n.startswith(prefix + "TEST_"))
    if found:
        raise SettingsError(f"Unknown variables in the environment: {', '.join(found)}; expected some of {', '.join(sorted(known))}.")


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from the environment, with the given ones on top.

    Args:
        overrides: Settings by name; None means not given.

    Raises:
        SettingsError: If a name or a value is not one that we know; the message lists each without its value.
    """
    if os.environ.get("PANDERA_VALIDATION_ENABLED", "True").lower() in ("false", "0"):
        raise SettingsError("PANDERA_VALIDATION_ENABLED switches validation off; expected it unset. Unset it and start again.")
    _refuse_unknown_variables()
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        found = sorted(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise SettingsError("Settings: " + "; ".join(found)) from None
