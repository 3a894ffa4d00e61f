"""The benchmarks themselves, on the example: each kind of scenario runs, checks what the run found, and leaves figures."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import ablation, alternatives
from benchmarks import scenarios as all_scenarios
from benchmarks.place import Place
from benchmarks.results import Results
from benchmarks.samples import BenchError, measure
from benchmarks.scenarios import Bench
from benchmarks.server import _pinned_programs, start_server, stop_server
from omop_inc.store.postgres_programs import SOURCE_VARIABLE, find_programs
from tests.stores import EXAMPLES

pytestmark = pytest.mark.slow

SIZE = 0.002


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    home = tmp_path_factory.mktemp("bench")
    place = Place(home=home, base=EXAMPLES / "snapshots" / "2020-06-17", vocabulary=EXAMPLES / "vocabulary", series=())
    yield Bench(place=place, server=start_server(home), stamp="now", tell=lambda _: None)
    stop_server(home)


def test_every_kind_of_scenario_gives_a_sample(bench: Bench) -> None:
    chosen = [one for one in all_scenarios._main(SIZE) if not one.name.startswith(("day_1@", "reload"))]  # as the others, but longer
    taken = {one.name: one.take(bench) for one in [*chosen, all_scenarios._vocabulary_scenario()]}
    for name, sample in taken.items():
        assert sample.floor_s, name
        assert sample.wall_s >= sample.inside_s >= sample.database_s > 0, name
        assert sample.peak_client_bytes > 20_000_000, name
        assert sample.rows > 1000, name
    load, same, day, shuffled = (taken[f"{kind}@{SIZE:g}gb"] for kind in ("full_load", "no_change", "day_9", "shuffled"))
    assert load.delta_rows == load.rows
    assert min(load.wal_bytes, day.wal_bytes) > 10 * same.wal_bytes
    assert (same.delta_rows, shuffled.delta_rows) == (0, 0)
    assert day.delta_rows > 0
    assert taken[f"day_1_then@{SIZE:g}gb"].delta_rows > 0
    assert {"open", "detect", "stage", "publish"} <= set(day.phases)
    assert same.read_bytes > bench.place.scaled(SIZE).size_bytes


def test_the_server_is_the_wheels_and_the_environment_stays_as_it_was(bench: Bench) -> None:
    wanted = os.environ.get(SOURCE_VARIABLE)
    assert bench.server.version == find_programs(source=wanted or "wheel").version  # type: ignore[arg-type]
    with _pinned_programs():
        assert os.environ[SOURCE_VARIABLE] == (wanted or "wheel")
    assert os.environ.get(SOURCE_VARIABLE) == wanted


def test_a_run_that_finds_another_difference_than_there_is_counts_for_nothing(bench: Bench) -> None:
    before, after = bench.place.scaled(SIZE), bench.place.mutated(SIZE, 9)
    wrong = after.__class__(**{**vars(after), "new": after.new + 1})
    template = bench.loaded(before)
    with bench.server.fresh("bench_wrong", template), pytest.raises(BenchError, match="The run found"):
        measure(bench.server, "bench_wrong", wrong, bench.place.home)
    with bench.server.fresh("bench_wrong", template), pytest.raises(BenchError, match=re.escape("ended as no_change, expected applied")):
        measure(bench.server, "bench_wrong", before, bench.place.home)


def test_the_ways_not_taken_find_the_same_as_the_one_that_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alternatives, "FILLER_CONCEPTS", 1000)
    day, template = bench.place.mutated(SIZE, 9), bench.loaded(bench.place.scaled(SIZE))
    for other in alternatives.ALTERNATIVES:
        for is_ours in (True, False):
            with bench.server.fresh("bench_way", template) as url:
                assert other.measure(url, day.folder, is_ours) > 0


def test_an_optimisation_is_measured_with_and_without(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(ablation, "SIZE_GB", SIZE)
    monkeypatch.setattr(ablation, "PAIRS", 1)
    results = Results(path=tmp_path / "ablation.json", stamp="now")
    for name in ("unlogged:day of 1 %", "postgres_settings:no change"):
        switch, what = name.split(":")
        try:
            ablation._take(results, name, ablation._switched(bench, switch, what), {})
        finally:
            stop_server(bench.place.home / "plain")
    medians = results.medians()
    on, off = (medians[f"unlogged:day of 1 %:{key}"] for key in ("with", "without"))
    assert off.values["wal_bytes"] > on.values["wal_bytes"]
    assert "| unlogged |" in ablation.table(medians)
