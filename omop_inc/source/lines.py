r"""From a block of a file's bytes to canonical lines, plainly where that is safe and record by record where not.

Belongs here: what a record is (line ends, quotes, number of fields, encoding) and its COPY form. Does not: reading
files (snapshot.py), putting batches together (records.py), the encoding that is hashed (hashing.py).

A record ends at a line end outside quotes, LF or CRLF. A quote opens a quoted field only at the field's start (Synthea
itself never quotes, and writes a quote inside a text as it is). A quoted field that does not close, or whose record has
then the wrong number of fields, makes its *first* line a bad record; reading goes on behind that line, so that a stray
quote never swallows its neighbours. Line breaks inside quotes are `\n` whatever the file's line ends are.
"""

import csv
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from omop_inc.source.hashing import FOLDS, HASH_VERSION, encode_row, hash_lines
from omop_inc.source.headers import HeaderMapping
from omop_inc.source.tables import SourceTable

# A record may not be longer; it bounds memory, and how far behind a stray quote we look for the closing one.
MAX_RECORD_BYTES = 1 << 20

_CRLF = re.compile(rb"\r+\n")
_ESCAPED = re.compile(rb"[\\,\n\r]")
_ESCAPES = {b"\\": b"\\\\", b",": b"\\,", b"\n": b"\\n", b"\r": b"\\r"}

Fold = Callable[[bytes], bytes]
# A run of neighbouring fields (first, last, None), a folded field (at, at, its name), or absent columns (-1, how many, None).
Piece = tuple[int, int, str | None]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a file's fields become the significant columns in canonical order."""

    width: int  # fields of a record
    positions: tuple[int, ...]  # per significant column; -1 where the file lacks it
    folds: tuple[Fold | None, ...]  # per significant column
    pieces: tuple[Piece, ...]  # what a canonical line is put together from, in order

    @property
    def is_identity(self) -> bool:
        """Whether a plain line is its own canonical line."""
        return self.pieces == ((0, self.width - 1, None),)


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Lines one behind another, each with a line end; a line may hold line ends itself."""

    data: bytes | npt.NDArray[np.uint8]
    ends: npt.NDArray[np.int64]  # place of each line's end

    @classmethod
    def of(cls, lines: Sequence[bytes]) -> "Lines":
        """Put lines together."""
        ends = np.cumsum(np.fromiter(map(len, lines), dtype=np.int64, count=len(lines)) + 1) - 1
        return cls(data=b"".join([line + b"\n" for line in lines]), ends=ends)

    @classmethod
    def joined(cls, parts: Sequence["Lines"]) -> "Lines":
        """Put several behind each other."""
        if len(parts) == 1:
            return parts[0]
        shifts = np.cumsum([0, *(len(part.data) for part in parts)])
        ends = [part.ends + shift for part, shift in zip(parts, shifts, strict=False)]
        return cls(data=b"".join([bytes(part.data) for part in parts]), ends=np.concatenate(ends))

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def longest(self) -> int:
        """Bytes of the longest line."""
        return int(np.diff(self.ends, prepend=-1).max()) - 1 if len(self) else 0

    def tolist(self) -> list[bytes]:
        """Each line by itself, without its line end."""
        data, ends = bytes(self.data), self.ends.tolist()
        return [data[start:end] for start, end in zip([0, *(end + 1 for end in ends)], ends, strict=False)]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The records of one block, in file order."""

    canonical: Lines  # of a bad record a zero byte and its raw bytes
    hashes: npt.NDArray[np.uint64]  # of canonical lines, shape (n, 2): high and low 64 bits
    line_numbers: npt.NDArray[np.int64]  # physical line where each starts
    bad: dict[int, str] = field(default_factory=dict)  # position in lines -> rule
    special: dict[int, bytes] = field(default_factory=dict)  # position -> COPY line, where it is not the canonical line
    size_bytes: int = 0  # of the block
    is_plain: bool = field(default=False, compare=False)  # whether no field is quoted
    has_quotes: bool = False  # whether a quote is anywhere in the block
    starts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, dtype=np.int64))  # places in it; else of the first

    def __len__(self) -> int:
        return len(self.hashes)

    @cached_property
    def lines(self) -> list[bytes]:
        """The canonical lines."""
        return self.canonical.tolist()


def layout_of(table: SourceTable, header: HeaderMapping) -> Layout:
    """Work out how a file's fields become canonical lines."""
    names = [column.fold for column in table.significant]
    pieces: list[Piece] = []
    for position, fold in zip(header.positions, names, strict=True):
        first, last, before = pieces[-1] if pieces else (-2, -2, None)
        if position < 0:
            pieces[len(pieces) - (first == -1) :] = [(-1, last + 1 if first == -1 else 1, None)]
        elif fold is None and before is None and first >= 0 and position == last + 1:
            pieces[-1] = (first, position, None)
        else:
            pieces.append((position, position, fold))
    folds = tuple(FOLDS[fold] if fold else None for fold in names)
    return Layout(width=header.width, positions=header.positions, folds=folds, pieces=tuple(pieces))


