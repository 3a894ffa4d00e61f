r"""The canonical encoding of a row, its 128-bit hash, and the digest of a whole file.

Belongs here: what is hashed and how; a change of any of it is a new HASH_VERSION. Does not: splitting a file into
records (records.py), comparing hashes (deltas.py).

The canonical line of a row is its significant columns, in canonical order, as one CSV line without its end: fields are
parted by commas, a field is quoted only if it holds a comma, a quote or a line break, quotes inside are doubled, line
breaks inside are `\n`. An absent column and an empty field are both written as nothing: in Synthea's files empty means
NULL, and there is no other. With a fixed number of columns this is injective. The hash is xxh3_128 of the line, seeded
with HASH_VERSION. Text is hashed as it stands: blanks, letter case (of ids as well) and digits count.
A record that cannot be read as a row is hashed as a zero byte and its raw bytes; no canonical line holds a zero byte.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_128, xxh3_128_digest

from omop_inc.errors import SourceFileError
from omop_inc.source.snapshot import SourceFile, read_blocks, sha256_of_file

HASH_VERSION = 1

_SPECIAL = re.compile(rb'[",\r\n]')
_YEAR = re.compile(rb"[0-9]{4}")
_KNOWN_METHODS = {b"": b"", b"COPAY": b"COPAY", b"ECHECK": b"ECHECK"}
# Java's largest date, which Synthea writes for "no end"; newer Javas put a plus before a year above 9999.
_OPEN_END = (b"292278994-", b"+292278994-")


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """What one pass over a file says of it."""

    digest: bytes  # xxh3_128 of the decompressed bytes, 16 bytes
    size_bytes: int  # decompressed
    has_quotes: bool  # whether a quote is anywhere in it


def fold_method(value: bytes) -> bytes:
    """Fold a payment's METHOD: COPAY and ECHECK are stable, each export draws the others anew."""
    return _KNOWN_METHODS.get(value, b"OTHER")


def fold_period_start(value: bytes) -> bytes:
    """Write a year as its first instant (2.x has years where later generations have timestamps)."""
    return value + b"-01-01T00:00:00Z" if len(value) == 4 and _YEAR.fullmatch(value) else value


def fold_period_end(value: bytes) -> bytes:
    """Write a year as its last second, and Java's largest date as nothing: the period is open."""
    if value.startswith(_OPEN_END):
        return b""
    return value + b"-12-31T23:59:59Z" if len(value) == 4 and _YEAR.fullmatch(value) else value


FOLDS: dict[str, Callable[[bytes], bytes]] = {
    "method": fold_method,
    "period_start": fold_period_start,
    "period_end": fold_period_end,
}


def encode_row(fields: Iterable[bytes]) -> bytes:
    """Encode the significant fields of a row, in canonical order and folded, as its canonical line."""
    return b",".join(_encode_field(field) for field in fields)


def _encode_field(field: bytes) -> bytes:
    if not _SPECIAL.search(field):
        return field
    return b'"' + field.replace(b'"', b'""') + b'"'


def hash_lines(lines: Sequence[bytes]) -> npt.NDArray[np.uint64]:
    """Hash canonical lines; shape (n, 2): the high and the low 64 bits of each."""
    # Positional seed through map(): 0.17 us a line of 450 bytes, half of what a comprehension takes.
    digests = b"".join(map(xxh3_128_digest, lines, repeat(HASH_VERSION)))
    return np.frombuffer(digests, dtype=">u8").reshape(-1, 2).astype(np.uint64)


def sum128(hashes: npt.NDArray[np.uint64]) -> int:
    """Add 128-bit hashes modulo 2**128; the order does not matter, so two equal multisets have equal sums.

    Args:
        hashes: Shape (n, 2), high and low 64 bits, n below 2**32.
    """
    half = np.uint64(32)
    mask = np.uint64(0xFFFFFFFF)
    total = 0
    for column, shift in ((0, 64), (1, 0)):
        total += int((hashes[:, column] & mask).sum(dtype=np.uint64)) << shift
        total += int((hashes[:, column] >> half).sum(dtype=np.uint64)) << (shift + 32)
    return total % (1 << 128)


def digest_file(file: SourceFile) -> FileDigest:
    """Digest a file's decompressed bytes, streaming.

    Raises:
        SourceFileError: If it ends in the middle of a line, is damaged, or is not what the manifest says.
    """
    digest = xxh3_128()
    sha256 = None if file.expected_sha256 is None or file.is_compressed else hashlib.sha256()
    size_bytes, last, has_quotes = 0, b"\n", False
    for block in read_blocks(file):
        digest.update(block)
        if sha256 is not None:
            sha256.update(block)
        has_quotes = has_quotes or b'"' in block
        size_bytes += len(block)
        last = block[-1:]
    if last != b"\n":
        raise truncated(file)
    if file.expected_sha256 is not None:
        found = sha256_of_file(file) if sha256 is None else sha256.hexdigest()
        if found != file.expected_sha256:
            raise SourceFileError(
                f"{file.name!r}: its sha256 is not the one in manifest.json. Transfer the file again.",
                table=file.table,
                file=file.name,
                rule="manifest",
            )
    return FileDigest(digest=digest.digest(), size_bytes=size_bytes, has_quotes=has_quotes)


def truncated(file: SourceFile) -> SourceFileError:
    """Build the error for a file whose last line has no end."""
    return SourceFileError(
        f"{file.name!r} ends in the middle of a line; expected a line end behind the last record. Export or transfer it again.",
        table=file.table,
        file=file.name,
        rule="truncated",
    )
