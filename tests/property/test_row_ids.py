"""A row that an image holds gets its id, each id once, whoever asks in whatever pieces."""

from collections import defaultdict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from omop_inc.store.row_ids import KnownIds, RowIds

# Few values, so that hashes repeat and halves agree by chance.
HASHES = st.tuples(st.integers(0, 3), st.integers(0, 2))


def as_array(hashes: list[tuple[int, int]]) -> np.ndarray:
    return np.array(hashes, dtype=np.uint64).reshape(-1, 2)


@given(known=st.lists(HASHES), pieces=st.lists(st.lists(HASHES)), data=st.data())
def test_known_ids_are_given_once_in_ascending_order(known: list[tuple[int, int]], pieces: list[list[tuple[int, int]]], data: st.DataObject) -> None:
    row_ids = data.draw(st.permutations(range(1, len(known) + 1)))
    left: dict[tuple[int, int], list[int]] = defaultdict(list)
    for pair, row_id in sorted(zip(known, row_ids, strict=True), key=lambda item: item[1]):
        left[pair].append(row_id)
    array = as_array(known)
    ids = KnownIds(high=array[:, 0], low=array[:, 1], row_ids=np.array(row_ids, dtype=np.int64))
    given_out = set()
    for piece in pieces:
        expected = [left[pair].pop(0) if left[pair] else 0 for pair in piece]
        assert ids.take(as_array(piece)).tolist() == expected
        given_out |= set(expected) - {0}
    assert set(ids.row_ids[ids.used].tolist()) == given_out


def test_new_ids_follow_each_other() -> None:
    ids = RowIds(5)
    assert ids.take(3).tolist() == [5, 6, 7]
    assert ids.take(0).tolist() == []
    assert ids.take(1).tolist() == [8]
    assert ids.last == 8
