"""What the benchmarks' figures are made of, without a database."""

import json
import os
import sys
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from benchmarks import ablation, baseline, floors, report, soak
from benchmarks.place import Made, Place, code_stamp, machine_facts
from benchmarks.plot import draw_bars
from benchmarks.results import Median, Results
from benchmarks.scenarios import loaded_name, quick, scenarios
from benchmarks.watching import MB, run_watched
from omop_inc.sampling.scaling import scale_snapshot
from omop_inc.settings import Switch
from omop_inc.source.lines import layout_of, plain_batch
from omop_inc.source.snapshot import open_snapshot
from omop_inc.source.tables import SOURCE_TABLES

EXAMPLES = Path(__file__).parents[2] / "examples"
EXAMPLE = EXAMPLES / "snapshots" / "2020-06-17"
# Takes 60 MB in a child of a child, burns a little time, and reads some of a file.
GREEDY = (
    "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytearray(60 << 20); import time; time.sleep(0.4); sum(range(2000000))'])"
)


def _place(home: Path, *series: Path) -> Place:
    return Place(home=home, base=EXAMPLE, vocabulary=EXAMPLES / "vocabulary", series=series)


def _median(name: str, ratio: float | None) -> Median:
    values = dict.fromkeys(
        ("size_bytes", "rows", "delta_rows", "wall_s", "inside_s", "database_s", "floor_s", "cpu_s", "server_cpu_s", "peak_client_bytes",
         "peak_server_bytes", "read_bytes", "wal_bytes", "temp_bytes"), 2.0
    )  # fmt: skip
    return Median(name=name, count=3, values=values, ratio=ratio, spread=1.0, phases={"detect": 0.5, "codes": 0.001})


def _sample(inside_s: float, floor_s: float, **phases: float) -> dict[str, object]:
    return {"inside_s": inside_s, "floor_s": floor_s, "rows": 10, "phases": phases}


@pytest.mark.skipif(sys.platform != "linux", reason="memory of children is read from /proc")
def test_memory_and_processor_time_of_a_childs_child_are_seen() -> None:
    ended = run_watched([sys.executable, "-c", GREEDY], os.environ, server_pid=os.getpid())
    assert ended.code == 0
    assert 60 * MB < ended.client.peak_bytes < 200 * MB
    assert 0.02 < ended.cpu_s < 20
    assert ended.wall_s >= 0.4
    assert ended.server is not None
    assert ended.server.peak_bytes > 0


