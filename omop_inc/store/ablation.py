"""Connections that leave optimisations out, to measure what these are worth (setting `without`).

Belongs here: what a switch alters in the statements of a connection. Does not: switches that live elsewhere; a run without
the setting never comes here.
"""

import re
from collections.abc import Collection
from typing import Any

import psycopg
from psycopg import sql

_UNLOGGED = re.compile(r"\bUNLOGGED\b")
# The session's options that make a run faster; the others keep it safe and its dates in UTC.
TUNED_OPTIONS = frozenset({"random_page_cost", "jit", "synchronous_commit", "work_mem", "maintenance_work_mem"})


class LoggedConnection(psycopg.Connection[Any]):
    """A connection whose tables all write WAL."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        """Run a statement without the word UNLOGGED."""
        return super().execute(_as_sql(_UNLOGGED.sub("", _text(query, self))), *arguments, **options)


class UnanalyzedConnection(psycopg.Connection[Any]):
    """A connection that gathers no statistics."""

    def execute(self, query: Any, *arguments: Any, **options: Any) -> psycopg.Cursor[Any]:
        """Run a statement, unless it is ANALYZE."""
        skipped = _text(query, self).lstrip().startswith("ANALYZE")
        return super().execute("SELECT" if skipped else query, *arguments, **options)


class PlainConnection(LoggedConnection, UnanalyzedConnection):
    """Both."""


def connection_class(without: Collection[str]) -> type[psycopg.Connection[Any]]:
    """The class of the connections that leave these optimisations out."""
    match "unlogged" in without, "analyze" in without:
        case True, True:
            return PlainConnection
        case True, False:
            return LoggedConnection
        case False, True:
            return UnanalyzedConnection
        case _:
            return psycopg.Connection


def plain_options(options: dict[str, str], without: Collection[str]) -> dict[str, str]:
    """The session's options, without those for speed if they are left out."""
    return {name: value for name, value in options.items() if "postgres_settings" not in without or name not in TUNED_OPTIONS}


def _text(query: Any, connection: psycopg.Connection[Any]) -> str:
    return query.as_string(connection) if isinstance(query, sql.Composable) else str(query)


def _as_sql(text: str) -> Any:
    return text  # psycopg wants to see literals; the text is one of ours
