from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omop_inc.source.hashing import MODULUS
from omop_inc.store.state import apply_segments


def hashes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


@pytest.mark.parametrize(
    ("base", "added", "removed", "expected"),
    [
        pytest.param([], [], [], [], id="nothing"),
        pytest.param([1, 2], [[3]], [], [1, 2, 3], id="added"),
        pytest.param([1, 2, 3], [], [[2]], [1, 3], id="removed"),
        pytest.param([1, 1, 1, 2], [], [[1, 1]], [1, 2], id="two of three alike"),
        pytest.param([1], [[2], [1]], [[1], [2]], [1], id="several runs"),
        pytest.param([], [[5]], [[5]], [], id="came and went"),
    ],
)
def test_apply_segments(base: list[int], added: list[list[int]], removed: list[list[int]], expected: list[int]) -> None:
    found = apply_segments(hashes(*base), hashes(*sorted(sum(added, []))), hashes(*sorted(sum(removed, []))))
    assert found.tolist() == expected


VALUES = st.lists(st.integers(0, 6), max_size=12)


@given(base=VALUES, added=st.lists(VALUES, max_size=3), data=st.data())
def test_apply_segments_is_multiset_arithmetic_and_gives_ascending_hashes(base: list[int], added: list[list[int]], data: st.DataObject) -> None:
    present = Counter(base) + sum((Counter(one) for one in added), Counter())
    gone = data.draw(st.lists(st.sampled_from(sorted(present.elements())), max_size=6)) if present else []
    gone = list((Counter(gone) & present).elements())
    found = apply_segments(hashes(*sorted(base)), hashes(*sorted(sum(added, []))), hashes(*sorted(gone)))
    assert found.tolist() == sorted((present - Counter(gone)).elements())


def test_sums_of_hashes_are_taken_modulo_128_bits() -> None:
    assert MODULUS == 2**128
