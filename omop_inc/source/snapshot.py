"""A snapshot folder: which file is which table, what its header says, and its bytes under caps.

Belongs here: finding files, refusing what is not a plain file of a known header, the manifest, reading blocks.
Does not: records (records.py), hashes (hashing.py), whether a smaller file may be applied (the run's guards).
"""

import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import BinaryIO, Literal

from omop_inc.errors import SourceFileError
from omop_inc.source.headers import HeaderMapping, map_header
from omop_inc.source.manifest import ExpectedFile, open_regular, read_manifest
from omop_inc.source.tables import REQUIRED_TABLES, SOURCE_TABLES

UnknownColumns = Literal["freeze", "ignore"]

# Bytes read at a time. Hashing 1 GB in two threads takes 1.0 s at 256 KiB, 0.82 s at 512 KiB and at 1 MiB, and 2.5 s at
# 128 KiB, where the threads wait for the interpreter's lock between blocks.
BLOCK_BYTES = 1 << 20
MAX_HEADER_BYTES = 1 << 16
# Real exports reach 35:1 (imaging_studies); the cap counts only past the first bytes, where a ratio says nothing yet.
MAX_GZIP_RATIO = 100
GZIP_RATIO_FROM_BYTES = 16 << 20
UTF8_BOM = b"\xef\xbb\xbf"

Identity = tuple[int, int, int, int]  # device, inode, size in bytes, modification time in ns


