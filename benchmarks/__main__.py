"""`./dev bench` and `./dev bench-quick`: take the samples that are missing, compare, write docs/benchmarks.md.

Belongs here: the command line and the order of a session. Does not: anything that is measured.

Every sample is kept at once (state/bench/results.json), so that an interrupted session goes on where it stopped: a
scenario is done when it has its samples by the present code.
"""

import argparse
import sys
import time
from fnmatch import fnmatch

from benchmarks import baseline, report
from benchmarks.place import ROOT, Place, code_stamp, find_place, machine_facts
from benchmarks.results import Results
from benchmarks.samples import BenchError
from benchmarks.scenarios import Bench, Scenario, quick, scenarios
from benchmarks.server import start_server, stop_server
from omop_inc.errors import OmopIncError

EXIT_WORSE = 1


def say(text: str) -> None:
    """Tell progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Take samples, and tell what came out.

    Returns:
        The exit code: 1 if something became worse or a scenario failed.
    """
    options = _parser().parse_args(arguments)
    place = find_place()
    chosen = quick() if options.quick else _chosen(scenarios(place), options.only)
    if options.list:
        for one in chosen:
            print(f"{one.name:24} {one.samples} samples  {one.about}")
        return 0
    place.home.mkdir(parents=True, exist_ok=True)
    results = Results(path=place.results, stamp=code_stamp())
    failed = [] if options.report else _take_all(place, results, chosen, again=options.again)
    return _finish(results, chosen, failed, options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names or patterns, parted by commas: full_load,day_1@1gb,series_*,constant_*; default: all but extra ones")
    parser.add_argument("--again", action="store_true", help="measure anew what is measured already")
    parser.add_argument("--quick", action="store_true", help="two minutes on little data; writes no page")
    parser.add_argument("--list", action="store_true", help="show the scenarios")
    parser.add_argument("--report", action="store_true", help="measure nothing; write the page from what is there")
    parser.add_argument("--save-baseline", action="store_true", help="keep the ratios as those to compare with")
    return parser


def _chosen(known: dict[str, Scenario], only: str | None) -> list[Scenario]:
    if only is None:
        return [one for one in known.values() if one.group != "extra"]
    patterns = only.split(",")
    found = [one for name, one in known.items() if any(fnmatch(name, p) or fnmatch(name.partition("@")[0], p) or one.group == p for p in patterns)]
    if not found:
        raise SystemExit(f"bench: no scenario is called {only!r}; there are {', '.join(known)}.")
    return found


def _take_all(place: Place, results: Results, chosen: list[Scenario], *, again: bool) -> list[str]:
    """Take every missing sample.

    Returns:
        The scenarios that failed.
    """
    server = start_server(place.home)
    machine = machine_facts(server.version, server.settings)
    bench = Bench(place=place, server=server, stamp=results.stamp, tell=say)
    failed = []
    try:
        for number, one in enumerate(chosen, 1):
            if again:
                results.forget(one.name)
            try:
                _take(bench, results, one, machine, f"[{number}/{len(chosen)}]")
            except (BenchError, OmopIncError, OSError) as error:
                say(f"{one.name} failed: {error}")
                failed.append(one.name)
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        raise SystemExit(130) from None
    finally:
        stop_server(place.home)
    return failed


def _take(bench: Bench, results: Results, one: Scenario, machine: dict[str, str], where: str) -> None:
    for number in range(results.count(one.name) + 1, one.samples + 1):
        start = time.monotonic()
        sample = one.take(bench)
        results.add(one.name, sample.as_json(), machine)
        ratio = f", {sample.inside_s / sample.floor_s:.2f} times the floor ({one.floor})" if sample.floor_s else ""
        say(f"{where} {one.name} {number}/{one.samples}: {sample.inside_s:.2f} s{ratio}; taken in {time.monotonic() - start:.0f} s")


def _finish(results: Results, chosen: list[Scenario], failed: list[str], options: argparse.Namespace) -> int:
    medians, machine = results.medians(), results.read()["machine"]
    mine = {one.name: medians[one.name] for one in chosen if one.name in medians}
    floors = {one.name: one.floor for one in chosen} if options.quick else {name: one.floor for name, one in scenarios(find_place()).items()}
    if not mine:
        say("nothing was measured")
        return EXIT_WORSE
    print(report.machine_line(machine), report.table(mine, floors, results.outdated()), report.phases(mine), sep="\n\n")
    if not options.quick:
        report.write_page({name: medians[name] for name in floors if name in medians}, floors, results.outdated(), machine)
        say(f"wrote {report.PAGE.relative_to(ROOT)}")
    worse = baseline.find_regressions(mine, baseline.read_baseline())
    for one in worse:
        say(f"WORSE: {one.name} takes {one.now:.2f} times its floor, {one.before:.2f} in the baseline")
    if options.save_baseline:
        baseline.write_baseline(mine, machine)
    elif not worse:
        say("no scenario is worse than in the baseline")
    return EXIT_WORSE if worse or failed else 0


if __name__ == "__main__":
    sys.exit(main())