def test_output_and_code_of_a_failing_program_are_kept() -> None:
    ended = run_watched([sys.executable, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"], os.environ)
    assert (ended.code, ended.output) == (3, "why\n")


def test_medians_are_of_the_samples_and_their_own_ratios(tmp_path: Path) -> None:
    results = Results(path=tmp_path / "results.json", stamp="now")
    for inside_s, floor_s in ((2.0, 1.0), (9.0, 3.0), (4.0, 4.0)):
        results.add("day", _sample(inside_s, floor_s, detect=inside_s / 2), {"cores": "2"})
    middle = results.medians()["day"]
    assert (middle.count, middle.values["inside_s"], middle.ratio, middle.spread) == (3, 4.0, 2.0, 4.5)
    assert middle.phases == {"detect": 2.0}


def test_samples_of_other_code_give_way_and_are_told(tmp_path: Path) -> None:
    old, new = (Results(path=tmp_path / "results.json", stamp=stamp) for stamp in ("old", "new"))
    old.add("day", _sample(2, 1), {})
    assert (old.count("day"), new.count("day"), new.outdated()) == (1, 0, {"day"})
    new.add("day", _sample(3, 1), {})
    assert (old.count("day"), new.count("day"), new.outdated()) == (0, 1, set())
    new.forget("day")
    assert new.medians() == {}


def test_a_ratio_that_grew_is_a_regression_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "PATH", tmp_path / "baseline.json")
    before = {"day": _median("day", 2.0), "load": _median("load", 3.0), "vocabulary": _median("vocabulary", None)}
    baseline.write_baseline(before, {"cores": "2"})
    assert baseline.find_regressions(before, baseline.read_baseline()) == []
    now = {"day": _median("day", 2.7), "load": _median("load", 3.2), "new": _median("new", 9.0)}
    assert baseline.find_regressions(now, baseline.read_baseline()) == [baseline.Regression(name="day", before=2.0, now=2.7)]


def test_the_stored_baseline_is_of_scenarios_that_there_are(tmp_path: Path) -> None:
    known = set(scenarios(_place(tmp_path))) | {one.name for one in quick()}
    assert {name for name in baseline.read_baseline() if not name.startswith("series_")} <= known


def test_scenarios_cover_what_is_promised(tmp_path: Path) -> None:
    names = set(scenarios(_place(tmp_path, Path("1"), Path("2"), Path("8"))))
    kinds = ("full_load", "no_change", "day_1", "day_1_then", "day_9", "shuffled", "reload")
    assert {f"{kind}@{size}gb" for kind in kinds for size in ("0.1", "1")} <= names
    assert {"vocabulary", "constant_1x@0.1gb", "constant_3x@0.3gb", "constant_10x@1gb", "constant_10x@10gb"} <= names
    assert {"series_load", "series_no_change", "series_2", "series_8"} <= names


def test_a_made_snapshot_is_made_once_and_again_if_it_was_interrupted(tmp_path: Path) -> None:
    place = _place(tmp_path)
    one = place.scaled(0.004)
    assert one.rows > 2 * place.scaled(0.0001).rows
    assert place.scaled(0.004) == one
    day = place.mutated(0.004, 50)
    assert day.people > 0
    assert day.new + day.changed + day.removed > 0
    facts = next(path for path in one.folder.parent.glob("*.json") if path.stem == one.folder.name)
    facts.unlink()
    (one.folder / "patients.csv").write_text("cut")
    assert place.scaled(0.004) == one
    assert (one.folder / "patients.csv").read_bytes().count(b"\n") > 2


def test_floors_read_and_hash_every_row_of_a_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale_snapshot(EXAMPLE, tmp_path / "plain", copies=1)
    monkeypatch.setattr(floors, "RANGE_BYTES", 10_000)
    rows = sum(path.read_bytes().count(b"\n") - 1 for path in (tmp_path / "plain").iterdir())
    ranges = list(floors._ranges(tmp_path / "plain"))
    assert len(ranges) > 18
    assert sum(floors._hash_range(floors._hash_compiled, one) for one in ranges) == rows
    assert sum(floors._hash_range(floors._hash_interpreted, one) for one in ranges) == rows
    assert floors.read_once(tmp_path / "plain") > 0


def test_hashing_with_and_without_the_compiled_loop_gives_the_same(tmp_path: Path) -> None:
    scale_snapshot(EXAMPLE, tmp_path / "plain", copies=1)
    files = open_snapshot(tmp_path / "plain").files.values()
    assert len(files) == 18
    for file in files:
        layout, lines = layout_of(SOURCE_TABLES[file.table], file.header), file.path.read_bytes().partition(b"\n")[2]
        batch = plain_batch(lines, layout, 0)
        assert batch is not None
        assert np.array_equal(batch.hashes, floors.hash_in_python(lines, layout))


def test_the_page_keeps_what_stands_beside_its_sections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- figures: begin, made by ./dev bench -->\nold\n<!-- figures: end -->\nafter\n")
    monkeypatch.setattr(report, "PAGE", page)
    machine = machine_facts("15.1", {"shared_buffers": "4GB"})
    report.write_page({"day": _median("day", 2.0)}, {"day": "hash"}, {"day"}, machine, tmp_path / "plot.svg")
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old\n" not in text
    assert "| day (older code) | 0 | 2 |" in text
    assert "PostgreSQL 15.1" in text
    assert os.uname().nodename not in json.dumps(machine)
    ElementTree.fromstring((tmp_path / "plot.svg").read_text())


def test_large_snapshots_are_told_against_hashing_without_the_compiled_loop() -> None:
    day, small = (replace(_median("day", 2.0), extra={floors.HASH_IN_PYTHON: 0.5}) for _ in range(2))
    day.values["size_bytes"] = 1e9
    told = "- day: hashing every record from Python without a compiled loop, a process a core, takes 0.50 s; the run takes 4.00 times that."
    assert report.hashing_note({"day": day, "small": small, "load": _median("load", 3.0)}) == told


def test_the_plot_holds_a_bar_for_every_row() -> None:
    drawn = ElementTree.fromstring(draw_bars("A < B", [("one", 1.5, "1.5"), ("two & three", 3.0, "3.0")]))
    bars = [float(one.get("width", "")) for one in drawn.iter("{http://www.w3.org/2000/svg}rect")][1:]
    assert bars[1] == pytest.approx(2 * bars[0], rel=0.01)


def test_names_of_databases_can_be_told_apart(tmp_path: Path) -> None:
    names = [loaded_name(Made(folder=tmp_path / name, size_bytes=1, rows=1)) for name in ("1gb", "0.1gb", "20240501")]
    assert names == ["bench_loaded_1gb", "bench_loaded_0_1gb", "bench_loaded_20240501"]


def test_the_codes_stamp_follows_the_code() -> None:
    assert code_stamp() == code_stamp()
    assert len(code_stamp()) == 12


def _day(number: int, run_s: float, size: int) -> soak.Day:
    counts = {**dict.fromkeys(soak.COUNTS, size), "ledger_rows": 7}
    return soak.Day(day=number, run_s=run_s, rows=10, delta_rows=1, sizes=dict.fromkeys(soak.SIZES, size), counts=counts, steps={})


def test_the_soak_tells_how_times_and_sizes_went() -> None:
    days = [_day(number, 1.0 if number < 50 else 2.0, number * 1000) for number in range(101)]
    turns = {"new": [1.0, 2.0, 4.0], "old": [1.1, 2.4, 4.4], "old, vacuumed": [1.0, 2.2, 4.0]}
    repeats = {1: _day(100, 1, 5000), 100: _day(100, 1, 9000), 1000: _day(100, 1, 9000)}
    told = soak.describe(days, repeats, turns, machine_facts("15.1", {"shared_buffers": "4GB"}))
    assert "takes 2.00 times that of the first 10" in told
    assert told.count("\n| ") == soak.SHOWN + 1 + len(turns) + 1  # and the headings
    assert "| old | all days before, as they left it | 2.40 | 1.10 | 3 |" in told
    assert "| 100 | 2.00 |" in told
    assert "from run 1 to run 100: database +4 kB" in told
    assert "from run 100 to run 1,000: nothing grew; ledger rows +0" in told


def test_the_ablation_says_what_pays_what_costs_and_what_makes_no_difference() -> None:
    assert [ablation.verdict(effect) for effect in (2.0, 1.05, 1.0, 0.96, 0.9)] == ["pays", "pays", *["no difference in time"] * 2, "costs"]


def test_every_switch_of_the_product_is_measured() -> None:
    assert {one.name for one in ablation.OPTIMISATIONS} == set(get_args(Switch))
