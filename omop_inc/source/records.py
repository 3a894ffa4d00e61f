"""A file's records: split, checked for shape, hashed, and given as frames and COPY lines.

Belongs here: the one way from a file to hashes and rows, so that both agree on the order and number of records.
Does not: what a value must look like (validation.py), the canonical line itself (hashing.py, lines.py).

The file is read in blocks of whole lines. A block without quotes, carriage returns and zero bytes, in UTF-8, with the
right number of fields in every line goes the plain way (lines.plain_batch); any other is read record by record
(lines.careful_batch). Both give the same canonical lines.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from omop_inc.errors import SourceFileError
from omop_inc.source.digests import PartDigest, Watch, truncated
from omop_inc.source.hash_blocks import HashBlocks
from omop_inc.source.hashing import MODULUS, sum128
from omop_inc.source.lines import MAX_RECORD_BYTES, Batch, Layout, Lines, careful_batch, layout_of, plain_batch
from omop_inc.source.snapshot import BLOCK_BYTES, Part, SourceFile, open_binary, read_blocks
from omop_inc.source.tables import SOURCE_TABLES

if TYPE_CHECKING:
    import polars as pl

Hashes128 = npt.NDArray[np.uint64]  # shape (n, 2): high and low 64 bits
Places = npt.NDArray[np.int64]  # shape (n, 2): of each stretch the number of its first record in the file, and its place there in bytes

CHUNK_ROWS = 50_000
# A chunk ends at this size as well. It is held some five times (block, lines, columns, COPY): 4 MB keep a process of ours
# within 60 MB of them, and larger chunks are not faster.
CHUNK_BYTES = 4 << 20
# Records of a stretch, some 100 KB, of which all is read for one that is wanted.
STRETCH_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class BadRecord:
    """A record that cannot be read as a row; it goes to quarantine as it stands."""

    index: int  # number of the record in the file, from 0
    line: int  # physical line where it starts, the header is 1
    rule: str  # field_count, encoding, nul, line_break, quote, copy_end
    record: bytes  # as the file holds it, without its line end
    hash: tuple[int, int]  # high and low 64 bits


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Some records of a file, in file order; the first four run in parallel, bad records are apart."""

    indexes: npt.NDArray[np.int64]  # number of each record in the file, from 0, bad ones counted
    line_numbers: npt.NDArray[np.int64]  # physical line where each starts, the header is 1
    hashes: Hashes128
    canonical: Lines
    bad: list[BadRecord]
    names: tuple[str, ...]  # staged columns, in canonical order
    special: dict[int, bytes] = field(default_factory=dict)  # position in lines -> COPY line, where it is not the canonical line
    is_plain: bool = False  # whether no field is quoted, and no record is bad

    def __len__(self) -> int:
        return len(self.canonical)

    @cached_property
    def lines(self) -> list[bytes]:
        """The canonical lines."""
        return self.canonical.tolist()

    @cached_property
    def payload(self) -> Lines:
        """What COPY gets of each record (text format, DELIMITER ',', NULL '')."""
        if not self.special:
            return self.canonical
        lines = list(self.lines)
        for at, line in self.special.items():
            lines[at] = line[:-1]
        return Lines.of(lines)

    @cached_property
    def frame(self) -> "pl.DataFrame":
        """The staged columns as text, empty is null."""
        from omop_inc.source.frames import frame_of_lines  # a process that only hashes does without polars

        return frame_of_lines(self.canonical, self.names, has_quotes=any(b'"' in self.lines[at] for at in self.special))


@dataclass(frozen=True, kw_only=True)
class Hashes:
    """The hashes of all records of a file, or a part of it, in file order, bad ones included."""

    blocks: HashBlocks
    hash_sum: int  # of the 128 bits
    bad_count: int
    places: Places  # of the stretches; right where no record holds a quote
    digests: tuple[PartDigest, ...]  # of the parts

    @property
    def hashes(self) -> npt.NDArray[np.uint64]:
        """Shape (n, 2): high and low 64 bits; of halves (n,), the high ones."""
        return self.blocks.whole()


def join_hashes(parts: Sequence[Hashes]) -> Hashes:
    """Put the hashes of a file's parts together; the parts hold none any more."""
    firsts = np.cumsum([0, *(len(part.blocks) for part in parts[:-1])])
    blocks = HashBlocks(is_half=parts[0].blocks.is_half)
    blocks.take_over([part.blocks for part in parts])
    return Hashes(
        blocks=blocks,
        hash_sum=sum(part.hash_sum for part in parts) % MODULUS,
        bad_count=sum(part.bad_count for part in parts),
        places=np.concatenate([part.places + [first, 0] for part, first in zip(parts, firsts, strict=True)]),
        digests=tuple(digest for part in parts for digest in part.digests),
    )


