"""COPY of a stream of data, which may change its target on the way.

Belongs here: keeping one COPY open as long as its target stays. Does not: what is written (staging.py, intake.py).
"""

from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from omop_inc.store.db import Connection

# Signature, flags and length of further headers; and no further tuple.
_BINARY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_BINARY_END = b"\xff\xff"


class Copier:
    """Writes data by COPY; use it as a context, inside which the connection runs nothing else.

    Within one COPY we prepare the next rows while the server takes the last ones; ending it waits for the server.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._statement: sql.Composed | None = None
        self._copy: psycopg.Copy | None = None
        self._manager: Any = None
        self._is_binary = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._end(kind, error, trace)

    def write(self, statement: sql.Composed, data: bytes | memoryview, *, is_binary: bool = False) -> None:
        """Write whole rows to a COPY statement's target; of a binary COPY the tuples alone."""
        if not data:
            return
        if self._copy is None or statement != self._statement:
            self._end(None, None, None)
            self._manager = self._connection.cursor().copy(statement)
            self._statement, self._copy, self._is_binary = statement, self._manager.__enter__(), is_binary
            if is_binary:
                self._copy.write(_BINARY_HEADER)
        assert self._copy is not None
        self._copy.write(data)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        manager, copy, self._manager, self._copy = self._manager, self._copy, None, None
        if manager is not None:
            if self._is_binary and copy is not None and kind is None:
                copy.write(_BINARY_END)
            manager.__exit__(kind, error, trace)