@dataclass(frozen=True, kw_only=True)
class Part:
    """Some whole lines of a plain file, as its bytes from `start` up to `end`; see parts.py."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One source table's file, as found when the snapshot was opened."""

    table: str
    path: Path
    is_compressed: bool
    header: HeaderMapping
    is_empty: bool  # it has no byte at all, not even a header
    identity: Identity
    expected_sha256: str | None = None  # of the file as it lies there, from the manifest
    expected_rows: int | None = None  # from the manifest

    @property
    def name(self) -> str:
        """The file's name, for messages."""
        return self.path.name

    @property
    def is_canonical(self) -> bool:
        """Whether a plain line of the file is its own canonical line."""
        return self.header.is_canonical


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A folder of source files."""

    folder: Path
    files: dict[str, SourceFile]  # by table, in dependency order
    absent: tuple[str, ...]  # tables without a file
    ignored_columns: dict[str, tuple[str, ...]]  # by table: unknown columns that are not read
    other_files: tuple[str, ...]  # CSV files that are no source table
    snapshot_date: date | None  # from the manifest


def open_snapshot(folder: Path, *, unknown_columns: UnknownColumns = "freeze") -> Snapshot:
    """Find the files of a snapshot and read their headers.

    Args:
        folder: Holds <table>.csv or <table>.csv.gz, names in any case, and perhaps manifest.json.
        unknown_columns: `freeze` refuses a column that we do not know, `ignore` leaves it unread.

    Raises:
        SourceFileError: If a required table is missing, a file is there twice or is no regular file, a header
            lacks, repeats or adds a column, or a file is not what the manifest says.
    """
    found, other_files = _find_files(folder)
    manifest = read_manifest(folder, {path.name.lower() for path in found.values()})
    missing = [name for name in REQUIRED_TABLES if name not in found]
    if missing:
        raise SourceFileError(
            f"Folder {folder.name!r}: {', '.join(f'{name}.csv' for name in missing)} missing; expected Synthea's CSV files, "
            f"at least {' and '.join(f'{name}.csv' for name in REQUIRED_TABLES)}, plain or .gz. "
            f"Found {sorted(f'{name}.csv' for name in found)}. Name the folder that the exporter wrote (often output/csv).",
            table=missing[0],
            rule="missing_file",
        )
    files = {
        name: _open_file(name, found[name], manifest.files.get(found[name].name.lower(), ExpectedFile()), unknown_columns)
        for name in SOURCE_TABLES
        if name in found
    }
    return Snapshot(
        folder=folder,
        files=files,
        absent=tuple(name for name in SOURCE_TABLES if name not in found),
        ignored_columns={name: file.header.ignored for name, file in files.items() if file.header.ignored},
        other_files=other_files,
        snapshot_date=manifest.snapshot_date,
    )


@contextmanager
def open_binary(file: SourceFile) -> Iterator[BinaryIO]:
    """Open a file as it lies there (compressed bytes of a .gz), and make sure that nobody changes it meanwhile."""
    with open_regular(file.path, file.table) as stream:
        _check_identity(file, stream)
        yield stream
        _check_identity(file, stream)


def read_blocks(file: SourceFile, part: Part | None = None) -> Iterator[bytes]:
    """Read a file's decompressed bytes, header included, or a part of them, in blocks of at most BLOCK_BYTES.

    Raises:
        SourceFileError: If it is a damaged .gz, expands beyond MAX_GZIP_RATIO, or changed since it was opened.
    """
    with open_binary(file) as stream:
        if part is not None:
            yield from _read_part(stream, part)
        elif file.is_compressed:
            yield from _inflate(stream, file.table, file.name)
        else:
            yield from _read_plain(stream)


def sha256_of_file(file: SourceFile) -> str:
    """Give the sha256 of a file as it lies there."""
    digest = hashlib.sha256()
    with open_binary(file) as stream:
        for block in _read_plain(stream):
            digest.update(block)
    return digest.hexdigest()


def _read_plain(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(BLOCK_BYTES):
        yield block


def _read_part(stream: BinaryIO, part: Part) -> Iterator[bytes]:
    stream.seek(part.start)
    left = part.end - part.start
    while left and (block := stream.read(min(BLOCK_BYTES, left))):
        left -= len(block)
        yield block


def _inflate(stream: BinaryIO, table: str, name: str) -> Iterator[bytes]:
    limit = max(GZIP_RATIO_FROM_BYTES, MAX_GZIP_RATIO * os.fstat(stream.fileno()).st_size)
    total = 0
    try:
        with gzip.GzipFile(fileobj=stream, mode="rb") as inflated:
            while block := inflated.read(BLOCK_BYTES):
                total += len(block)
                if total > limit:
                    raise SourceFileError(
                        f"{name!r} expands to more than {MAX_GZIP_RATIO} times its size; expected at most that (real exports "
                        "stay below 40). If it is honest, unpack it first.",
                        table=table,
                        file=name,
                        rule="gzip_ratio",
                    )
                yield block
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise SourceFileError(
            f"{name!r} is damaged: it is not a whole gzip file. Export or transfer it again.", table=table, file=name, rule="gzip"
        ) from None


def _find_files(folder: Path) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Find the tables' files by their allowed names."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise SourceFileError(
            f"Folder {str(folder)!r} cannot be read ({error.strerror}); expected a folder of Synthea's CSV files.", rule="folder"
        ) from None
    found: dict[str, Path] = {}
    other: list[str] = []
    for name in names:
        table = re.sub(r"\.csv(\.gz)?\Z", "", name.lower())
        if table == name.lower():
            continue
        if table not in SOURCE_TABLES:
            other.append(name)
        elif table in found:
            raise SourceFileError(
                f"Table {table!r} has two files, {found[table].name!r} and {name!r}; expected one. Remove the one that is not meant.",
                table=table,
                file=name,
                rule="two_files",
            )
        else:
            found[table] = folder / name
    return found, tuple(other)


def _identity(stream: BinaryIO) -> Identity:
    status = os.fstat(stream.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _check_identity(file: SourceFile, stream: BinaryIO) -> None:
    if _identity(stream) != file.identity:
        raise SourceFileError(
            f"{file.name!r} changed while it was being read. Run again when the export is complete.",
            table=file.table,
            file=file.name,
            rule="changed_while_read",
        )


def _open_file(table: str, path: Path, expected: ExpectedFile, unknown_columns: UnknownColumns) -> SourceFile:
    is_compressed = path.name.lower().endswith(".gz")
    with open_regular(path, table) as stream:
        identity = _identity(stream)
        if expected.size not in (None, identity[2]):
            raise SourceFileError(
                f"{path.name!r}: manifest.json says {expected.size} bytes, found {identity[2]}. Transfer the file again.",
                table=table,
                file=path.name,
                rule="manifest",
            )
        blocks = _inflate(stream, table, path.name) if is_compressed else _read_plain(stream)
        first_line = _first_line(blocks, table, path.name)
    header = map_header(SOURCE_TABLES[table], path.name, first_line, ignore_unknown=unknown_columns == "ignore")
    return SourceFile(
        table=table,
        path=path,
        is_compressed=is_compressed,
        header=header,
        is_empty=first_line is None,
        identity=identity,
        expected_sha256=expected.sha256,
        expected_rows=expected.rows,
    )


def _first_line(blocks: Iterator[bytes], table: str, name: str) -> bytes | None:
    """Give the header's bytes without BOM and line end; None for a file of no bytes."""
    data = next(blocks, b"")
    while b"\n" not in data and len(data) < MAX_HEADER_BYTES and (more := next(blocks, b"")):
        data += more
    end = data.find(b"\n")
    if not data:
        return None
    if end < 0 or end > MAX_HEADER_BYTES:
        raise SourceFileError(
            f"{name!r}: its header has no line end (LF or CRLF) within {MAX_HEADER_BYTES} bytes. Export or transfer it again.",
            table=table,
            file=name,
            line=1,
            rule="truncated",
        )
    return data[:end].removeprefix(UTF8_BOM).removesuffix(b"\r")
