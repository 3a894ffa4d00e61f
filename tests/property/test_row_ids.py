"""A row that an image holds gets its id, each id once, whoever asks in whatever pieces."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omop_inc.store import row_ids
from omop_inc.store.row_ids import KnownIds, RowIds

# Few values, so that hashes repeat.
HALVES = st.integers(0, 6)


def as_hashes(halves: list[int]) -> np.ndarray:
    return np.array([(half, 9) for half in halves], dtype=np.uint64).reshape(-1, 2)


def known_ids(rows: list[tuple[int, int]], dtype: type[np.generic]) -> KnownIds:
    """Of rows (hash, id)."""
    array = np.array(sorted(rows), dtype=np.int64).reshape(-1, 2)
    return KnownIds(high=array[:, 0].astype(np.uint64), row_ids=array[:, 1].astype(dtype))


@given(known=st.lists(HALVES), pieces=st.lists(st.lists(HALVES)), dtype=st.sampled_from([np.uint32, np.int64]), data=st.data())
def test_known_ids_are_given_once_in_ascending_order(known: list[int], pieces: list[list[int]], dtype: type[np.generic], data: st.DataObject) -> None:
    numbers = data.draw(st.permutations(range(1, len(known) + 1)))
    left: dict[int, list[int]] = defaultdict(list)
    for half, row_id in sorted(zip(known, numbers, strict=True), key=lambda item: item[1]):
        left[half].append(row_id)
    ids = known_ids(list(zip(known, numbers, strict=True)), dtype)
    given_out = set()
    for piece in pieces:
        expected = [left[half].pop(0) if left[half] else 0 for half in piece]
        assert ids.take(as_hashes(piece)).tolist() == expected
        given_out |= set(expected) - {0}
    assert set(ids.row_ids[ids.used].tolist()) == given_out


@given(known=st.lists(HALVES), at_a_time=st.integers(1, 4))
def test_ids_are_the_same_however_many_hashes_are_looked_through_at_a_time(known: list[int], at_a_time: int) -> None:
    rows = [(half, row_id) for row_id, half in enumerate(known, 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_ids, "ROWS_A_RANGE", at_a_time)
        ids = known_ids(rows, np.uint32)
    assert ids.take(as_hashes(known)).tolist() == list(range(1, len(known) + 1))
    assert ids.take(as_hashes(known)).tolist() == [0] * len(known)


@given(known=st.lists(HALVES), asked=st.lists(HALVES), others=st.lists(HALVES), at_a_time=st.integers(1, 4))
def test_hashes_used_and_others_come_as_ascending_ranges(known: list[int], asked: list[int], others: list[int], at_a_time: int) -> None:
    ids = known_ids([(half, row_id) for row_id, half in enumerate(known, 1)], np.uint32)
    found = ids.take(as_hashes(asked))
    taken = [half for half, row_id in zip(asked, found.tolist(), strict=True) if row_id]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(row_ids, "ROWS_A_RANGE", at_a_time)
        ranges = [some.tolist() for some in ids.with_used(np.sort(np.array(others, dtype=np.uint64)))]
    assert [half for some in ranges for half in some] == sorted(taken + others)


def test_new_ids_follow_each_other() -> None:
    ids = RowIds(5)
    assert ids.take(3).tolist() == [5, 6, 7]
    assert ids.take(0).tolist() == []
    assert ids.take(1).tolist() == [8]
    assert ids.last == 8