def plain_batch(block: bytes, layout: Layout, first_line: int) -> Batch | None:
    """Split a block of whole lines that needs no care; None if it does.

    It needs care if it holds a quote, a carriage return or a zero byte, is not UTF-8, or a line has not the file's
    number of fields.
    """
    from omop_inc import compiled  # a process that finds every file as it was does without numba

    cut = compiled.cut_lines(block, layout.width, _pieces(layout), _growth(layout), HASH_VERSION, compiled.HASH_FUNCTION)
    if cut is None or cut.marks & compiled.SPECIAL or cut.marks & compiled.NOT_ASCII and not _is_utf8(block):
        return None
    lines = Lines(data=block if layout.is_identity else cut.target, ends=cut.ends)
    special = {}
    if cut.marks & compiled.ESCAPED:
        special = {at: line.replace(b"\\", b"\\\\") + b"\n" for at, line in enumerate(lines.tolist()) if b"\\" in line}
    return Batch(
        canonical=lines,
        hashes=cut.hashes if compiled.HASH_FUNCTION else hash_lines(lines.tolist()),
        line_numbers=np.arange(first_line, first_line + len(lines)),
        special=special,
        size_bytes=len(block),
        is_plain=True,
        starts=cut.starts,
    )


def _pieces(layout: Layout) -> npt.NDArray[np.int64]:
    """The pieces as the compiled loop takes them; none of an identity."""
    from omop_inc.compiled import ABSENT, FOLDED, KEPT

    if layout.is_identity:
        return np.empty((0, 3), dtype=np.int64)
    return np.array([(first, last, FOLDED[fold] if fold else KEPT if first >= 0 else ABSENT) for first, last, fold in layout.pieces])


def _growth(layout: Layout) -> int:
    """By how many bytes a canonical line may be longer than the plain line."""
    from omop_inc.compiled import FOLD_GROWTH

    return sum(last if first < 0 else FOLD_GROWTH if fold else 1 for first, last, fold in layout.pieces)


def _is_utf8(data: bytes) -> bool:
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def careful_batch(block: bytes, layout: Layout, first_line: int, *, is_last: bool) -> tuple[Batch, bytes]:
    """Read a block of whole lines record by record.

    Args:
        block: Whole physical lines.
        layout: How fields become columns.
        first_line: Physical number of the block's first line.
        is_last: Whether nothing follows the block in the file.

    Returns:
        The records, and the bytes of a last one that needs lines of the next block to end.
    """
    csv.field_size_limit(MAX_RECORD_BYTES)
    physical = block.split(b"\n")
    physical.pop()
    lines: list[bytes] = []
    starts: list[int] = []
    bad: dict[int, str] = {}
    special: dict[int, bytes] = {}
    at = 0
    while at < len(physical):
        used, fields, rule = _read_record(physical, at, layout.width, is_last=is_last)
        if used == 0:
            break
        starts.append(at)
        raw = b"\n".join(physical[at : at + used]).removesuffix(b"\r")
        row = () if rule else _significant(fields, layout)
        line = encode_row(row)
        if not rule and (b"\0" in line or not _is_utf8(line)):
            rule = "nul" if b"\0" in line else "encoding"
        if rule:
            bad[len(lines)] = rule
            line = b"\0" + raw
        elif b"\\" in line or b'"' in line:
            special[len(lines)] = b",".join(map(_escape, row)) + b"\n"
        lines.append(line)
        at += used
    rest = b"".join(line + b"\n" for line in physical[at:])
    numbers = np.array(starts, dtype=np.int64) + first_line
    batch = Batch(
        canonical=Lines.of(lines),
        hashes=hash_lines(lines),
        line_numbers=numbers,
        bad=bad,
        special=special,
        size_bytes=len(block),
        has_quotes=b'"' in block,
    )
    return batch, rest


def _significant(fields: list[bytes], layout: Layout) -> list[bytes]:
    """Pick and fold the significant fields, in canonical order."""
    row = [fields[position] if position >= 0 else b"" for position in layout.positions]
    return [value if fold is None else fold(value) for value, fold in zip(row, layout.folds, strict=True)]


def _escape(value: bytes) -> bytes:
    return _ESCAPED.sub(lambda match: _ESCAPES[match[0]], value)


def _read_record(physical: list[bytes], at: int, width: int, *, is_last: bool) -> tuple[int, list[bytes], str]:
    """Read the record that starts at a physical line: lines used (0: more are needed), fields, broken rule or nothing."""
    raw = physical[at].removesuffix(b"\r")
    if b"\0" in raw:
        return 1, [], "nul"
    if b'"' in raw:
        return _read_quoted(physical, at, width, is_last=is_last)
    if b"\r" in raw:
        return 1, [], "line_break"
    fields = raw.split(b",")
    if len(fields) == width:
        return 1, fields, ""
    return 1, [], "copy_end" if raw == b"\\." else "field_count"


def _read_quoted(physical: list[bytes], at: int, width: int, *, is_last: bool) -> tuple[int, list[bytes], str]:
    end, size = at, 0
    while True:
        size += len(physical[end]) + 1
        if size > MAX_RECORD_BYTES:
            return 1, [], "quote"
        if end == at or b'"' in physical[end]:
            fields = _parse_quoted(b"\n".join(physical[at : end + 1]).removesuffix(b"\r"))
            if fields is not None:
                break
        end += 1
        if end == len(physical):
            return (1, [], "quote") if is_last else (0, [], "")
    if len(fields) == width:
        return end + 1 - at, fields, ""
    return 1, [], "quote" if end > at or not fields else "field_count"


def _parse_quoted(text: bytes) -> list[bytes] | None:
    """Split a record that holds quotes; nothing in the list if it is malformed, None if a quoted field is still open."""
    try:
        # Latin-1 gives every byte a character and back, so that the reader's work does not depend on the encoding.
        fields = next(csv.reader([text.decode("latin-1")], strict=True))
    except csv.Error as error:
        return None if "unexpected end of data" in str(error) else []
    return [_CRLF.sub(b"\n", value.encode("latin-1")) for value in fields]
