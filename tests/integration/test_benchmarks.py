"""The benchmarks themselves, on the example: each kind of scenario runs, checks what the run found, and leaves figures."""

import re
from collections.abc import Iterator

import pytest

from benchmarks import scenarios as all_scenarios
from benchmarks.place import Place
from benchmarks.samples import BenchError, measure
from benchmarks.scenarios import Bench
from benchmarks.server import start_server, stop_server
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
    chosen = [one for one in all_scenarios._main(SIZE) if not one.name.startswith(("day_1", "reload"))]  # as the others, but longer
    taken = {one.name: one.take(bench) for one in [*chosen, all_scenarios._vocabulary_scenario()]}
    for name, sample in taken.items():
        assert sample.floor_s, name
        assert sample.wall_s >= sample.inside_s >= sample.database_s > 0, name
        assert sample.peak_client_bytes > 20_000_000, name
        assert sample.rows > 1000, name
    load, same, day, shuffled = (taken[f"{kind}@{SIZE:g}gb"] for kind in ("full_load", "no_change", "day_9", "shuffled"))
    assert load.delta_rows == load.rows
    assert load.wal_bytes > day.wal_bytes > 0
    assert (same.delta_rows, shuffled.delta_rows) == (0, 0)
    assert day.delta_rows > 0
    assert {"open", "detect", "stage", "publish"} <= set(day.phases)
    assert same.read_bytes > bench.place.scaled(SIZE).size_bytes


def test_a_run_that_finds_another_difference_than_there_is_counts_for_nothing(bench: Bench) -> None:
    before, after = bench.place.scaled(SIZE), bench.place.mutated(SIZE, 9)
    wrong = after.__class__(**{**vars(after), "new": after.new + 1})
    template = bench.loaded(before)
    with bench.server.fresh("bench_wrong", template), pytest.raises(BenchError, match="The run found"):
        measure(bench.server, "bench_wrong", wrong, bench.place.home)
    with bench.server.fresh("bench_wrong", template), pytest.raises(BenchError, match=re.escape("ended as no_change, expected applied")):
        measure(bench.server, "bench_wrong", before, bench.place.home)