def hash_records(file: SourceFile, part: Part | None = None, *, is_half: bool = False) -> Hashes:
    """Hash every record of a file, or of a part of it, without parsing more than it must.

    Args:
        file: The file.
        part: What of it; None is all.
        is_half: Whether the high 64 bits of each hash are enough, which take half of the memory.

    Raises:
        SourceFileError: If the file is damaged, or, read whole, holds another number of records than the manifest says.
    """
    blocks = HashBlocks(is_half=is_half)
    bad_count = hash_sum = 0
    places: list[Places] = [np.empty((0, 2), dtype=np.int64)]
    watch = Watch(finds_quotes=False)
    for _, batch in _batches(file, part, places=places, watch=watch):
        blocks.add(batch.hashes[:, 0] if is_half else batch.hashes)
        hash_sum += sum128(batch.hashes)
        watch.has_quotes = watch.has_quotes or batch.has_quotes
        bad_count += len(batch.bad)
    if part is None:
        check_count(file, len(blocks))
    return Hashes(blocks=blocks, hash_sum=hash_sum % MODULUS, bad_count=bad_count, places=np.concatenate(places), digests=(watch.found,))


def check_count(file: SourceFile, count: int) -> None:
    """Refuse a file that holds another number of records than the manifest says."""
    if file.expected_rows not in (None, count):
        raise SourceFileError(
            f"{file.name!r}: manifest.json says {file.expected_rows} records, found {count}. Transfer the file again.",
            table=file.table,
            file=file.name,
            rule="manifest",
        )


def read_chunks(
    file: SourceFile,
    part: Part | None = None,
    *,
    chunk_rows: int = CHUNK_ROWS,
    want: npt.NDArray[np.bool_] | None = None,
    places: Places | None = None,
    watch: Watch | None = None,
) -> Iterator[Chunk]:
    """Read records as rows.

    Args:
        file: The file.
        part: What of it; None is all. Records and lines are counted from the part's start.
        chunk_rows: Records in a chunk, about: a chunk ends with the block that fills it.
        want: Which records, by their number in the file (as hash_records orders them); None is all.
        places: Where the stretches begin, of a file without quotes: only those with a wanted record are read.
        watch: Digests what is read and is told of quotes, where all is wanted.

    Raises:
        SourceFileError: If the file is damaged, or, read whole, holds another number of records than the manifest says.
    """
    names = SOURCE_TABLES[file.table].staged
    pending: list[Batch] = []
    indexes: list[npt.NDArray[np.int64]] = []
    count = total = size_bytes = 0
    for numbers, batch in _numbered(file, part, want, watch) if want is None or places is None else _wanted_batches(file, want, places):
        if watch is not None and batch.has_quotes:
            watch.has_quotes = True
        total = int(numbers[-1]) + 1
        pending.append(batch)
        indexes.append(numbers)
        count += len(numbers)
        size_bytes += batch.size_bytes
        if count >= chunk_rows or size_bytes >= max(CHUNK_BYTES, chunk_rows):  # a limit of rows beyond all sense lifts both
            ready = [_chunk(pending, np.concatenate(indexes), names)]
            pending, indexes, count, size_bytes = [], [], 0, 0
            yield ready.pop()  # nothing here holds it while the next is put together
    if pending:
        yield _chunk(pending, np.concatenate(indexes), names)
    if want is None and part is None:  # else the number is known, and the last blocks may have been left out
        check_count(file, total)


def _numbered(
    file: SourceFile, part: Part | None, want: npt.NDArray[np.bool_] | None, watch: Watch | None
) -> Iterator[tuple[npt.NDArray[np.int64], Batch]]:
    """Give a file's wanted records in batches, with their numbers; all of them are looked at."""
    for first, batch in _batches(file, part, want, watch=watch):
        size = len(batch)
        kept = np.arange(size) if want is None else np.flatnonzero(want[first : first + size])
        if len(kept):
            yield kept + first, batch if len(kept) == size else _keep(batch, kept)


def _keep(batch: Batch, kept: npt.NDArray[np.int64]) -> Batch:
    """Keep the records of a batch at the given positions."""
    positions = kept.tolist()
    moved = {old: new for new, old in enumerate(positions)} if batch.bad or batch.special else {}
    return Batch(
        canonical=Lines.of([batch.lines[at] for at in positions]),
        hashes=batch.hashes[kept],
        line_numbers=batch.line_numbers[kept],
        bad={moved[at]: rule for at, rule in batch.bad.items() if at in moved},
        special={moved[at]: line for at, line in batch.special.items() if at in moved},
        size_bytes=batch.size_bytes * len(positions) // len(batch),
        is_plain=batch.is_plain,
    )


def _chunk(batches: list[Batch], indexes: npt.NDArray[np.int64], names: tuple[str, ...]) -> Chunk:
    batch = _joined(batches)
    hashes = batch.hashes
    is_good = np.ones(len(batch), dtype=bool)
    is_good[list(batch.bad)] = False
    bad = [
        BadRecord(
            index=int(indexes[at]),
            line=int(batch.line_numbers[at]),
            rule=rule,
            record=batch.lines[at][1:],
            hash=(int(hashes[at, 0]), int(hashes[at, 1])),
        )
        for at, rule in batch.bad.items()
    ]
    return Chunk(
        indexes=indexes[is_good] if bad else indexes,
        line_numbers=batch.line_numbers[is_good],
        hashes=hashes[is_good] if bad else hashes,
        canonical=Lines.of(list(compress(batch.lines, is_good.tolist()))) if bad else batch.canonical,
        bad=bad,
        names=names,
        special=_moved(batch.special, is_good) if bad else batch.special,
        is_plain=all(batch.is_plain for batch in batches),
    )


