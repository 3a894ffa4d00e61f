"""A hundred days in a row, and a thousand runs that find nothing: do times stay flat and tables bounded?

Belongs here: the soak's days, what is noted of each, and its section of docs/benchmarks.md. Does not: other scenarios.

Days differ in size, and the machine's speed from one minute to the next, so that the first and the last of them say little. What age does is
measured on one day: the last one, applied in turns to copies of the old store and of a new one that holds the same.

`python -m benchmarks.soak --days 100 --percent 1` takes its runs in this process, so that Python's start does not count.
"""

import argparse
import json
import shutil
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import psycopg

from benchmarks import report
from benchmarks.place import Place, find_place, machine_facts
from benchmarks.scenarios import Bench
from benchmarks.server import Server, start_server, stop_server
from omop_inc.runs.snapshots import Request, apply_snapshot
from omop_inc.sampling.mutation import mutate_snapshot
from omop_inc.settings import Settings, load_settings

DATABASE = "bench_soak"
# Days whose middle is compared, at the beginning and at the end.
COMPARED = 10
SHOWN = 12  # rows of the table
# How often the last day is applied to a copy of each store.
TURNS = 7
STORES = {
    "new": "one load of the day before",
    "old": "all days before, as they left it",
    "old, vacuumed": "the same behind VACUUM, which autovacuum does where a day is a day",
}

_OF_SCHEMA = "SELECT sum(pg_total_relation_size(oid)) FROM pg_class WHERE relkind = 'r' AND relnamespace = '{}'::regnamespace"
SIZES = {
    "database": "SELECT pg_database_size(current_database())",
    "cdm": _OF_SCHEMA.format("cdm"),
    "staging": _OF_SCHEMA.format("cdm_staging"),
    "hash_segment": "SELECT pg_total_relation_size('cdm_state.hash_segment')",
    "tombstone": "SELECT pg_total_relation_size('cdm_state.tombstone')",
    "change_feed": "SELECT pg_total_relation_size('cdm_ledger.change_feed')",
    "step_timing": "SELECT pg_total_relation_size('cdm_ledger.step_timing')",
    "run": "SELECT pg_total_relation_size('cdm_ledger.run')",
    "catalog": _OF_SCHEMA.format("pg_catalog"),
}
COUNTS = {
    "dead_tuples": "SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables",
    "live_tuples": "SELECT coalesce(sum(n_live_tup), 0) FROM pg_stat_user_tables WHERE schemaname IN ('cdm', 'cdm_staging')",
    "ledger_rows": "SELECT (SELECT count(*) FROM cdm_ledger.run) + (SELECT count(*) FROM cdm_ledger.step_timing)",
    "segments": "SELECT count(*) FROM cdm_state.hash_segment",
}


_COPIES = (f"{DATABASE}_new", f"{DATABASE}_vacuumed", f"{DATABASE}_copy")
Turns = dict[str, list[float]]  # seconds of the last day's run, by store
Repeats = dict[int, "Day"]  # what is noted of runs of the last day again, by their number


@dataclass(frozen=True, kw_only=True)
class Day:
    """What is noted of a day."""

    day: int  # 0: the first load
    run_s: float
    rows: int
    delta_rows: int
    sizes: dict[str, int]  # bytes
    counts: dict[str, int]
    steps: dict[str, float]  # seconds by step, summed over tables


