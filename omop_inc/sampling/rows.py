"""A snapshot's records as they lie in their files, and their fields by name.

Belongs here: reading raw records in lists, splitting and putting together one record, writing a file of a snapshot.
Does not: what is done to a record (scaling.py, mutation.py), what a run makes of it (source/lines.py).
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from omop_inc.errors import SettingsError
from omop_inc.source.hashing import FOLDS, encode_row
from omop_inc.source.lines import MAX_RECORD_BYTES
from omop_inc.source.snapshot import UTF8_BOM, Snapshot, SourceFile, open_snapshot, read_blocks
from omop_inc.source.tables import SOURCE_TABLES, SourceTable

WRITE_BUFFER_BYTES = 1 << 20

Write = Callable[[list[bytes]], None]  # takes records without line ends


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Where a file has each column, volatile ones included."""

    table: SourceTable
    header: bytes  # the header line with a plain line end
    width: int  # fields of a record
    at: dict[str, int]  # by staged name

    def split(self, record: bytes) -> list[bytes] | None:
        """Give a record's fields, or None where it has not the file's number of fields."""
        fields = _parse(record) if b'"' in record else record.split(b",")
        return fields if fields is not None and len(fields) == self.width else None

    def canonical(self, fields: list[bytes]) -> tuple[bytes, ...]:
        """Give the significant values of a record, folded, in canonical order: what a run compares."""
        values = []
        for column in self.table.significant:
            value = fields[self.at[column.staged]] if column.staged in self.at else b""
            values.append(FOLDS[column.fold](value) if column.fold else value)
        return tuple(values)

    def places(self, names: Iterable[str]) -> tuple[int, ...]:
        """Give the positions of those of the named columns that the file has."""
        return tuple(self.at[name] for name in names if name in self.at)


def open_source(folder: Path) -> Snapshot:
    """Open the snapshot that others are made from; columns that we do not know are carried along."""
    return open_snapshot(folder, unknown_columns="ignore")


def shape_of(file: SourceFile) -> Shape:
    """Work out where a file has each column."""
    table = SOURCE_TABLES[file.table]
    newest = {alias.upper(): column.staged for column in table.columns for alias in (column.name, *column.aliases)}
    names = [newest.get(name.strip().upper()) for name in file.header.names]
    at = {name: position for position, name in enumerate(names) if name is not None}
    return Shape(table=table, header=",".join(file.header.names).encode() + b"\n", width=file.header.width, at=at)


def join(fields: list[bytes]) -> bytes:
    """Put a record together, quoted where it must be; without a line end."""
    plain = b",".join(fields)  # a tenth of the time of looking at every field
    is_plain = plain.count(b",") == len(fields) - 1 and b'"' not in plain and b"\n" not in plain and b"\r" not in plain
    return plain if is_plain else encode_row(fields)


def read_records(file: SourceFile) -> Iterator[list[bytes]]:
    """Give a file's records without header and line ends, a block's at a time; line breaks in quotes stay inside."""
    rest, is_first = b"", True
    for block in read_blocks(file):
        whole = rest + block
        cut = whole.rfind(b"\n") + 1
        lines, rest = whole[:cut], whole[cut:]
        if is_first and lines:
            lines, is_first = lines[lines.index(b"\n") + 1 :].removeprefix(UTF8_BOM), False
        if b'"' in lines:
            records, open_end = _join_quoted(lines.split(b"\n")[:-1])
            rest = open_end + rest
        else:
            records = lines.split(b"\n")[:-1]
        if b"\r" in lines:
            records = [record.removesuffix(b"\r") for record in records]
        if records:
            yield records
    if rest:
        yield _give_up(rest)


@contextmanager
def new_file(folder: Path, shape: Shape) -> Iterator[Write]:
    """Make a snapshot's file with its header, and give the place where records go."""
    with (folder / f"{shape.table.name}.csv").open("xb", buffering=WRITE_BUFFER_BYTES) as stream:
        stream.write(shape.header)

        def write(records: list[bytes]) -> None:
            if records:
                stream.write(b"\n".join(records) + b"\n")

        yield write


def make_target(folder: Path) -> None:
    """Make the folder of a new snapshot; one that holds something is refused, for it may be somebody's export."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise SettingsError(f"Folder '{folder}' is not empty; expected a new or an empty one. Name another, or empty it.")


def _join_quoted(lines: list[bytes]) -> tuple[list[bytes], bytes]:
    """Put the lines of quoted line breaks back together; also the bytes of a last record that is still open."""
    records: list[bytes] = []
    at = 0
    while at < len(lines):
        end = at + 1
        if b'"' in lines[at]:
            while (record := b"\n".join(lines[at:end])) and _is_open(record):
                if len(record) > MAX_RECORD_BYTES:  # a stray quote: its line stands alone
                    end = at + 1
                    break
                if end == len(lines):
                    return records, b"".join(line + b"\n" for line in lines[at:])
                end += 1
        records.append(b"\n".join(lines[at:end]))
        at = end
    return records, b""


def _give_up(rest: bytes) -> list[bytes]:
    """Read what an unclosed quote at the end of a file holds line by line."""
    return [line.removesuffix(b"\r") for line in rest.removesuffix(b"\n").split(b"\n")]


def _is_open(record: bytes) -> bool:
    try:
        next(csv.reader([record.decode("latin-1")], strict=True))
    except csv.Error as error:
        return "unexpected end of data" in str(error)
    return False


def _parse(record: bytes) -> list[bytes] | None:
    csv.field_size_limit(MAX_RECORD_BYTES)
    try:
        return [field.encode("latin-1") for field in next(csv.reader([record.decode("latin-1")], strict=True))]
    except csv.Error:
        return None
