"""The digest of a file: what tells at a glance that it is as it was.

Belongs here: digests of parts and of the whole, made in a pass of their own or while something else reads the bytes.
Does not: hashes of records (hashing.py).

A file's digest is made from those of its parts (parts.py), so that the threads that hash them make it by the way. Its
size stands in it: a file of another size needs no pass to be known as changed.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from xxhash import xxh3_128

from omop_inc.errors import SourceFileError
from omop_inc.source.parts import split_file
from omop_inc.source.snapshot import SourceFile, read_blocks, sha256_of_file

_SIZE_BYTES = 8


@dataclass(frozen=True, kw_only=True)
class PartDigest:
    """What one pass over a part of a file says of it."""

    digest: bytes  # xxh3_128 of its bytes
    size_bytes: int
    has_quotes: bool  # whether a quote is anywhere in it


@dataclass(frozen=True, kw_only=True)
class FileDigest:
    """What one pass over a file says of it."""

    digest: bytes  # 24 bytes: xxh3_128 of the parts' digests, and the size; all of decompressed bytes
    size_bytes: int  # decompressed
    has_quotes: bool


class Watch:
    """Digests blocks as they go by to their reader.

    Args:
        finds_quotes: Whether to look for quotes; else the reader tells of them.
    """

    def __init__(self, *, finds_quotes: bool = True) -> None:
        self._finds_quotes = finds_quotes
        self._digest = xxh3_128()
        self._size_bytes = 0
        self.has_quotes = False
        self.last = b"\n"  # byte so far

    def over(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        """Hand the blocks on."""
        for block in blocks:
            self._digest.update(block)
            self._size_bytes += len(block)
            self.has_quotes = self.has_quotes or (self._finds_quotes and b'"' in block)
            self.last = block[-1:]
            yield block

    @property
    def found(self) -> PartDigest:
        """What has been seen so far."""
        return PartDigest(digest=self._digest.digest(), size_bytes=self._size_bytes, has_quotes=self.has_quotes)


def join_digests(parts: Sequence[PartDigest]) -> FileDigest:
    """The digest of a file from those of all its parts, in their order."""
    size_bytes = sum(part.size_bytes for part in parts)
    digest = xxh3_128(b"".join(part.digest for part in parts)).digest() + size_bytes.to_bytes(_SIZE_BYTES, "big")
    return FileDigest(digest=digest, size_bytes=size_bytes, has_quotes=any(part.has_quotes for part in parts))


def may_have(file: SourceFile, digest: bytes | None) -> bool:
    """Whether a file may have this digest, as far as its size tells; nothing is read."""
    return digest is not None and (file.is_compressed or digest[-_SIZE_BYTES:] == file.identity[2].to_bytes(_SIZE_BYTES, "big"))


def digest_file(file: SourceFile) -> FileDigest:
    """Digest a file's decompressed bytes, streaming.

    Raises:
        SourceFileError: If it ends in the middle of a line, is damaged, or is not what the manifest says.
    """
    sha256 = None if file.expected_sha256 is None or file.is_compressed else hashlib.sha256()
    found: list[PartDigest] = []
    last = b"\n"
    for part in split_file(file):
        watch = Watch()
        for block in watch.over(read_blocks(file, part)):
            if sha256 is not None:
                sha256.update(block)
        found.append(watch.found)
        last = watch.last
    if last != b"\n":
        raise truncated(file)
    if file.expected_sha256 is not None:
        _check_sha256(file, sha256_of_file(file) if sha256 is None else sha256.hexdigest())
    return join_digests(found)


def _check_sha256(file: SourceFile, found: str) -> None:
    if found != file.expected_sha256:
        raise SourceFileError(
            f"{file.name!r}: its sha256 is not the one in manifest.json. Transfer the file again.",
            table=file.table,
            file=file.name,
            rule="manifest",
        )


def truncated(file: SourceFile) -> SourceFileError:
    """Build the error for a file whose last line has no end."""
    return SourceFileError(
        f"{file.name!r} ends in the middle of a line; expected a line end behind the last record. Export or transfer it again.",
        table=file.table,
        file=file.name,
        rule="truncated",
    )
