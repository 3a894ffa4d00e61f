"""The checks of a run: what it counts, keeps and refuses; incremental counts equal those of a full check."""

from pathlib import Path

from tests.factories import small_world
from tests.quality import disagreements
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot


def test_counts_of_increments_are_those_of_a_full_check(cdm: Cdm, tmp_path: Path) -> None:
    history = History(small_world(3))
    cdm.run(write_snapshot(tmp_path / "a", history.step([])))
    assert disagreements(cdm) == []
    changes = [Change("leave"), Change("update", "encounters", 0, 7, 1), Change("double", "conditions"), Change("arrive", row=3)]
    cdm.run_allowed(write_snapshot(tmp_path / "b", history.step(changes)))
    assert disagreements(cdm) == []
