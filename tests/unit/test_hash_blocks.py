"""Hashes kept in blocks are those that came, in their order, however they came."""

import numpy as np
import pytest

from omop_inc.source.hash_blocks import BLOCK, HashBlocks

PIECES = [0, 1, BLOCK - 1, 3, 2 * BLOCK + 5, 1]


@pytest.mark.parametrize("shape", [(), (2,)])
def test_what_comes_in_pieces_is_one_array(shape: tuple[int, ...]) -> None:
    whole = np.random.default_rng(3).integers(0, 1 << 63, size=(sum(PIECES), *shape), dtype=np.uint64)
    parts = [HashBlocks(is_half=not shape), HashBlocks(is_half=not shape)]
    start = 0
    for n, length in enumerate(PIECES):
        parts[n // 3].add(whole[start : start + length])
        start += length
    joined = HashBlocks(is_half=not shape)
    joined.take_over(parts)
    assert len(joined) == len(whole)
    assert [len(part) for part in parts] == [0, 0]
    assert (joined.whole() == whole).all()
    assert (joined.whole() == whole).all()  # as often as it is asked for
    joined.add(whole[:7])
    assert (joined.whole() == np.concatenate((whole, whole[:7]))).all()
    parts[0].add(whole[:2])
    assert (parts[0].whole() == whole[:2]).all()


def test_none_is_an_array_of_none() -> None:
    assert HashBlocks(is_half=True).whole().shape == (0,)
    assert HashBlocks(is_half=False).whole().shape == (0, 2)


def test_small_pieces_of_one_thread_share_a_block_and_nothing_else() -> None:
    some = [HashBlocks(is_half=True) for _ in range(50)]
    for number, one in enumerate([*some, *some]):
        one.add(np.array([99 - number, number], dtype=np.uint64))
    wholes = [one.whole() for one in some]
    for whole in wholes:
        whole.sort()
    assert [whole.tolist() for whole in wholes] == [sorted([99 - n, n, 49 - n, 50 + n]) for n in range(50)]
    single = [HashBlocks(is_half=True) for _ in range(50)]
    for one in single:
        one.add(np.array([1], dtype=np.uint64))
    assert len({id(one.whole().base) for one in single}) <= 2
