"""The command: try mutants, one after another, and tell what became of them."""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.mutation.equivalents import reason_of
from benchmarks.mutation.mutants import Mutant
from benchmarks.mutation.results import Result, add_result, make_result, read_results, survivors, table_by
from benchmarks.mutation.sampling import order_mutants, share_out
from benchmarks.mutation.scratch import Scratch
from benchmarks.mutation.server import start_server
from benchmarks.mutation.targets import mutants_of, target_files
from benchmarks.mutation.together import is_fit, pack


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mutation", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for the copy, the server and the results; not in the checkout")
    parser.add_argument("--sample", type=int, default=400, help="how many mutants of all files together")
    parser.add_argument("--file", action="append", default=[], help="only files whose name holds this; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--id", action="append", default=[], help="only these mutants, tried anew")
    parser.add_argument("--again", action="store_true", help="try survivors anew")
    parser.add_argument("--prove", action="store_true", help="first see all the tests pass without any change (minutes)")
    parser.add_argument("--pause", type=Path, help="while this file is there, no test begins")
    parser.add_argument("--kind", choices=("sql", "python", "all"), default="all")
    parser.add_argument("--report", action="store_true", help="print the tables of the results and stop")
    options = parser.parse_args()
    if options.report:
        report(options)
    else:
        run(options)


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, list[Mutant], int]]:
    """Each file with its mutants in the order of drawing, and how many are wanted."""
    everything = {file: order_mutants(mutants_of(file), options.seed) for file in target_files()}
    shares = share_out({file: len(found) for file, found in everything.items()}, options.sample)
    for file, found in everything.items():
        is_kind = options.kind == "all" or (options.kind == "sql") == file.endswith(".sql")
        if is_kind and (not options.file or any(part in file for part in options.file)):
            yield file, found, shares[file]


def run(options: argparse.Namespace) -> None:
    """Try what is wanted and not yet known."""
    known = {id_: result for id_, result in read_results(options.work / "results.jsonl").items() if id_ not in options.id}
    scratch = Scratch(options.work / f"copy-{options.kind}", start_server(options.work / "server"), options.pause)
    if options.prove and (problem := scratch.prove([file for file, _, _ in chosen(options)])):
        raise SystemExit(f"Tests fail without any change, so that a failure says nothing:\n{problem}")
    lived = first_look(options, known, scratch)
    for mutant in one_of_each(options, known):
        if not is_asked(options, known.get(mutant.id)):
            continue
        if mutant.id in lived and reason_of(mutant):  # nothing that takes longer could tell it either
            keep(options, known, make_result(mutant, "survived", "", "pytest, the first look alone", 0.0))
        else:
            keep(options, known, scratch.judge(mutant, has_lived=mutant.id in lived))


def first_look(options: argparse.Namespace, known: dict[str, Result], scratch: Scratch) -> set[str]:
    """Try those together that can be; the ids of the mutants that lived through it."""
    wanted = [one for one in one_of_each(options, known) if is_fit(one.file) and is_asked(options, known.get(one.id))]
    for group in pack(wanted):
        for result in scratch.judge_together(group):
            keep(options, known, result)
    return {mutant.id for mutant in wanted if is_asked(options, known.get(mutant.id))}


def is_asked(options: argparse.Namespace, result: Result | None) -> bool:
    """Whether a mutant is to be tried."""
    return result is None or bool(options.again and result.status == "survived")


def keep(options: argparse.Namespace, known: dict[str, Result], result: Result) -> None:
    """Write a result down and tell it."""
    known[result.id] = result
    add_result(options.work / "results.jsonl", result)
    print(f"{result.status:9} {result.duration_s:6.1f} s  {result.file}:{result.line} {result.what}  [{result.killer}]", flush=True)


def one_of_each(options: argparse.Namespace, known: dict[str, Result]) -> Iterator[Mutant]:
    """The mutants to try: one of each file, then each file's second, so that a run that is cut short is spread as well."""
    files = list(chosen(options))
    valid = dict.fromkeys((file for file, _, _ in files), 0)
    for place in range(max(len(found) for _, found, _ in files)):
        for file, found, wanted in files:
            is_wanted = found[place].id in options.id if options.id and place < len(found) else valid[file] < wanted
            if place < len(found) and is_wanted:
                yield found[place]
                valid[file] += known[found[place].id].status != "invalid" if found[place].id in known else 1


def report(options: argparse.Namespace) -> None:
    """Print tables and survivors of everything that was tried and that the files still hold."""
    known = read_results(options.work / "results.jsonl")
    tried = [(mutant, known[mutant.id]) for _, found, _ in chosen(options) for mutant in found if mutant.id in known]
    tried = [(mutant, result) for mutant, result in tried if result.status != "invalid"]
    same = [(result, reason) for mutant, result in tried if result.status == "survived" and (reason := reason_of(mutant))]
    apart = {result.id for result, _ in same}
    results = [result for _, result in tried if result.id not in apart]
    alike = "\n".join(f"- `{result.file}:{result.line}` ({result.id}): {result.what}. {reason}" for result, reason in same)
    print("\n\n".join([table_by(results, "file", "file"), table_by(results, "change", "operator"), survivors(results), alike]))


if __name__ == "__main__":
    main()