def _moved(special: dict[int, bytes], is_good: npt.NDArray[np.bool_]) -> dict[int, bytes]:
    """Number special lines as they stand when bad records are left out."""
    places = np.cumsum(is_good) - 1
    return {int(places[at]): line for at, line in special.items()}


def _joined(batches: list[Batch]) -> Batch:
    """Put batches behind each other."""
    bad: dict[int, str] = {}
    special: dict[int, bytes] = {}
    start = 0
    for batch in batches:
        bad.update((start + at, rule) for at, rule in batch.bad.items())
        special.update((start + at, line) for at, line in batch.special.items())
        start += len(batch)
    return Batch(
        canonical=Lines.joined([batch.canonical for batch in batches]),
        hashes=np.concatenate([batch.hashes for batch in batches]),
        line_numbers=np.concatenate([batch.line_numbers for batch in batches]),
        bad=bad,
        special=special,
    )


def _wanted_batches(file: SourceFile, want: npt.NDArray[np.bool_], places: Places) -> Iterator[tuple[npt.NDArray[np.int64], Batch]]:
    """Give the wanted records in batches, with their numbers; for files without quotes, of which each line is a record.

    On a day's 643 new rows of claims_transactions a tenth of the file is read, and nothing but these rows is cut.
    """
    layout = layout_of(SOURCE_TABLES[file.table], file.header)
    firsts, starts = places[:, 0], places[:, 1]
    ends = np.append(starts[1:], file.identity[2])
    with open_binary(file) as stream:
        for stretch in np.unique(np.searchsorted(firsts, np.flatnonzero(want), side="right") - 1).tolist():
            stream.seek(int(starts[stretch]))
            lines = stream.read(int(ends[stretch] - starts[stretch])).split(b"\n")
            first = int(firsts[stretch])
            kept = np.flatnonzero(want[first : first + len(lines) - 1])  # behind the last line end there is no line
            batch, _, _ = _batch(b"".join([lines[at] + b"\n" for at in kept.tolist()]), layout, 0, is_last=True)
            yield kept + first, replace(batch, line_numbers=kept + first + 2)  # line 1 is the header


def _batches(
    file: SourceFile,
    part: Part | None = None,
    want: npt.NDArray[np.bool_] | None = None,
    places: list[Places] | None = None,
    watch: Watch | None = None,
) -> Iterator[tuple[int, Batch]]:
    """Give a file's records in batches, in file order, each with the number of its first record.

    Blocks of which no record is wanted are left out: a block without quotes has as many records as lines, so they need
    no cutting.

    Args:
        places: Takes the places of the stretches; only of use where no record holds a quote.
        watch: Digests what is read.
    """
    layout = layout_of(SOURCE_TABLES[file.table], file.header)
    has_header = part is None or not part.start
    tail = b""
    first = 0  # number of the next record
    line = 1  # physical number of the next line, counted in the part
    at = part.start if part else 0  # place in the file of the next line
    blocks = read_blocks(file, part)
    for data in watch.over(blocks) if watch else blocks:
        cut = data.rfind(b"\n") + 1
        if not cut:
            tail = _bounded(tail + data, file, line)
            continue
        block, tail = tail + data[:cut], data[cut:]
        at += len(block)
        if line == 1 and has_header:
            block, line = block[block.index(b"\n") + 1 :], 2
        if not block:
            continue
        if want is not None and b'"' not in block:
            count = block.count(b"\n")
            if not want[first : first + count].any():
                first, line = first + count, line + count
                continue
        batch, rest, used = _batch(block, layout, line, is_last=False)
        if places is not None:
            starts = batch.starts[::STRETCH_ROWS] + (at - len(block))
            places.append(np.column_stack((first + STRETCH_ROWS * np.arange(len(starts)), starts)))
        line += used
        tail = rest + tail
        yield first, batch
        first += len(batch)
    if tail and not tail.endswith(b"\n"):
        raise truncated(file)
    if tail:
        yield first, _batch(tail, layout, line, is_last=True)[0]


def _batch(block: bytes, layout: Layout, line: int, *, is_last: bool) -> tuple[Batch, bytes, int]:
    """Give a block's records, the bytes that belong to the next block, and the number of lines used."""
    batch = plain_batch(block, layout, line)
    if batch is not None:
        return batch, b"", len(batch)
    batch, rest = careful_batch(block, layout, line, is_last=is_last)
    return batch, rest, block.count(b"\n") - rest.count(b"\n")


def _bounded(data: bytes, file: SourceFile, line: int) -> bytes:
    if len(data) > 2 * MAX_RECORD_BYTES + BLOCK_BYTES:
        raise SourceFileError(
            f"{file.name!r}, line {line}: no line end within {MAX_RECORD_BYTES} bytes. Export or transfer it again.",
            table=file.table,
            file=file.name,
            line=line,
            rule="line_length",
        )
    return data
