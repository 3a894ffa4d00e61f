"""An Athena download: a folder or a zip of vocabulary files, read as whole lines and checked as they pass.

Belongs here: finding the files, their headers, blocks of lines fit for COPY, the digest of their content.
Does not: the database (vocabulary.py).

Athena writes tab separated text without quoting (a double quote is data), dates as yyyymmdd, an empty field for
nothing. Source: OHDSI Athena's download format; required files: the ones without which no code can be resolved.
"""

import contextlib
import gzip
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

import xxhash

from omop_inc.cdm.spec import CdmTable, tables_of
from omop_inc.errors import VocabularyError

REQUIRED_TABLES = frozenset({"concept", "concept_relationship", "vocabulary", "domain"})

BLOCK_BYTES = 1 << 20
# Athena's longest line has about 1,100 characters; a file without line ends is not one of Athena's.
MAX_LINE_BYTES = 1 << 20
# Real vocabulary files shrink to a fifth or a tenth; deflate can reach a thousandth.
MAX_ZIP_RATIO = 500
SMALL_FILE_BYTES = 1 << 26

ATHENA_FORMAT = "Download it again from Athena, and do not open or save it in a spreadsheet"


@dataclass(frozen=True, kw_only=True)
class AthenaFile:
    """One vocabulary file of a download."""

    table: str  # vocabulary table that it fills
    name: str  # as found in the folder or zip
    size_bytes: int  # as stored in the folder, unpacked in a zip
    modified: str  # time stamp as the folder or zip gives it; only to see quickly that nothing was touched


class ContentDigest:
    """xxh3_128 over the content of several files, in the order in which they are added."""

    def __init__(self) -> None:
        self._hash = xxhash.xxh3_128()
        self._length = 0

    def start(self, table: str) -> None:
        """Begin the next file."""
        self.end()
        self._hash.update(table.encode() + b"\0")

    def update(self, block: bytes) -> None:
        """Add the next bytes of the file."""
        self._hash.update(block)
        self._length += len(block)

    def end(self) -> None:
        """Close the file with its length, so that no two lists of files read the same."""
        self._hash.update(b"\0%d\0" % self._length)
        self._length = 0

    def hexdigest(self) -> str:
        """The digest of all that was added."""
        self.end()
        return self._hash.hexdigest()


def find_files(path: Path) -> dict[str, AthenaFile]:
    """The vocabulary files of an Athena folder or zip, by table, sorted.

    Raises:
        VocabularyError: If there is no such folder or zip, a required file is missing, or a table has two files.
    """
    if path.is_dir():
        found = [_folder_file(entry) for entry in path.iterdir() if entry.is_file()]
    elif path.is_file() and zipfile.is_zipfile(path):
        found = _zip_files(path)
    else:
        raise VocabularyError(f"'{path}': expected a folder or a zip downloaded from Athena. Give the folder that holds CONCEPT.csv, or the zip.")
    files: dict[str, AthenaFile] = {}
    for file in sorted((f for f in found if f is not None), key=lambda f: (f.table, f.name)):
        if file.table in files:
            raise VocabularyError(f"'{path}': '{files[file.table].name}' and '{file.name}' are both {file.table}. Keep one of them.")
        files[file.table] = file
    missing = sorted(f"{table.upper()}.csv" for table in REQUIRED_TABLES - files.keys())
    if missing:
        there = ", ".join(f"'{f.name}'" for f in files.values()) or "none"
        raise VocabularyError(f"'{path}': expected {', '.join(missing)}, found of the vocabulary's files: {there}. {ATHENA_FORMAT}.")
    return files


def _table_of(name: str) -> str | None:
    stem = name.lower().removesuffix(".gz").removesuffix(".csv")
    is_csv = name.lower().removesuffix(".gz").endswith(".csv")
    return stem if is_csv and any(stem == table.name for table in tables_of("vocab")) else None


def _folder_file(entry: Path) -> AthenaFile | None:
    table = _table_of(entry.name)
    if table is None:
        return None
    stat = entry.stat()
    return AthenaFile(table=table, name=entry.name, size_bytes=stat.st_size, modified=str(stat.st_mtime_ns))


