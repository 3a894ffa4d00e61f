"""A larger snapshot: the same people many times over, each copy with ids of its own.

Belongs here: copying a folder's files N times, ids consistent over all files. Does not: days that pass (mutation.py).

A copy's ids come from the source's by a substitution of hexadecimal digits, another one for each copy. It is one to one,
needs no table of ids, and costs one pass of C code: so memory does not grow with the source. Payers are a fixed reference
table of the exporter: they are written once and keep their ids.
"""

import random
import re
from dataclasses import dataclass
from pathlib import Path

from omop_inc.errors import SettingsError
from omop_inc.sampling.rows import Write, make_target, new_file, open_source, read_records, shape_of
from omop_inc.source.snapshot import SourceFile

# Written once whatever the number of copies.
FIXED_TABLE = "payers"

_UUID = re.compile(rb"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})")
_DIGITS = b"0123456789abcdef"


@dataclass(frozen=True, kw_only=True)
class Scaled:
    """What was written."""

    copies: int
    rows: dict[str, int]  # by source table
    size_bytes: int


def scale_snapshot(source: Path, target: Path, *, copies: int, seed: int = 0) -> Scaled:
    """Write a folder's people `copies` times; the first copy keeps its ids.

    Args:
        source: A snapshot's folder.
        target: A new or empty folder.
        copies: How many times; 300 of an export of 3.6 MB are 1.07 GB.
        seed: Another one gives other ids.

    Raises:
        SettingsError: If the target holds something.
    """
    if copies < 1:
        raise SettingsError(f"{copies} copies; expected at least 1.")
    snapshot = open_source(source)
    make_target(target)
    fixed, substitutions = _fixed_ids(snapshot.files.get(FIXED_TABLE)), _substitutions(copies, seed)
    rows = {}
    for table, file in snapshot.files.items():
        rows[table] = _copy_file(file, target, () if table == FIXED_TABLE else substitutions, fixed)
    size = sum(path.stat().st_size for path in target.glob("*.csv"))
    return Scaled(copies=copies, rows=rows, size_bytes=size)


def _substitutions(copies: int, seed: int) -> tuple[bytes, ...]:
    """Give a permutation of the digits, as translate() wants it, for every copy behind the first; all differ."""
    source = random.Random(f"scale {seed}")
    found = {_DIGITS: b""}
    while len(found) < copies:
        digits = bytes(source.sample(_DIGITS, len(_DIGITS)))
        found.setdefault(digits, bytes.maketrans(_DIGITS + _DIGITS.upper(), digits + digits))
    return tuple(found.values())[1:]


def _fixed_ids(file: SourceFile | None) -> frozenset[bytes]:
    found: set[bytes] = set()
    if file is not None:
        at = shape_of(file).at["id"]
        for records in read_records(file):
            found.update(record.split(b",", at + 1)[at] for record in records)
    return frozenset(found)


def _copy_file(file: SourceFile, target: Path, substitutions: tuple[bytes, ...], fixed: frozenset[bytes]) -> int:
    """Write the copies of one file, block by block, so that each block is read and cut once.

    Returns:
        The number of records written.
    """
    rows = 0
    with new_file(target, shape_of(file)) as write:
        for records in read_records(file):
            write(records)
            rows += len(records) * (1 + len(substitutions))
            if substitutions:
                _write_copies(write, b"\n".join(records), substitutions, fixed)
    return rows


def _write_copies(write: Write, text: bytes, substitutions: tuple[bytes, ...], fixed: frozenset[bytes]) -> None:
    """Write a text once for every substitution, with other ids but for those that all copies share."""
    parts = _UUID.split(text)
    found = parts[1::2]
    shared = [(position, identifier) for position, identifier in enumerate(found) if identifier in fixed]
    joined = b"\n".join(found)
    for substitution in substitutions:
        replaced = joined.translate(substitution).split(b"\n") if found else []
        for position, identifier in shared:
            replaced[position] = identifier
        parts[1::2] = replaced
        write([b"".join(parts)])
