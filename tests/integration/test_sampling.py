"""What omop-inc sample makes, loaded: it is honest data, and a run finds just the difference that it tells."""

from pathlib import Path

import pytest

from omop_inc.sampling.mutation import mutate_snapshot
from omop_inc.sampling.scaling import scale_snapshot
from omop_inc.telling.summary import Summary
from tests.stores import EXAMPLES, Cdm


def _no_row_held(summary: Summary) -> bool:
    return not any(counts.quarantined or counts.pending or counts.rejected for counts in summary.source_tables.values())


@pytest.mark.parametrize("seed", [1, 2])
def test_a_run_finds_the_difference_that_the_sample_tells(cdm: Cdm, tmp_path: Path, seed: int) -> None:
    scale_snapshot(EXAMPLES / "snapshots" / "2020-06-17", tmp_path / "0", copies=4, seed=seed)
    first = cdm.run(tmp_path / "0")
    assert _no_row_held(first)
    assert first.unknown_references == dict.fromkeys(first.unknown_references, 0)
    for day in (1, 2):
        told = mutate_snapshot(tmp_path / str(day - 1), tmp_path / str(day), percent=50, seed=seed)
        summary = cdm.run_allowed(tmp_path / str(day))
        assert _no_row_held(summary)
        for table, truth in told.tables.items():
            counts = summary.source_tables[table]
            found = {"rows": counts.read, "new": counts.new, "changed": counts.changed, "removed": counts.removed}
            assert found == {name: getattr(truth, name) for name in found}, table
    fresh = Cdm(cdm.url, cdm.state_dir, "fresh")
    rebuilt = fresh.run(tmp_path / "2")
    assert {t: c["total"] for t, c in summary.cdm_tables.items()} == {t: c["total"] for t, c in rebuilt.cdm_tables.items()}


def test_a_shuffled_snapshot_is_no_change(cdm: Cdm, tmp_path: Path) -> None:
    source = EXAMPLES / "snapshots" / "2020-06-17"
    cdm.run(source)
    mutate_snapshot(source, tmp_path / "shuffled", percent=0, shuffle=True)
    assert cdm.run(tmp_path / "shuffled").status == "no_change"
