import numpy as np
import pytest

from omop_inc.source.deltas import Multiset, _suspects, compare, select_new


def hashes(*values: int) -> np.ndarray:
    return np.array(sorted(values), dtype=np.uint64)


def content(multiset: Multiset) -> dict[int, int]:
    return dict(zip(multiset.values.tolist(), multiset.counts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("incoming", "known", "new", "removed", "unchanged"),
    [
        pytest.param([], [], {}, {}, 0, id="both empty"),
        pytest.param([1, 2], [], {1: 1, 2: 1}, {}, 0, id="first load"),
        pytest.param([], [1, 1], {}, {1: 2}, 0, id="emptied"),
        pytest.param([1, 2, 2], [1, 2, 2], {}, {}, 3, id="nothing changed"),
        pytest.param([1, 3], [1, 2], {3: 1}, {2: 1}, 1, id="one changed"),
        pytest.param([5, 5, 5, 7], [5, 7, 7], {5: 2}, {7: 1}, 2, id="multiplicities"),
        pytest.param([0, 2**64 - 1], [2**64 - 1], {0: 1}, {}, 1, id="the ends of 64 bits"),
    ],
)
def test_compare(incoming: list[int], known: list[int], new: dict[int, int], removed: dict[int, int], unchanged: int) -> None:
    delta = compare(hashes(*incoming), hashes(*known))
    assert content(delta.new) == new
    assert content(delta.removed) == removed
    assert delta.unchanged == unchanged
    assert delta.new.total == sum(new.values())


def test_select_new_marks_the_last_copies_of_a_repeated_row() -> None:
    rows = np.array([[5, 0], [7, 0], [5, 0], [5, 0], [9, 0]], dtype=np.uint64)
    new = compare(hashes(5, 5, 5, 7, 9), hashes(5, 7)).new
    assert select_new(rows, new).tolist() == [False, False, True, True, True]


def test_select_new_marks_nothing_when_nothing_is_new() -> None:
    rows = np.array([[5, 0], [7, 0]], dtype=np.uint64)
    assert not select_new(rows, compare(hashes(5, 7), hashes(5, 7)).new).any()
    assert select_new(rows[:0], compare(hashes(), hashes()).new).tolist() == []


def test_value_that_each_side_holds_once_is_no_suspect() -> None:
    one, other = (np.array(values, dtype=np.uint64) for values in ([1, 3, 5, 5, 7, 9], [1, 2, 5, 5, 7, 9, 9]))
    assert _suspects(one, other).tolist() == [2, 3, 5, 9]
