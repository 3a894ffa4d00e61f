"""Hashes of a file's records as they come, in memory that goes back to the system when it is let go.

Belongs here: keeping them in blocks, and putting these together. Does not: computing hashes (hashing.py), comparing them (deltas.py).
"""

from typing import Self

import numpy as np
import numpy.typing as npt

# Blocks of 8 MB come from the system and go back to it; smaller pieces stay with the C library (omop_inc/process.py), so that a load of
# 10 GB held the hashes of a file that was done, 90 MB, beside those of the next.
BLOCK = 1 << 20


class HashBlocks:
    """Hashes in the order in which they come."""

    def __init__(self, *, is_half: bool) -> None:
        """Begin without any.

        Args:
            is_half: Whether the high 64 bits are kept alone.
        """
        self.is_half = is_half
        self._empty = np.empty(0 if is_half else (0, 2), dtype=np.uint64)
        self._parts: list[npt.NDArray[np.uint64]] = []  # of blocks, as far as they are filled
        self._room = self._empty  # of the last block, not yet used

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def add(self, hashes: npt.NDArray[np.uint64]) -> None:
        """Add hashes, shape (n, 2), or (n,) if they are halves."""
        while len(hashes):
            if not len(self._room):
                self._room = np.empty((BLOCK, *self._empty.shape[1:]), dtype=np.uint64)
            part = self._room[: len(hashes)]
            part[:] = hashes[: len(part)]
            self._parts.append(part)
            self._room, hashes = self._room[len(part) :], hashes[len(part) :]

    def take_over(self, others: list[Self]) -> None:
        """Add what others hold, in their order; they hold nothing any more."""
        for other in others:
            self._parts += other._parts
            other._parts, other._room = [], other._empty
        self._room = self._empty

    def whole(self) -> npt.NDArray[np.uint64]:
        """All of them in one array; each block is let go when it is copied."""
        self._room = self._empty
        if len(self._parts) != 1:
            end = len(self)
            joined = np.empty((end, *self._empty.shape[1:]), dtype=np.uint64)
            while self._parts:
                part = self._parts.pop()
                joined[end - len(part) : end] = part
                end -= len(part)
            self._parts = [joined]
        return self._parts[0]
