"""The difference between a snapshot's file and the state, as multisets of row hashes.

Belongs here: pure functions on arrays of hashes. Does not: reading files (records.py), the database (store/state.py),
pairing a removed row with a new one of the same key (store: it needs the rows).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Hashes64 = npt.NDArray[np.uint64]

# A table of first bits has so many times as many places as there are values to look for, so that few others meet one; 16 MB at most.
_PLACES_A_VALUE_BITS, _MOST_TABLE_BITS = 6, 24
# Hashes of either side that are merged at a time, which takes 56 bytes for each: 15 MB, near a core's cache.
_MERGED = 1 << 18
# Hashes that are looked through at a time: 2 MB of them.
_LOOKED_UP = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Multiset:
    """Hashes with their multiplicities."""

    values: Hashes64  # ascending, each once
    counts: npt.NDArray[np.int64]  # at least 1 each

    @property
    def total(self) -> int:
        """Number of records."""
        return int(self.counts.sum())


@dataclass(frozen=True, kw_only=True)
class Delta64:
    """What became more and what became less; in no value do both hold something."""

    new: Multiset
    removed: Multiset
    unchanged: int  # records in both


@dataclass(frozen=True, kw_only=True)
class Range:
    """The state's hashes from one value up to another."""

    start: int
    stop: int | None  # None: there is no end
    known: Hashes64  # ascending, repeats kept


def compare_ranges(high: Hashes64, ranges: Iterable[Range]) -> Delta64:
    """Compare a snapshot's file with the committed state, a range of hashes at a time, so that neither is held whole in order.

    Args:
        high: Row hashes in any order.
        ranges: All of the state; one begins where the one before ends.
    """
    parts = [compare(_sorted_within(high, one), one.known) for one in ranges]
    return Delta64(
        new=_join([part.new for part in parts]), removed=_join([part.removed for part in parts]), unchanged=sum(part.unchanged for part in parts)
    )


def _sorted_within(high: Hashes64, one: Range) -> Hashes64:
    """The hashes of a range, ascending."""
    if one.start == 0 and one.stop is None:
        return np.sort(high)
    found = [high[:0]]
    for start in range(0, len(high), _LOOKED_UP):
        some = high[start : start + _LOOKED_UP]
        inside = some >= np.uint64(one.start)
        if one.stop is not None:
            inside &= some < np.uint64(one.stop)
        found.append(some[inside])
    within = np.concatenate(found)
    found.clear()
    within.sort()
    return within


def _join(parts: list[Multiset]) -> Multiset:
    """Put multisets of ascending ranges together."""
    return Multiset(values=np.concatenate([part.values for part in parts]), counts=np.concatenate([part.counts for part in parts]))


def compare(incoming: Hashes64, known: Hashes64) -> Delta64:
    """Compare a snapshot's file with the committed state.

    Args:
        incoming: Row hashes of the file, ascending, repeats kept.
        known: The same from the state.

    Returns:
        The hashes to add and to remove, each with its multiplicity; what is in neither is unchanged.
    """
    if np.array_equal(incoming, known):
        empty = _multiset(np.empty(0, np.uint64), np.empty(0, np.int64))
        return Delta64(new=empty, removed=empty, unchanged=len(incoming))
    values = _suspects(incoming, known)
    balance = _count(values, incoming) - _count(values, known)
    new = _multiset(values, balance)
    removed = _multiset(values, -balance)
    return Delta64(new=new, removed=removed, unchanged=len(incoming) - new.total)


def select_new(hashes: npt.NDArray[np.uint64], new: Multiset) -> npt.NDArray[np.bool_]:
    """Mark the records of a file that are new: of each new hash as many as its count, the last ones in file order.

    Args:
        hashes: Shape (n, 2) or (n,), in file order; the high 64 bits are compared.
        new: What compare found new.
    """
    high = hashes[:, 0] if hashes.ndim == 2 else hashes
    if new.total == len(high):  # a first load
        return np.ones(len(high), dtype=bool)
    mask = np.zeros(len(high), dtype=bool)
    if not len(new.values):
        return mask
    candidates = _candidates(high, new.values)
    at = np.searchsorted(new.values, high[candidates])
    at[at == len(new.values)] = 0
    is_new = new.values[at] == high[candidates]
    candidates, groups = candidates[is_new][::-1], at[is_new][::-1]
    ranks = rank_within(groups)
    mask[candidates[ranks < new.counts[groups]]] = True
    return mask


def rank_within(groups: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Number the members of each group from 0, in their order."""
    order = np.argsort(groups, kind="stable")
    ascending = groups[order]
    places = np.arange(len(groups))
    is_first = np.ones(len(groups), dtype=bool)
    is_first[1:] = ascending[1:] != ascending[:-1]
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[order] = places - np.maximum.accumulate(np.where(is_first, places, 0))
    return ranks


def _multiset(values: Hashes64, balance: npt.NDArray[np.int64]) -> Multiset:
    kept = balance > 0
    return Multiset(values=values[kept], counts=balance[kept])


def _suspects(incoming: Hashes64, known: Hashes64) -> Hashes64:
    """Give, ascending, every value whose count may differ."""
    bounds = known[_MERGED::_MERGED]
    pairs = zip(np.split(incoming, np.searchsorted(incoming, bounds)), np.split(known, np.searchsorted(known, bounds)), strict=True)
    return np.concatenate([_suspects_among(one, other) for one, other in pairs if len(one) or len(other)])


def _suspects_among(incoming: Hashes64, known: Hashes64) -> Hashes64:
    """The same of a few, all at once.

    A value that each side holds once is a pair in the merged array and no suspect; nearly all are. The stable sort of two
    ascending runs is a merge: 10 M against 10 M cost 0.4 s in all, looking each value up in the other array 1.1 s.
    """
    merged = np.concatenate((incoming, known))
    merged.sort(kind="stable")
    starts = np.flatnonzero(np.concatenate(([True], merged[1:] != merged[:-1])))
    lengths = np.diff(np.append(starts, len(merged)))
    repeats = [side[1:][side[1:] == side[:-1]] for side in (incoming, known)]
    return np.unique(np.concatenate((merged[starts[lengths != 2]], *repeats)))


def _count(values: Hashes64, ascending: Hashes64) -> npt.NDArray[np.int64]:
    """Say how often each value occurs."""
    return np.searchsorted(ascending, values, side="right") - np.searchsorted(ascending, values, side="left")


def _candidates(high: Hashes64, values: Hashes64) -> npt.NDArray[np.int64]:
    """Give the positions whose first bits occur among the values, some at a time: a small table leaves little to look up."""
    bits = min(len(values).bit_length() + _PLACES_A_VALUE_BITS, _MOST_TABLE_BITS)
    table = np.zeros(1 << bits, dtype=bool)
    shift = np.uint64(64 - bits)
    table[values >> shift] = True
    found = [start + np.flatnonzero(table[high[start : start + _LOOKED_UP] >> shift]) for start in range(0, len(high), _LOOKED_UP)]
    return np.concatenate([np.empty(0, dtype=np.int64), *found])
