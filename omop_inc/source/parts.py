"""Parts of a large file, which several threads read at once.

Belongs here: where a file may be cut, and what is known of a part by its place alone. Does not: reading records
(records.py), who reads which part (runs/detect.py, runs/loading.py).

A file is cut at line ends. That is safe where it holds no quote: then every line is a record by itself, or a bad one.
"""

from itertools import pairwise
from typing import BinaryIO

from omop_inc.source.snapshot import BLOCK_BYTES, Part, SourceFile, open_binary, read_blocks

# A file from here on is cut. Where each part has a connection and a transaction of its own, these cost about 10 ms; the smaller the
# parts, the more evenly the cores end.
PART_BYTES = 16 << 20


def split_file(file: SourceFile) -> list[Part | None]:
    """Give the parts in which a file is digested and, if it holds no quote, read, in their order; one None is the whole of it."""
    size = file.identity[2]
    if file.is_compressed or size < 2 * PART_BYTES:
        return [None]
    count = size // PART_BYTES
    with open_binary(file) as stream:
        found = {_line_end(stream, size * number // count) for number in range(1, count)}
    cuts = sorted({0, size, *(cut for cut in found if cut is not None)})
    return [Part(start=start, end=end) for start, end in pairwise(cuts)]


def _line_end(stream: BinaryIO, at: int) -> int | None:
    """Give the place behind the first line end from a place on; None if it is far, and the file is not cut here."""
    stream.seek(at)
    found = stream.read(BLOCK_BYTES).find(b"\n")
    return at + found + 1 if found >= 0 else None


def lines_before(file: SourceFile, part: Part | None) -> int:
    """Count the physical lines before a part; read only when a line's number must be told."""
    if part is None or not part.start:
        return 0
    return sum(block.count(b"\n") for block in read_blocks(file, Part(start=0, end=part.start)))
