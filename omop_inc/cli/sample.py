"""`omop-inc sample scale | mutate`: snapshots made from a snapshot.

Belongs here: these commands. Does not: making anything (sampling/).
"""

import json
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Make snapshots from a snapshot, for trials and measurements: larger ones, and the next day's.")

From = Annotated[Path, typer.Argument(help="Folder of a snapshot.", show_default=False)]
Into = Annotated[Path, typer.Argument(help="New or empty folder.", show_default=False)]
Seed = Annotated[int, typer.Option("--seed", help="Another number draws otherwise; the same draws the same.")]


@app.command()
def scale(
    source: From,
    target: Into,
    copies: Annotated[int, typer.Option("--copies", min=1, help="How many times each person is written, with other ids.")],
    seed: Seed = 0,
) -> None:
    """Write the same people many times over, each copy with ids of its own that agree in all files."""
    from omop_inc.sampling.scaling import scale_snapshot

    start = time.perf_counter()
    done = scale_snapshot(source, target, copies=copies, seed=seed)
    _tell({**asdict(done), "total_rows": sum(done.rows.values())}, start)


@app.command()
def mutate(
    source: From,
    target: Into,
    percent: Annotated[float, typer.Option("--percent", min=0, max=100, help="Of the people that the day touches; 0 alters no row.")] = 1.0,
    seed: Seed = 0,
    day: Annotated[datetime | None, typer.Option("--day", formats=["%Y-%m-%d"], help="Default: the day after the latest encounter.")] = None,
    among: Annotated[int | None, typer.Option("--among", min=1, help="Touch none but the first so many people, of whom the percent is.")] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="Put the rows of every file into random order.")] = False,
) -> None:
    """Write the next day's snapshot: people changed, volatile columns redrawn; prints what a run must find."""
    from omop_inc.sampling.mutation import mutate_snapshot

    start = time.perf_counter()
    done = mutate_snapshot(source, target, percent=percent, seed=seed, day=day.date() if day else None, among=among, shuffle=shuffle)
    tables = {table: asdict(truth) for table, truth in done.tables.items()}
    total = {name: sum(truth[name] for truth in tables.values()) for name in ("rows", "new", "changed", "removed", "redrawn")}
    _tell({"day": done.day.isoformat(), "actions": done.actions, "tables": tables, "total": total}, start)


def _tell(facts: dict[str, object], start: float) -> None:
    typer.echo(json.dumps({**facts, "duration_s": round(time.perf_counter() - start, 3)}, indent=2))
