"""Each optimisation left out alone: what a run takes with it and without it, on the same data in one session.

Belongs here: which optimisation is measured on what, and the table. Does not: the switches themselves (the product's
setting `without`), alternatives that are no part of the product (alternatives.py).

`./dev bench-ablation` takes what is missing; with and without take turns, so that a machine that slows down slows both.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks import report
from benchmarks.alternatives import ALTERNATIVES, Compared
from benchmarks.place import Made, code_stamp, find_place, machine_facts
from benchmarks.results import Median, Results
from benchmarks.samples import BenchError, Sample, measure
from benchmarks.scenarios import RUN, Bench
from benchmarks.server import start_server, stop_server
from omop_inc.errors import OmopIncError

SIZE_GB = 0.1
PAIRS = 3
# Between these the difference is chance.
PAYS_FROM, COSTS_BELOW = 1.05, 0.95

# What is run: a first load, a day of 1 %, the same snapshot again.
LOAD, DAY, SAME = "full load", "day of 1 %", "no change"


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """One optimisation and what it is measured on."""

    name: str  # of the switch
    about: str
    measured_on: tuple[str, ...]


OPTIMISATIONS = (
    Optimisation(name="pool", about="connections are lent again instead of opened for each piece of work", measured_on=(DAY,)),
    Optimisation(name="copy", about="COPY instead of one INSERT a row (executemany)", measured_on=(LOAD,)),
    Optimisation(name="binary_copy", about="rows written as the server's own binary values instead of text that it has to read", measured_on=(LOAD,)),
    Optimisation(name="drop_indexes", about="indexes are made when the rows are in", measured_on=(LOAD,)),
    Optimisation(name="concurrency", about="tables and transforms side by side instead of one after another", measured_on=(LOAD, DAY)),
    Optimisation(name="postgres_settings", about="the server's and the sessions' settings instead of PostgreSQL's defaults", measured_on=(LOAD, DAY)),
    Optimisation(name="unlogged", about="the run's own tables write no WAL", measured_on=(LOAD, DAY)),
    Optimisation(name="analyze", about="statistics of what was just written, before it is joined", measured_on=(LOAD, DAY)),
    Optimisation(name="disk_cache", about="the code map of the last run from disk", measured_on=(LOAD, DAY)),
    Optimisation(name="chunking", about="a file in chunks instead of whole", measured_on=(LOAD,)),
    Optimisation(name="file_digests", about="a file whose digest is the last run's is not looked into", measured_on=(SAME,)),
)


def main(arguments: list[str] | None = None) -> int:
    """Take the pairs that are missing and write the table."""
    parser = argparse.ArgumentParser(prog="./dev bench-ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, parted by commas")
    parser.add_argument("--again", action="store_true", help="measure anew what is measured already")
    options = parser.parse_args(arguments)
    wanted = options.only.split(",") if options.only else None
    place = find_place()
    place.home.mkdir(parents=True, exist_ok=True)
    server = start_server(place.home)
    results = Results(path=place.home / "ablation.json", stamp=code_stamp())
    bench = Bench(place=place, server=server, stamp=results.stamp, tell=_say)
    machine = machine_facts(server.version, server.settings)
    failed = []
    try:
        for name, take in _all(bench).items():
            if wanted and name.split(":")[0] not in wanted:
                continue
            if options.again:
                _forget(results, name)
            try:
                _take(results, name, take, machine)
            except (BenchError, OmopIncError, OSError) as error:
                _say(f"{name} failed: {error}")
                failed.append(name)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        return 130
    finally:
        stop_server(place.home)
        stop_server(place.home / "plain")
    text = f"{SIZE_GB:g} GB of export, {PAIRS} pairs each, on {report.machine_line(machine)}\n\n{table(results.medians())}"
    print(text)
    report.write_section("ablation", text)
    return int(bool(failed))


Take = Callable[[bool], Sample]  # with or without


def _all(bench: Bench) -> dict[str, Take]:
    """Every pair by `name:what it is measured on`."""
    found: dict[str, Take] = {}
    for one in OPTIMISATIONS:
        for what in one.measured_on:
            found[f"{one.name}:{what}"] = _switched(bench, one.name, what)
    for other in ALTERNATIVES:
        found[f"{other.name}:{other.measured_on}"] = _compared(bench, other)
    return found


def _switched(bench: Bench, name: str, what: str) -> Take:
    def take(is_on: bool) -> Sample:  # noqa: FBT001 - it is what differs
        at = bench
        if name == "postgres_settings" and not is_on:
            plain = start_server(bench.place.home / "plain", without=frozenset({name}))
            at = replace(bench, server=plain, stamp=bench.stamp + " plain")
        return _run(at, what, "" if is_on else name)

    return take


def _run(bench: Bench, what: str, without: str) -> Sample:
    """Run the product once; what is loaded before was loaded without the optimisation as well."""
    base = bench.place.scaled(SIZE_GB)
    source: Made = bench.place.mutated(SIZE_GB, 1) if what == DAY else base
    bench.server.create(RUN, bench.vocabulary() if what == LOAD else bench.loaded(base, without))
    try:
        bench.server.quieten()
        expected = "no_change" if what == SAME else "applied"
        return measure(bench.server, RUN, source, bench.place.home, expected=expected, settings={"OMOP_INC_WITHOUT": without})
    finally:
        bench.server.drop(RUN)


def _compared(bench: Bench, other: Compared) -> Take:
    def take(is_on: bool) -> Sample:  # noqa: FBT001 - it is what differs
        base, day = bench.place.scaled(SIZE_GB), bench.place.mutated(SIZE_GB, 1)
        with bench.server.fresh(RUN, bench.loaded(base)) as url:
            bench.server.quieten()
            seconds = other.measure(url, day.folder, is_on)
        return Sample.of_seconds(seconds, base.size_bytes)

    return take


def _take(results: Results, name: str, take: Take, machine: dict[str, str]) -> None:
    for number in range(PAIRS):
        for is_on in (True, False):
            key = _key(name, is_on)
            if results.count(key) <= number:
                sample = take(is_on)
                results.add(key, sample.as_json(), machine)
                _say(f"{key} {number + 1}/{PAIRS}: {sample.inside_s:.2f} s")


def _forget(results: Results, name: str) -> None:
    for is_on in (True, False):
        results.forget(_key(name, is_on))


def _key(name: str, is_on: bool) -> str:  # noqa: FBT001 - it is what differs
    return f"{name}:{'with' if is_on else 'without'}"


def table(medians: dict[str, Median]) -> str:
    """The table of the page: what each optimisation is worth."""
    lines = ["| optimisation | what it is | measured on | without s | with s | effect | memory MB without, with | WAL MB without, with | verdict |"]
    lines.append("|---|---|---|---:|---:|---:|---:|---:|---|")
    rows = [(one.name, one.about, what) for one in OPTIMISATIONS for what in one.measured_on]
    rows += [(other.name, other.about, other.measured_on) for other in ALTERNATIVES]
    for name, about, what in rows:
        on, off = (medians.get(_key(f"{name}:{what}", is_on)) for is_on in (True, False))
        if on is None or off is None:
            continue
        effect = off.values["inside_s"] / on.values["inside_s"]
        memory, wal = (_pair(off, on, key) for key in ("peak_client_bytes", "wal_bytes"))
        seconds = f"{off.values['inside_s']:.2f} | {on.values['inside_s']:.2f} | {effect:.2f} times"
        lines.append(f"| {name} | {about} | {what} | {seconds} | {memory} | {wal} | {verdict(effect)} |")
    return "\n".join(lines)


def verdict(effect: float) -> str:
    """What an effect means: time without by time with."""
    if effect >= PAYS_FROM:
        return "pays"
    return "costs" if effect < COSTS_BELOW else "no difference in time"


def _pair(off: Median, on: Median, key: str) -> str:
    if not on.values[key]:
        return ""
    return f"{off.values[key] / report.MB:,.0f}, {on.values[key] / report.MB:,.0f}"


def _say(text: str) -> None:
    print(f"ablation: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
