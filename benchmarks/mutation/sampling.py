"""A choice of changes by seed, spread over files and over kinds.

Belongs here: the choice. Does not: which there are (targets.py).
"""

import random
from collections import defaultdict
from collections.abc import Iterable

from benchmarks.mutation.mutants import Mutant


def order_mutants(mutants: Iterable[Mutant], seed: int) -> list[Mutant]:
    """A file's changes in the order in which they are drawn: a kind's second one comes after every kind's first."""
    by_kind: dict[str, list[Mutant]] = defaultdict(list)
    for mutant in mutants:
        by_kind[mutant.operator].append(mutant)
    chance = random.Random(seed)
    for kind in sorted(by_kind):
        by_kind[kind].sort(key=lambda mutant: mutant.id)
        chance.shuffle(by_kind[kind])
    kinds = sorted(by_kind)
    chance.shuffle(kinds)
    deepest = max((len(found) for found in by_kind.values()), default=0)
    return [by_kind[kind][depth] for depth in range(deepest) for kind in kinds if depth < len(by_kind[kind])]


def share_out(sizes: dict[str, int], wanted: int) -> dict[str, int]:
    """How many to draw of each file: by the root of what there is, so that small files have several too."""
    total = sum(size**0.5 for size in sizes.values())
    return {file: min(size, max(1, round(wanted * size**0.5 / total))) for file, size in sizes.items()}
