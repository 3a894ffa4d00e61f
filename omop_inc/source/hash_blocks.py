"""Hashes of a file's records as they come, in memory that goes back to the system when it is let go.

Belongs here: keeping them in blocks, and putting these together. Does not: computing hashes (hashing.py), comparing them (deltas.py).
"""

import threading
from typing import Self

import numpy as np
import numpy.typing as npt

# Blocks of 8 MB come from the system and go back to it; smaller pieces stay with the C library (omop_inc/process.py), so that a load of
# 10 GB held the hashes of a file that was done, 90 MB, beside those of the next.
BLOCK = 1 << 20


class _Rooms(threading.local):
    """What a thread has not yet used of its last blocks.

    A thread hashes many small parts of a file. With a block for each, of which the system gave 2 MB at the first touch (numpy asks for huge
    pages), the 338 parts of 6 GB took 250 MB for 103 MB of hashes.
    """

    def __init__(self) -> None:
        self.left: dict[bool, npt.NDArray[np.uint64]] = {}

    def take(self, count: int, *, is_half: bool) -> npt.NDArray[np.uint64]:
        """Room for so many hashes, or for fewer."""
        left = self.left.get(is_half)
        if left is None or not len(left):
            left = np.empty(BLOCK if is_half else (BLOCK, 2), dtype=np.uint64)
        self.left[is_half] = left[count:]
        return left[:count]


_rooms = _Rooms()


class HashBlocks:
    """Hashes in the order in which they come."""

    def __init__(self, *, is_half: bool) -> None:
        """Begin without any.

        Args:
            is_half: Whether the high 64 bits are kept alone.
        """
        self.is_half = is_half
        self._parts: list[npt.NDArray[np.uint64]] = []  # of blocks

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add hashes, shape (n, 2), or (n,) if they are halves."""
        while len(hashes):
            part = _rooms.take(len(hashes), is_half=self.is_half)
            part[:] = hashes[: len(part)]
            self._parts.append(part)
            hashes = hashes[len(part) :]

    def take_over(self, others: list[Self]) -> None:
        """Add what others hold, in their order; they hold nothing any more."""
        for other in others:
            self._parts += other._parts
            other._parts = []

    def whole(self) -> npt.NDArray[np.uint64]:
        """All of them in one array; each block is let go when it is copied."""
        if len(self._parts) != 1:
            end = len(self)
            joined = np.empty(end if self.is_half else (end, 2), dtype=np.uint64)
            while self._parts:
                part = self._parts.pop()
                joined[end - len(part) : end] = part
                end -= len(part)
            self._parts = [joined]
        return self._parts[0]
