"""A snapshot whose files are read in parts by several processes leaves what reading them whole leaves."""

from pathlib import Path

import pytest

from omop_inc.source import parts
from tests.comparing import IdHistory, differences, exact_differences
from tests.factories import small_world
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

BAD = b"2020-01-01,too,few\n"


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 400)  # two or more parts of every file from 800 bytes on


@pytest.mark.usefixtures("cut_small")
def test_loads_reloads_and_increments_in_parts_are_those_of_whole_files(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, ids = Cdm(cdm.url, cdm.state_dir, "whole"), IdHistory()
    history = History(small_world(4))
    a = write_snapshot(tmp_path / "a", history.step([]))
    b = write_snapshot(
        tmp_path / "b", history.step([Change("update", "encounters", 0, 2, 3), Change("double", "procedures"), Change("delete", "claims")])
    )
    for file in (a / "conditions.csv", b / "conditions.csv"):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([*lines[:-1], BAD, *lines[-1:]]))
    cdm.run(a)
    assert ids.check(cdm.read()) == []
    cdm.run(b)
    assert ids.check(cdm.read()) == []
    before = cdm.read()
    cdm.run_allowed(b, "full_reload")
    assert exact_differences(before, cdm.read()) == []
    assert cdm.run(b).status == "no_change"
    bad = "SELECT source_table, rule, line FROM {}_quarantine.bad_record"
    found = cdm.query(bad.format("cdm"))
    monkeypatch.undo()
    whole.run(b)
    assert found == whole.query(bad.format("whole")) != []
    assert differences(cdm.read(), whole.read()) == []
