"""`./dev demo`: the main job on the shipped example, with what each run changed, every row's fate, and the proof.

Belongs here: the demonstration's order and words. Does not: anything that a user of the tool needs.
"""

import sys

from rich.console import Console

from omop_inc.cli.terminal import progress, show
from omop_inc.errors import OmopIncError
from omop_inc.resources import examples_dir
from omop_inc.runs.snapshots import Kind, Request, apply_snapshot
from omop_inc.settings import Settings, load_settings
from omop_inc.telling.summary import Summary

# A schema of its own: a demonstration must not touch a user's CDM, and may begin afresh each time.
SCHEMA = "demo"
DEMO_WIDTH = 120


def demonstrate() -> int:
    """Load vocabulary and three snapshots, the last one twice, and verify against a rebuild.

    Returns:
        The exit code.
    """
    console = Console() if sys.stdout.isatty() else Console(width=DEMO_WIDTH)
    settings = load_settings(cdm_schema=SCHEMA)
    examples = examples_dir()
    snapshots = sorted(path for path in (examples / "snapshots").iterdir() if path.is_dir())
    console.rule(f"omop_inc: vocabulary and {len(snapshots)} snapshots of a small population")
    first: Kind = "full_reload"  # of a first snapshot it is the first load; of a repeated demo it begins again
    steps: list[tuple[str, Kind, Request]] = [
        (f"Snapshot of {path.name}", first if path == snapshots[0] else "incremental", Request(source=path, vocabulary=examples / "vocabulary"))
        for path in snapshots
    ]
    steps.append((f"Snapshot of {snapshots[-1].name} again: nothing may change", "incremental", Request(source=snapshots[-1])))
    steps.append(("Proof: the maintained CDM against a rebuild", "verify", Request(source=snapshots[-1])))
    for title, kind, request in steps:
        console.rule(title, align="left")
        summary = _apply(Request(source=request.source, kind=kind, vocabulary=request.vocabulary), settings, console)
        if summary.status not in ("applied", "no_change"):
            return 1
    _tell_what_next(console, settings)
    return 0


def _apply(request: Request, settings: Settings, console: Console) -> Summary:
    """Apply a snapshot; a repeated demo goes back to the first on purpose, so its guard is answered with its digest."""
    with progress(Console(stderr=True)) as listener:
        summary, error = apply_snapshot(request, settings, listener=listener)
        if summary.status == "refused" and request.kind == "full_reload" and summary.snapshot_digest:
            again = settings.model_copy(update={"allow": summary.snapshot_digest})
            summary, error = apply_snapshot(request, again, listener=listener)
    show(summary, console, None)
    if error is not None:
        console.print(str(error), markup=False)
    return summary


def _tell_what_next(console: Console, settings: Settings) -> None:
    console.rule("What next", align="left")
    where = "external" if settings.database_url else "embedded"
    console.print(
        f"The {where} database is up; the CDM is in schema '{SCHEMA}', the runs in '{SCHEMA}_ledger'.\n"
        f"  open it           ./dev run omop-inc db psql -c 'TABLE {SCHEMA}.person'\n"
        "  its URL           ./dev run omop-inc db url\n"
        "  Prefect's pages   ./dev run prefect server start      (then http://127.0.0.1:4200)\n"
        "  your own export   ./dev run omop-inc run FOLDER --vocabulary ATHENA_FOLDER\n"
        "  stop it           ./dev run omop-inc db stop",
        markup=False,
        highlight=False,
    )


if __name__ == "__main__":
    try:
        code = demonstrate()
    except OmopIncError as problem:
        print(f"demo: {problem}", file=sys.stderr)
        code = problem.exit_code
    sys.exit(code)
