import numpy as np

from omop_inc.runs.detect import Seen, digest_snapshot
from omop_inc.source.deltas import Delta64, Multiset
from omop_inc.store.state import TableState


def multiset(*values: int) -> Multiset:
    return Multiset(values=np.array(values, dtype=np.uint64), counts=np.ones(len(values), dtype=np.int64))


def seen(delta: Delta64 | None) -> Seen:
    return Seen(table="conditions", file=None, before=TableState(), digest=None, rows=0, hash_sum=0, delta=delta)


def test_seen_is_changed_when_a_row_came_or_went() -> None:
    assert not seen(None).is_changed
    assert not seen(Delta64(new=multiset(), removed=multiset(), unchanged=3)).is_changed
    assert seen(Delta64(new=multiset(1), removed=multiset(), unchanged=0)).is_changed
    assert seen(Delta64(new=multiset(), removed=multiset(1), unchanged=0)).is_changed


def test_digest_of_a_snapshot_follows_every_tables_rows_and_content_alone() -> None:
    one = digest_snapshot({"patients": (2, 7), "claims": (1, 9)})
    assert len(one) == 32
    assert digest_snapshot({"claims": (1, 9), "patients": (2, 7)}) == one
    assert digest_snapshot({"claims": (1, 9), "patients": (2, 7), "devices": (0, 0)}) == one
    others = [
        digest_snapshot({"patients": (2, 7)}),
        digest_snapshot({"patients": (2, 8), "claims": (1, 9)}),
        digest_snapshot({"patients": (1, 9), "claims": (2, 7)}),
        digest_snapshot({"patients": (3, 7), "claims": (1, 9)}),
    ]
    assert len({one, *others}) == 5
