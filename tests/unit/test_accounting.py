import pytest

from omop_inc.runs.accounting import Held, Moves, account
from omop_inc.runs.detect import Seen
from omop_inc.store.state import TableState
from omop_inc.telling.summary import SourceCounts


def seen(rows: int, loaded_before: int) -> Seen:
    before = TableState(rows=loaded_before, loaded=loaded_before)
    return Seen(table="conditions", file=None, before=before, digest=None, rows=rows, hash_sum=0)


@pytest.mark.parametrize(
    ("rows", "loaded", "moves", "held", "copies_before", "expected"),
    [
        pytest.param(5, 5, Moves(), Held(), 0, SourceCounts(read=5, unchanged=5), id="nothing moved"),
        pytest.param(6, 4, Moves(entered=2), Held(), 0, SourceCounts(read=6, unchanged=4, new=2), id="new rows"),
        pytest.param(2, 5, Moves(left=3), Held(), 0, SourceCounts(read=2, unchanged=2, removed=3), id="removed rows"),
        pytest.param(
            6, 5, Moves(entered=3, left=2, changed=1), Held(), 0, SourceCounts(read=6, unchanged=3, new=2, changed=1, removed=1), id="all kinds"
        ),
        pytest.param(
            9, 4, Moves(entered=1, left=1), Held(quarantined=3, pending=2), 0,
            SourceCounts(read=9, unchanged=3, new=1, removed=1, quarantined=3, pending=2), id="held rows count apart",
        ),
        pytest.param(7, 5, Moves(), Held(copies=2), 0, SourceCounts(read=7, unchanged=5, new=2), id="copies that came are new"),
        pytest.param(5, 5, Moves(), Held(), 2, SourceCounts(read=5, unchanged=5, removed=2), id="copies that went are removed"),
        pytest.param(7, 5, Moves(), Held(copies=2), 2, SourceCounts(read=7, unchanged=7), id="copies that stay"),
    ],
)  # fmt: skip
def test_account_gives_every_row_one_fate(rows: int, loaded: int, moves: Moves, held: Held, copies_before: int, expected: SourceCounts) -> None:
    counts = account(seen(rows, loaded), moves, held, copies_before)
    assert counts == expected
    assert counts.adds_up


def test_account_that_does_not_add_up_says_so() -> None:
    assert not account(seen(5, 4), Moves(), Held(), 0).adds_up
