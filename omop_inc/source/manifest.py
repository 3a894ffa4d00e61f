"""manifest.json of a snapshot folder, and opening the folder's files as nothing but regular files.

Belongs here: what the sender may declare (a date; size, records and sha256 per file) and how a file of a folder that
others write is opened. Does not: comparing a file with it (snapshot.py, hashing.py, records.py).
"""

import json
import os
import re
import stat
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

from omop_inc.errors import SourceFileError
from omop_inc.source.tables import SOURCE_TABLES

MANIFEST_NAME = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ExpectedFile:
    """What the manifest says of one file; None where it is silent."""

    size: int | None = None  # bytes, of the file as it lies there
    rows: int | None = None  # records, the header not counted
    sha256: str | None = None  # of the file as it lies there, lower case


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the sender declares of a snapshot."""

    snapshot_date: date | None
    files: dict[str, ExpectedFile]  # by lower-case file name


def read_manifest(folder: Path, found: set[str]) -> Manifest:
    """Read a folder's manifest; a folder without one declares nothing.

    Args:
        folder: The snapshot.
        found: Lower-case names of the source files that are there.

    Raises:
        SourceFileError: If it is malformed, or names a source file that is not there.
    """
    path = folder / MANIFEST_NAME
    if not path.is_symlink() and not path.exists():
        return Manifest(snapshot_date=None, files={})
    with open_regular(path, None) as stream:
        text = stream.read(MAX_MANIFEST_BYTES + 1)
    try:
        manifest = _parse(json.loads(text))
    except (ValueError, AttributeError, TypeError):
        raise SourceFileError(
            f'{MANIFEST_NAME!r} cannot be read; expected {{"snapshot_date": "YYYY-MM-DD", "files": {{"patients.csv": '
            '{"size": bytes, "rows": records, "sha256": hex}}}, every part optional.',
            file=MANIFEST_NAME,
            rule="manifest",
        ) from None
    expected = {name for name in manifest.files if re.sub(r"\.csv(\.gz)?\Z", "", name) in SOURCE_TABLES}
    if missing := sorted(expected - found):
        raise SourceFileError(
            f"{MANIFEST_NAME!r} names {missing}, which the folder lacks. Transfer the whole snapshot again.",
            file=missing[0],
            rule="manifest",
        )
    return manifest


def open_regular(path: Path, table: str | None) -> BinaryIO:
    """Open a file for reading if it is a regular one and no link: links may lead anywhere."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        reason = "is a symbolic link" if path.is_symlink() else f"cannot be opened ({error.strerror})"
        raise SourceFileError(
            f"{path.name!r} {reason}; expected a regular file that may be read. Put the file itself there.",
            table=table,
            file=path.name,
            rule="not_regular",
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise SourceFileError(f"{path.name!r} is not a regular file. Put the file itself there.", table=table, file=path.name, rule="not_regular")
    return os.fdopen(descriptor, "rb", buffering=0)


def _parse(content: Any) -> Manifest:
    declared = content.get("snapshot_date")
    return Manifest(
        snapshot_date=None if declared is None else date.fromisoformat(declared),
        files={str(name).lower(): _parse_file(facts) for name, facts in content.get("files", {}).items()},
    )


def _parse_file(facts: Any) -> ExpectedFile:
    size, rows, sha256 = facts.get("size"), facts.get("rows"), facts.get("sha256")
    for number in (size, rows):
        if number is not None and type(number) is not int:
            raise TypeError("expected a whole number")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError("expected 64 hexadecimal digits")
    return ExpectedFile(size=size, rows=rows, sha256=sha256.lower() if sha256 else None)
