"""Connections that leave optimisations out, to measure what these are worth (setting `without`).

Belongs here: what a switch alters in the statements of a connection. Does not: switches that live elsewhere. A run without
the setting never comes here.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

# The switches that a connection of ours carries out.
OF_CONNECTIONS = frozenset({"unlogged", "analyze", "copy"})
# The session's options that make a run faster; the others keep it safe and its dates in UTC.
TUNED_OPTIONS = frozenset({"random_page_cost", "jit", "synchronous_commit", "work_mem", "maintenance_work_mem"}) | {
    "max_parallel_workers_per_gather",
    "max_parallel_maintenance_workers",
    "enable_mergejoin",
}

_UNLOGGED = re.compile(r"\bUNLOGGED\b")
# What staging.copy_statement writes: the rows of the files.
_COPY_ROWS = re.compile(r"COPY (?P<target>\S+) \((?P<names>.*)\) FROM STDIN \(FORMAT text, DELIMITER ',', NULL ''\)")
_FIELD = re.compile(rb"((?:\\.|[^,\\])*)(,?)", re.DOTALL)
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_LETTERS = {b"n": b"\n", b"r": b"\r"}


class AblatedConnection(psycopg.Connection[Any]):
    """A connection that alters some statements."""

    without: frozenset[str] = frozenset()

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if "copy" in self.without:
            self.cursor_factory = InsertingCursor

    def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        """Run a statement without the word UNLOGGED, and none that is ANALYZE, as the switches say."""
        text = query.as_string(self) if isinstance(query, sql.Composable) else str(query)
        if "analyze" in self.without and text.lstrip().startswith("ANALYZE"):
            text = "SELECT"
        elif "unlogged" in self.without:
            text = _UNLOGGED.sub("", text)
        altered: Any = text  # psycopg wants to see literals; the text is one of ours
        return super().execute(altered, *arguments, **options)


class InsertingCursor(psycopg.Cursor[Any]):
    """A cursor that inserts the rows of a COPY of source rows one by one."""

    @contextmanager
    def copy(self, statement: Any, params: Any = None, *, writer: Any = None) -> Iterator[Any]:
        """Begin a COPY, or what stands for it."""
        text = statement.as_string(self.connection) if isinstance(statement, sql.Composable) else str(statement)
        match = _COPY_ROWS.fullmatch(text)
        if match is None:
            with super().copy(statement, params, writer=writer) as copy:
                yield copy
            return
        places = ", ".join(["%s"] * (match["names"].count(",") + 1))
        yield _Inserts(self, f"INSERT INTO {match['target']} ({match['names']}) VALUES ({places})")


class _Inserts:
    """Takes the place of psycopg's Copy: whole lines in, INSERTs out."""

    def __init__(self, cursor: InsertingCursor, statement: str) -> None:
        self._cursor = cursor
        self._statement: Any = statement

    def write(self, data: bytes) -> None:
        """Insert the rows of some lines of COPY's text format."""
        self._cursor.executemany(self._statement, [_fields(line) for line in data.split(b"\n")[:-1]])


def _fields(line: bytes) -> list[str | None]:
    """A line's values; an empty one is NULL. A line break inside a value is escaped, so a line is a row."""
    values: list[str | None] = []
    at, comma = 0, b","
    while comma:
        match = _FIELD.match(line, at)
        assert match is not None
        values.append(_ESCAPED.sub(_meant, match[1]).decode() or None)
        at, comma = match.end(), match[2]
    return values


def _meant(escape: re.Match[bytes]) -> bytes:
    return _LETTERS.get(escape[1], escape[1])


def connection_class(without: Collection[str]) -> type[psycopg.Connection[Any]]:
    """The class of the connections that leave these optimisations out."""
    mine = OF_CONNECTIONS & frozenset(without)
    return type("Connection", (AblatedConnection,), {"without": mine}) if mine else psycopg.Connection


def plain_options(options: dict[str, str], without: Collection[str]) -> dict[str, str]:
    """The session's options, without those for speed if they are left out."""
    return {name: value for name, value in options.items() if "postgres_settings" not in without or name not in TUNED_OPTIONS}