def main(arguments: list[str] | None = None) -> int:
    """Run the soak and write its section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--percent", type=float, default=1.0)
    parser.add_argument("--size-gb", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=1000, help="runs of the last snapshot again")
    parser.add_argument("--no-page", action="store_true", help="print only")
    options = parser.parse_args(arguments)
    place = find_place()
    place.home.mkdir(parents=True, exist_ok=True)
    server = start_server(place.home)
    try:
        days, repeats, turns = soak(place, server, options.days, options.percent, options.size_gb, options.repeats)
    finally:
        stop_server(place.home)
    text = describe(days, repeats, turns, machine_facts(server.version, server.settings))
    print(text)
    if not options.no_page:
        report.write_section("soak", text)
    return 0


def soak(place: Place, server: Server, count: int, percent: float, size_gb: float, repeats: int) -> tuple[list[Day], Repeats, Turns]:
    """Apply day after day, then the last one again and again.

    Returns:
        The days; what is noted of the runs that change nothing; how long the last day took on each of STORES.
    """
    bench = Bench(place=place, server=server, stamp="soak", tell=_say)
    server.create(DATABASE, bench.vocabulary())
    settings = load_settings(state_dir=place.home, database_url=server.url(DATABASE))
    folders = place.home / "soak"
    shutil.rmtree(folders, ignore_errors=True)
    folders.mkdir()
    source, days = place.scaled(size_gb).folder, []
    turns: Turns = {}
    try:
        for number in range(count + 1):
            if number:
                target = folders / str(number)
                mutate_snapshot(source, target, percent=percent, seed=number)
                if number == count:
                    turns = _take_turns(bench, settings, source, target)
                shutil.rmtree(folders / str(number - 1), ignore_errors=True)
                source = target
            days.append(_apply(number, source, settings, "applied"))
            with (place.home / "soak.jsonl").open("a" if number else "w") as log:
                log.write(json.dumps(asdict(days[-1])) + "\n")
            _say(f"day {number}/{count}: {days[-1].run_s:.2f} s, {days[-1].delta_rows} rows changed, {days[-1].sizes['database'] / report.MB:.0f} MB")
        noted = sorted({1, min(settings.keep_runs, repeats), repeats})
        runs = {number: _apply(count, source, settings, "no_change", is_noted=number in noted) for number in range(1, repeats + 1)}
        return days, {number: runs[number] for number in noted}, turns
    finally:
        shutil.rmtree(folders, ignore_errors=True)
        for name in (DATABASE, *_COPIES):
            server.drop(name)


def _take_turns(bench: Bench, settings: Settings, before: Path, day: Path) -> Turns:
    """Apply a day to copies of the old store, of itself vacuumed, and of a new one, in turns."""
    server = bench.server
    turns: Turns = {store: [] for store in STORES}
    new, vacuumed, copy = _COPIES

    def of(database: str) -> Settings:
        return load_settings(state_dir=settings.state_dir, database_url=server.url(database))

    server.create(vacuumed, DATABASE)
    server.create(new, bench.vocabulary())
    _apply(0, before, of(new), "applied", is_noted=False)
    for database in (new, vacuumed):
        server.vacuum(database)
    for number in range(TURNS):
        for store, database in zip(STORES, (new, DATABASE, vacuumed), strict=True):
            server.create(copy, database)
            server.quieten()
            turns[store].append(_apply(1, day, of(copy), "applied", is_noted=False).run_s)
        _say(f"turn {number + 1}/{TURNS}: " + ", ".join(f"{store} {times[-1]:.2f} s" for store, times in turns.items()))
    return turns


def _apply(number: int, source: Path, settings: Settings, expected: str, *, is_noted: bool = True) -> Day:
    summary, error = apply_snapshot(Request(source=source), settings)
    if error is not None and summary.status == "refused":  # a small table may lose a share that a guard minds
        summary, error = apply_snapshot(Request(source=source), settings.model_copy(update={"allow": summary.snapshot_digest}))
    if error is not None:
        raise error
    if summary.status != expected:
        raise RuntimeError(f"Day {number} ended as {summary.status}, expected {expected}.")
    steps: dict[str, float] = {}
    for timing in summary.timings:
        steps[timing.step] = steps.get(timing.step, 0.0) + timing.duration_s
    counts = summary.source_tables.values()
    sizes, numbers = _look(settings) if is_noted else ({}, {})
    return Day(
        day=number,
        run_s=summary.duration_s,
        rows=sum(one.read for one in counts),
        delta_rows=sum(one.new + one.changed + one.removed for one in counts),
        sizes=sizes,
        counts=numbers,
        steps=steps,
    )


def _look(settings: Settings) -> tuple[dict[str, int], dict[str, int]]:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        found = {name: int((connection.execute(query).fetchone() or (0,))[0] or 0) for name, query in {**SIZES, **COUNTS}.items()}
    return {name: found[name] for name in SIZES}, {name: found[name] for name in COUNTS}


def describe(days: list[Day], repeats: Repeats, turns: Turns, machine: dict[str, str]) -> str:
    """Tell times and sizes over the days, and what the runs without a change left."""
    runs = days[1:]
    shown = [days[0], *(runs[round(i * (len(runs) - 1) / (SHOWN - 2))] for i in range(SHOWN - 1))] if len(runs) >= SHOWN else days
    first, last = (statistics.median(day.run_s for day in part) for part in (runs[:COMPARED], runs[-COMPARED:]))
    heads = ["day", "run s", "rows", "changed rows", *(f"{name} MB" for name in SIZES), *(name.replace("_", " ") for name in COUNTS)]
    lines = ["| " + " | ".join(heads) + " |", "|---:" * len(heads) + "|"]
    for day in shown:
        cells = [str(day.day), f"{day.run_s:.2f}", f"{day.rows:,}", f"{day.delta_rows:,}"]
        cells += [f"{day.sizes[name] / report.MB:.1f}" for name in SIZES] + [f"{day.counts[name]:,}" for name in COUNTS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n\n".join(
        [
            f"{len(runs)} days on {report.machine_line(machine)}",
            f"The middle of the last {COMPARED} days takes {last / first:.2f} times that of the first {COMPARED} ({last:.2f} s and {first:.2f} s).",
            _describe_turns(turns),
            "\n".join(lines),
            _describe_repeats(repeats),
        ]
    )


def _describe_repeats(repeats: Repeats) -> str:
    """How sizes moved from each noted run to the next: until as many runs are kept as the settings say, and then."""
    lines = [f"Then {max(repeats):,} runs of the last snapshot again, of which the ledger keeps as many as `OMOP_INC_KEEP_RUNS` says:", ""]
    for (first, before), (last, after) in pairwise(repeats.items()):
        growth = {name: after.sizes[name] - before.sizes[name] for name in SIZES}
        grown = ", ".join(f"{name} {size / 1000:+,.0f} kB" for name, size in growth.items() if size)
        rows = after.counts["ledger_rows"] - before.counts["ledger_rows"]
        lines.append(f"- from run {first:,} to run {last:,}: {grown or 'nothing grew'}; ledger rows {rows:+,}")
    return "\n".join(lines)


def _describe_turns(turns: Turns) -> str:
    """The last day's seconds on each store, and in times of the new one's: the median of the turns' own ratios."""
    lines = ["| store | what it went through | run s | times new | turns |", "|---|---|---:|---:|---:|"]
    for store, times in turns.items():
        ratio = statistics.median(one / first for one, first in zip(times, turns["new"], strict=True))
        lines.append(f"| {store} | {STORES[store]} | {statistics.median(times):.2f} | {ratio:.2f} | {len(times)} |")
    return "\n".join(["The last day, applied in turns to copies of stores that hold the same:", "", *lines])


def _say(text: str) -> None:
    print(f"soak: {time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