def _zip_files(path: Path) -> list[AthenaFile | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [i for i in archive.infolist() if not i.is_dir() and not i.filename.startswith("__MACOSX/")]
    except (zipfile.BadZipFile, OSError) as error:
        raise VocabularyError(f"'{path}': the zip cannot be read ({type(error).__name__}). Download it again from Athena.") from None
    files: list[AthenaFile | None] = []
    for info in infos:
        table = _table_of(PurePosixPath(info.filename).name)
        if table is None:
            continue
        if info.flag_bits & 1:
            raise VocabularyError(f"'{path}': '{info.filename}' is encrypted. Unpack it and give the folder.")
        if info.file_size > SMALL_FILE_BYTES and info.file_size > MAX_ZIP_RATIO * max(info.compress_size, 1):
            raise VocabularyError(
                f"'{path}': '{info.filename}' grows more than {MAX_ZIP_RATIO} times when unpacked. Unpack it yourself if you trust it."
            )
        stamp = f"{info.CRC:08x}"
        files.append(AthenaFile(table=table, name=info.filename, size_bytes=info.file_size, modified=stamp))
    return files


@contextlib.contextmanager
def open_file(path: Path, file: AthenaFile) -> Iterator[IO[bytes]]:
    """Open one file of the folder or zip for reading its content.

    Raises:
        VocabularyError: If it is damaged, now or while it is read.
    """
    try:
        with contextlib.ExitStack() as stack:
            stream: IO[bytes]
            if path.is_dir():
                stream = stack.enter_context((path / file.name).open("rb"))
            else:
                stream = stack.enter_context(stack.enter_context(zipfile.ZipFile(path)).open(file.name))
            if file.name.lower().endswith(".gz"):
                stream = cast("IO[bytes]", stack.enter_context(gzip.GzipFile(fileobj=stream)))
            yield stream
    except (zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, OSError) as error:
        raise VocabularyError(f"'{file.name}' cannot be read to its end ({type(error).__name__}). {ATHENA_FORMAT}.") from error


def path_fingerprint(path: Path) -> str:
    """The digest of an Athena folder's or zip's content; a folder and its zip have the same.

    Raises:
        VocabularyError: As `find_files` and `open_file`.
    """
    digest = ContentDigest()
    for table, file in find_files(path).items():
        digest.start(table)
        with open_file(path, file) as stream:
            while block := stream.read(BLOCK_BYTES):
                digest.update(block)
    return digest.hexdigest()


class LineBlocks:
    """The records of one vocabulary file as blocks of whole lines, fit for COPY's csv format without quoting.

    Iterate once; `columns` is known before, `lines` (records) after.
    """

    def __init__(self, stream: IO[bytes], file: AthenaFile, table: CdmTable, digest: ContentDigest) -> None:
        self._stream, self._file, self._digest = stream, file, digest
        digest.start(file.table)
        self._rest = self._read()
        while b"\n" not in self._rest and (more := self._read()):
            self._rest += more
            self._check_length(self._rest)
        header, _, self._rest = self._rest.partition(b"\n")
        self.columns = _columns_of(header, file, table)
        self.lines = 0

    def _read(self) -> bytes:
        block = self._stream.read(BLOCK_BYTES)
        self._digest.update(block)
        return block

    def __iter__(self) -> Iterator[bytes]:
        """Yield the records behind the header."""
        while block := self._read():
            whole, newline, tail = (self._rest + block).rpartition(b"\n")
            if newline:
                yield self._checked(whole + newline)
            self._rest = tail
            self._check_length(tail)
        last = self._rest.rstrip(b"\r\n")
        if last:
            yield self._checked(last + b"\n")

    def _check_length(self, rest: bytes) -> None:
        if len(rest) > MAX_LINE_BYTES:
            raise self._error(self.lines + 2 if hasattr(self, "lines") else 1, "a line end", f"none in {len(rest)} bytes")

    def _checked(self, block: bytes) -> bytes:
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        lines, width = block.count(b"\n"), len(self.columns) - 1
        # \b is COPY's quote character here, and "\." alone on a line would end COPY and lose the rest.
        is_odd = b"\b" in block or b"\r" in block or b"\0" in block or b"\n\\.\n" in block or block.startswith(b"\\.\n")
        if is_odd or block.count(b"\t") != lines * width:
            self._complain(block, width)
        self.lines += lines
        return block

    def _complain(self, block: bytes, width: int) -> None:
        for number, line in enumerate(block.split(b"\n")[:-1], start=self.lines + 2):
            if line.count(b"\t") != width:
                raise self._error(number, f"{width + 1} tab separated fields", str(line.count(b"\t") + 1))
            if any(control in line for control in (b"\b", b"\r", b"\0")):
                raise self._error(number, "text without control characters", "a backspace, carriage return or NUL")

    def _error(self, line: int, expected: str, got: str) -> VocabularyError:
        return VocabularyError(f"'{self._file.name}', line {line}: expected {expected} but got {got}. {ATHENA_FORMAT}.")


def _columns_of(header: bytes, file: AthenaFile, table: CdmTable) -> tuple[str, ...]:
    text = header.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r").decode("utf-8", errors="replace")
    names = tuple(name.strip().lower() for name in text.split("\t"))
    required = {field.name for field in table.fields if field.is_required}
    unknown, missing = sorted(set(names) - set(table.columns)), sorted(required - set(names))
    if unknown or missing or len(set(names)) < len(names):
        expected = ", ".join(table.columns)
        wrong = (
            [f"missing {_quoted(missing)}"] * bool(missing)
            + [f"unknown {_quoted(unknown)}"] * bool(unknown)
            + ["a name twice"] * (len(set(names)) < len(names))
        )
        raise VocabularyError(f"'{file.name}', line 1: expected the tab separated columns {expected} but got {'; '.join(wrong)}. {ATHENA_FORMAT}.")
    return names


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name[:40]}'" for name in names[:10])


def quick_facts(files: Mapping[str, AthenaFile]) -> dict[str, list[object]]:
    """Name, size and time stamp per table: equal facts mean an untouched download."""
    return {table: [file.name, file.size_bytes, file.modified] for table, file in files.items()}
