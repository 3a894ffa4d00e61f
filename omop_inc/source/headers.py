"""A file's header line matched to the columns that we know, by name, in every generation of Synthea.

Belongs here: names, aliases, positions, and the refusal that lists both sides. Does not: opening files (snapshot.py).
"""

import csv
from dataclasses import dataclass

from omop_inc.errors import SourceFileError
from omop_inc.source.tables import Column, SourceTable


@dataclass(frozen=True, kw_only=True)
class HeaderMapping:
    """Where a file has each significant column."""

    names: tuple[str, ...]  # the file's header, in its order and case
    positions: tuple[int, ...]  # per significant column, in canonical order; -1 where the file lacks it
    ignored: tuple[str, ...]  # unknown columns, left unread

    @property
    def width(self) -> int:
        """Number of fields that every record must have."""
        return len(self.names)

    @property
    def is_canonical(self) -> bool:
        """Whether the file holds the significant columns and nothing else, in canonical order."""
        return self.positions == tuple(range(self.width))


def map_header(table: SourceTable, file: str, line: bytes | None, *, ignore_unknown: bool) -> HeaderMapping:
    """Match a header line to a table's columns; names compare without case, an older name counts as the newest.

    Args:
        table: The facts of the source table.
        file: Name for messages.
        line: The header without BOM and line end; None for a file of no bytes, which has every column and no row.
        ignore_unknown: Whether an unknown column is left unread, not refused.

    Raises:
        SourceFileError: If a column is unknown, is there twice, or is required and missing.
    """
    if line is None:
        return HeaderMapping(names=table.header, positions=_positions(table, list(table.header)), ignored=())
    names = _split(line, table.name, file)
    newest = {alias.upper(): column.name for column in table.columns for alias in (column.name, *column.aliases)}
    known = [newest.get(name.strip().upper(), "") for name in names]
    unknown = tuple(name for name, column in zip(names, known, strict=True) if not column)
    _refuse_twice(table, file, known)
    _refuse_missing(table, file, names, known)
    if unknown and not ignore_unknown:
        raise SourceFileError(
            f"{file!r}: unknown columns {sorted(unknown)}; known are {sorted(column.name for column in table.columns)}. "
            "Remove them, or leave them unread with `--unknown-columns ignore`.",
            table=table.name,
            file=file,
            line=1,
            rule="unknown_column",
        )
    return HeaderMapping(names=tuple(names), positions=_positions(table, known), ignored=unknown)


def _split(line: bytes, table: str, file: str) -> list[str]:
    try:
        return next(csv.reader([line.decode("utf-8")], strict=True))
    except (UnicodeDecodeError, csv.Error, StopIteration):
        raise SourceFileError(
            f"{file!r}: its first line is no header; expected the column names of {table}.csv in UTF-8, parted by commas.",
            table=table,
            file=file,
            line=1,
            rule="header",
        ) from None


def _positions(table: SourceTable, known: list[str]) -> tuple[int, ...]:
    return tuple(known.index(column.name) if column.name in known else -1 for column in table.significant)


def _refuse_twice(table: SourceTable, file: str, known: list[str]) -> None:
    twice = sorted({name for name in known if name and known.count(name) > 1})
    if twice:
        raise SourceFileError(
            f"{file!r}: columns {twice} are there more than once, under this name or an older one. Keep one of each.",
            table=table.name,
            file=file,
            line=1,
            rule="repeated_column",
        )


def _refuse_missing(table: SourceTable, file: str, names: list[str], known: list[str]) -> None:
    required = [column for column in table.columns if column.required_in_header]
    missing = sorted(_describe(column) for column in required if column.name not in known)
    if missing:
        raise SourceFileError(
            f"{file!r}: required columns {missing} are missing; required are {sorted(column.name for column in required)}, "
            f"found {sorted(names)}. Export the file again.",
            table=table.name,
            file=file,
            line=1,
            rule="missing_column",
        )


def _describe(column: Column) -> str:
    return " or ".join((column.name, *column.aliases))
