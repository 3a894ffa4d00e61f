"""Sets of ids as bits: they count as sets of numbers do."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from omop_inc.cdm.id_sets import BLOCK_BITS, IdSet, count_by_sets

# On both sides of the border between two blocks, and far away.
IDS = st.frozensets(st.sampled_from([0, 1, 7, 8, (1 << BLOCK_BITS) - 1, 1 << BLOCK_BITS, (1 << BLOCK_BITS) + 1, 5 << 40]))


def packed(ids: frozenset[int]) -> IdSet:
    blocks = {}
    for block in {number >> BLOCK_BITS for number in ids}:
        is_held = np.zeros(1 << BLOCK_BITS, dtype=np.bool_)
        is_held[[number % (1 << BLOCK_BITS) for number in ids if number >> BLOCK_BITS == block]] = True
        blocks[block] = np.packbits(is_held)
    return IdSet(blocks=blocks, size=len(ids))


@given(rows=IDS, sets=st.lists(IDS, max_size=3))
def test_rows_are_counted_by_the_sets_that_hold_them(rows: frozenset[int], sets: list[frozenset[int]]) -> None:
    expected = Counter(sum((number in one) << place for place, one in enumerate(sets)) for number in rows)
    assert count_by_sets(packed(rows), [packed(one) for one in sets]) == expected
