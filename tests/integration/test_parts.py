"""A snapshot whose files are read in parts by several threads leaves what reading them whole leaves."""

from pathlib import Path

import pytest

from omop_inc.runs import detect
from omop_inc.runs.loading import MOST_WHOLE
from omop_inc.source import parts
from omop_inc.source.snapshot import open_snapshot
from tests.comparing import IdHistory, differences, exact_differences
from tests.factories import small_world
from tests.stores import Cdm
from tests.worlds import Change, History, write_snapshot

BAD = b"2020-01-01,too,few\n"


@pytest.fixture
def cut_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART_BYTES", 400)  # two or more parts of every file from 800 bytes on


@pytest.mark.usefixtures("cut_small")
@pytest.mark.parametrize("workers", [MOST_WHOLE, MOST_WHOLE + 2], ids=["a connection a table", "a connection a part"])
def test_loads_reloads_and_increments_in_parts_are_those_of_whole_files(
    cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    whole, ids = Cdm(cdm.url, cdm.state_dir, "whole"), IdHistory()
    history = History(small_world(4))
    a = write_snapshot(tmp_path / "a", history.step([]))
    b = write_snapshot(
        tmp_path / "b", history.step([Change("update", "encounters", 0, 2, 3), Change("double", "procedures"), Change("delete", "claims")])
    )
    for file in (a / "conditions.csv", b / "conditions.csv"):
        lines = file.read_bytes().splitlines(keepends=True)
        file.write_bytes(b"".join([*lines[:-1], BAD, *lines[-1:]]))
    cdm.run(a, workers=workers)
    assert ids.check(cdm.read()) == []
    cdm.run(b, workers=workers)
    assert ids.check(cdm.read()) == []
    before = cdm.read()
    cdm.run_allowed(b, "full_reload", workers=workers)
    assert exact_differences(before, cdm.read()) == []
    assert cdm.run(b).status == "no_change"
    bad = "SELECT source_table, rule, line FROM {}_quarantine.bad_record"
    found = cdm.query(bad.format("cdm"))
    monkeypatch.undo()
    whole.run(b)
    assert found == whole.query(bad.format("whole")) != []
    assert differences(cdm.read(), whole.read()) == []


@pytest.mark.usefixtures("cut_small")
def test_a_large_file_in_which_quotes_appear_is_read_whole(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, world = Cdm(cdm.url, cdm.state_dir, "whole"), small_world(4)
    a = write_snapshot(tmp_path / "a", world)
    for row in world["conditions"][1::2]:
        row["DESCRIPTION"] = "a text\nof two lines, " + "and long " * 20
    b = write_snapshot(tmp_path / "b", world)
    cdm.run(a)
    cdm.run(b)
    assert cdm.run(b).status == "no_change"
    monkeypatch.undo()
    whole.run(b)
    assert differences(cdm.read(), whole.read()) == []


@pytest.mark.usefixtures("cut_small")
@pytest.mark.parametrize("workers", [MOST_WHOLE, MOST_WHOLE + 2], ids=["a connection a table", "a connection a part"])
def test_a_load_that_comes_upon_a_quote_begins_the_file_anew(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    whole, world = Cdm(cdm.url, cdm.state_dir, "whole"), small_world(12)
    world["conditions"][-1]["DESCRIPTION"] = "a text\nof two lines, " + "and long " * 20
    a = write_snapshot(tmp_path / "a", world)
    lines = (a / "conditions.csv").read_bytes().splitlines(keepends=True)
    (a / "conditions.csv").write_bytes(b"".join([lines[0], BAD, *lines[1:]]))
    assert len(parts.split_file(open_snapshot(a).files["conditions"])) > 2
    loaded = cdm.run(a, workers=workers)
    before, bad = cdm.read(), cdm.query("SELECT rule, line FROM cdm_quarantine.bad_record")
    cdm.run_allowed(a, "full_reload", workers=workers)
    assert exact_differences(before, cdm.read()) == []
    assert cdm.query("SELECT rule, line FROM cdm_quarantine.bad_record") == bad == [("field_count", 2)]
    hashed: list[str] = []
    monkeypatch.setattr(detect, "_hash_file", lambda file, *_, **__: hashed.append(file.table))
    assert cdm.run(a).status == "no_change"
    assert hashed == []
    monkeypatch.undo()
    counted = whole.run(a)
    assert counted.source_tables["conditions"] == loaded.source_tables["conditions"]
    assert differences(cdm.read(), whole.read()) == []


@pytest.mark.usefixtures("cut_small")
def test_a_changed_file_of_the_same_size_is_found_and_an_equal_one_is_not_hashed(cdm: Cdm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    a = write_snapshot(tmp_path / "a", small_world(2))
    text = (a / "patients.csv").read_text()
    cdm.run(a)
    hashed: list[str] = []
    real = detect._hash_file
    monkeypatch.setattr(detect, "_hash_file", lambda file, *others, **how: hashed.append(file.table) or real(file, *others, **how))
    assert cdm.run(a).status == "no_change"
    assert hashed == []
    (a / "patients.csv").write_text(text.replace(",M,", ",F,", 1) if ",M," in text else text.replace(",F,", ",M,", 1))
    assert (a / "patients.csv").stat().st_size == len(text.encode())
    changed = cdm.run(a)
    assert set(hashed) == {"patients"}
    assert changed.source_tables["patients"].changed == 1
    assert cdm.run(a).status == "no_change"
