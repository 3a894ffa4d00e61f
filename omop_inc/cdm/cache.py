"""The disk cache of resolved code maps: whole maps under one key each, never trusted over the database.

Belongs here: a diskcache that runs nothing it reads, and its folder. Does not: whether an entry counts (code_map.py).

diskcache unpickles what a tampered cache.db holds (CVE-2025-69872: values, keys, and files outside its folder; no
fixed release). Here a key is text, a value is JSON inside the database, and anything else is refused. Whatever goes
wrong is a miss: the map is then resolved in the database again.
"""

import contextlib
import json
import logging
import os
import sqlite3
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import MODE_RAW

LOGGER = logging.getLogger(__name__)

DATABASE_FILES = ("cache.db", "cache.db-wal", "cache.db-shm", "cache.db-journal")

# A map of 4,000 codes is 0.4 MB; a hundred vocabularies and code sets fit.
SIZE_LIMIT_BYTES = 64 << 20
# Larger than any value: every value stays inside cache.db, so that no entry names a file.
INLINE_BYTES = 1 << 31
# A cache that another process holds longer than this is not worth the wait: resolving takes less.
LOCK_WAIT_S = 0.2

FOLDER_MODE = 0o700


class CacheRefused(ValueError):  # noqa: N818 - a verdict, caught here and never shown
    """The cache holds what we never wrote, or lies where others could write."""


class JsonDisk(diskcache.Disk):  # type: ignore[misc]  # diskcache has no types
    """diskcache's reader and writer without pickle and without files."""

    def put(self, key: Any) -> tuple[Any, bool]:
        """Only text is a key."""
        if type(key) is not str:
            raise CacheRefused("a key that is not text")
        return key, True

    def get(self, key: Any, raw: bool) -> str:
        """Refuse a pickled key, which diskcache would run."""
        if not raw or type(key) is not str:
            raise CacheRefused("a key that is not text")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, Any]:
        """Write a value as JSON into the database."""
        if read:
            raise CacheRefused("a value from a file")
        return 0, MODE_RAW, None, json.dumps(value, allow_nan=False)

    def fetch(self, mode: int, filename: str | None, value: Any, read: bool) -> Any:
        """Read JSON from the database; refuse pickles and files."""
        if mode != MODE_RAW or filename is not None or read or type(value) is not str:
            raise CacheRefused("a value that is not JSON text")
        return json.loads(value)

    def remove(self, file_path: str) -> None:
        """Remove nothing: no entry of ours has a file, and a tampered one may name any."""


class MapCache:
    """Resolved maps on disk by key; reading and writing never raise."""

    def __init__(self, folder: Path) -> None:
        """Name the folder; it is made, and checked, when it is first used."""
        self._folder = folder

    def get(self, key: str) -> Any | None:
        """The value of a key, or None when there is none that can be read."""
        found: list[Any] = []
        with self._forgiving("read"), self._opened() as cache:
            found.append(cache.get(key, default=None))
        return found[0] if found else None

    def put(self, key: str, value: Any) -> None:
        """Keep a value; the least recently used ones make room."""
        with self._forgiving("written"), self._opened() as cache:
            cache.set(key, value)

    @contextlib.contextmanager
    def _forgiving(self, what: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, diskcache.Timeout, OSError) as error:  # locked, full, read-only
            LOGGER.warning("The cache was not %s (%s); it is not needed.", what, type(error).__name__)
        except Exception as error:  # whatever a damaged or planted cache does, it is a miss; it is made anew
            LOGGER.warning("The cache was not %s (%s); it is not needed.", what, type(error).__name__)
            self._discard()

    @contextlib.contextmanager
    def _opened(self) -> Iterator[diskcache.Cache]:
        _make_private(self._folder)
        database = self._folder / "cache.db"
        if database.exists():
            _probe(database)
        # No statistics, no tag index: a get then writes nothing but its access time.
        cache = diskcache.Cache(
            str(self._folder),
            timeout=LOCK_WAIT_S,
            disk=JsonDisk,
            disk_min_file_size=INLINE_BYTES,
            size_limit=SIZE_LIMIT_BYTES,
            eviction_policy="least-recently-stored",
        )
        try:
            yield cache
        finally:
            cache.close()

    def _discard(self) -> None:
        with contextlib.suppress(OSError, CacheRefused):
            _make_private(self._folder)
            for name in DATABASE_FILES:
                (self._folder / name).unlink(missing_ok=True)


def _make_private(folder: Path) -> None:
    """Make the folder for us alone; refuse one that is a link or another user's, or that holds such a database."""
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    for path in (folder, *(folder / name for name in DATABASE_FILES)):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        is_kind = stat.S_ISDIR(found.st_mode) if path == folder else stat.S_ISREG(found.st_mode)
        if not is_kind or (hasattr(os, "geteuid") and found.st_uid != os.geteuid()):
            raise CacheRefused(f"{path.name} is a link, a special file or another user's")
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(FOLDER_MODE)


def _probe(database: Path) -> None:
    """Fail at once where diskcache would wait a minute for another's lock."""
    with contextlib.closing(sqlite3.connect(database, timeout=LOCK_WAIT_S, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
