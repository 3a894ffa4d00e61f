from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omop_inc.source import deltas
from omop_inc.source.deltas import Multiset, Range, compare, compare_ranges, select_new

# Few values, so that repeats and meetings are the rule.
ROWS = st.lists(st.one_of(st.integers(0, 12), st.integers(2**64 - 3, 2**64 - 1)), max_size=60)


def ascending(rows: list[int]) -> np.ndarray:
    return np.array(sorted(rows), dtype=np.uint64)


def counter(multiset: Multiset) -> Counter[int]:
    return Counter(dict(zip(multiset.values.tolist(), multiset.counts.tolist(), strict=True)))


@given(incoming=ROWS, known=ROWS)
def test_delta_laws(incoming: list[int], known: list[int]) -> None:
    delta = compare(ascending(incoming), ascending(known))
    new, removed = counter(delta.new), counter(delta.removed)
    assert not new & removed, "disjoint"
    assert Counter(known) - removed + new == Counter(incoming), "applying it gives the snapshot"
    assert new <= Counter(incoming)
    assert removed <= Counter(known)
    assert delta.unchanged + delta.new.total == len(incoming), "covers the snapshot"
    assert delta.unchanged + delta.removed.total == len(known), "covers the state"
    assert delta.new.values.tolist() == sorted(new)
    assert delta.removed.values.tolist() == sorted(removed)


@given(incoming=ROWS, known=ROWS)
def test_delta_backwards_is_the_delta_turned_round(incoming: list[int], known: list[int]) -> None:
    there, back = compare(ascending(incoming), ascending(known)), compare(ascending(known), ascending(incoming))
    assert counter(there.new) == counter(back.removed)
    assert counter(there.removed) == counter(back.new)
    assert there.unchanged == back.unchanged


@given(incoming=ROWS, known=ROWS, merged=st.integers(1, 20))
def test_delta_does_not_depend_on_how_many_are_merged_at_a_time(incoming: list[int], known: list[int], merged: int) -> None:
    whole = compare(ascending(incoming), ascending(known))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "_MERGED", merged)
        parted = compare(ascending(incoming), ascending(known))
    assert (counter(parted.new), counter(parted.removed), parted.unchanged) == (counter(whole.new), counter(whole.removed), whole.unchanged)


@given(incoming=ROWS, known=ROWS, cuts=st.sets(st.one_of(st.integers(1, 13), st.integers(2**64 - 3, 2**64 - 1)), max_size=4))
def test_delta_by_ranges_is_the_delta_of_the_whole(incoming: list[int], known: list[int], cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), None]
    ranges = [
        Range(start=one, stop=two, known=ascending([v for v in known if v >= one and (two is None or v < two)])) for one, two in pairwise(bounds)
    ]
    found, whole = compare_ranges(np.array(incoming, dtype=np.uint64), ranges), compare(ascending(incoming), ascending(known))
    assert found.new.values.tolist() == whole.new.values.tolist()
    assert found.removed.values.tolist() == whole.removed.values.tolist()
    assert (counter(found.new), counter(found.removed), found.unchanged) == (counter(whole.new), counter(whole.removed), whole.unchanged)


@given(incoming=ROWS, known=ROWS)
def test_selected_records_are_the_new_ones_and_the_last_of_their_kind(incoming: list[int], known: list[int]) -> None:
    rows = np.array([[value, 0] for value in incoming], dtype=np.uint64).reshape(-1, 2)
    new = compare(ascending(incoming), ascending(known)).new
    mask = select_new(rows, new).tolist()
    assert Counter(value for value, is_new in zip(incoming, mask, strict=True) if is_new) == counter(new)
    for at, is_new in enumerate(mask):
        if is_new:
            assert all(later for value, later in zip(incoming[at:], mask[at:], strict=True) if value == incoming[at])
