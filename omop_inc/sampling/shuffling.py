"""A file's rows in random order, in little memory.

Belongs here: gathering rows and writing them shuffled. Does not: anything of their content.
"""

import marshal
import random
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from omop_inc.sampling.rows import Write
from omop_inc.source.snapshot import SourceFile

# Rows that are shuffled at a time: 32 MB are some 100 MB of Python's objects.
BUCKET_BYTES = 32 << 20
# How much smaller a compressed file may be: real exports reach 35:1, most lie near 10.
PACKED = 16


@contextmanager
def shuffled(write: Write, file: SourceFile, source: random.Random) -> Iterator[Write]:
    """Give a place for records that hands them on in random order when all are there.

    Each record is thrown into one of some buckets on disk, and these are shuffled one after another: every order is
    equally likely.
    """
    count = 1 + file.identity[2] * (PACKED if file.is_compressed else 1) // BUCKET_BYTES
    with ExitStack() as stack:
        buckets: list[IO[bytes]] = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        yield lambda records: _throw(records, buckets, source)
        for bucket in buckets:
            bucket.seek(0)
            records = list(_gathered(bucket))
            source.shuffle(records)
            write(records)


def _throw(records: list[bytes], buckets: list[IO[bytes]], source: random.Random) -> None:
    thrown: list[list[bytes]] = [[] for _ in buckets]
    for record in records:
        source.choice(thrown).append(record)
    for bucket, held in zip(buckets, thrown, strict=True):
        marshal.dump(held, bucket)


def _gathered(bucket: IO[bytes]) -> Iterator[bytes]:
    while True:
        try:
            yield from marshal.load(bucket)  # our own bytes, in a file without a name
        except EOFError:
            return
