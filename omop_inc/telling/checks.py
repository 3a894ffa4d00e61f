"""The result of checks as people and programs read it.

Belongs here: the table on the terminal, the JSON. Does not: what a result means (cdm/quality/results.py).
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from omop_inc.cdm.quality.results import CheckResult, tally


def result_rows(results: Iterable[CheckResult]) -> list[dict[str, Any]]:
    """Each check with its counts, as plain values."""
    return [
        {
            "check": one.check.id,
            "type": one.check.type,
            "category": one.check.category,
            "table": one.check.table,
            "field": one.check.field,
            "severity": one.check.severity,
            "status": one.status,
            "violated": one.count.violated,
            "denominator": one.count.denominator,
            "percent": round(one.percent, 4),
            "threshold": one.check.threshold,
            "samples": list(one.samples),
        }
        for one in results
    ]


def write_checks(results: Iterable[CheckResult], generation: int, path: Path) -> None:
    """Write the results as JSON, whole or not at all."""
    every = list(results)
    beside = path.with_name(path.name + ".part")
    beside.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"generation": generation, **tally(every), "checks": result_rows(every)}, indent=2)
    beside.write_text(text + "\n", encoding="utf-8")
    beside.replace(path)


def print_checks(results: Iterable[CheckResult], console: Console) -> None:
    """Show how many checks passed, and those that did not: failures first."""
    every = list(results)
    console.print(tally_line(tally(every)))
    shown = sorted((one for one in every if one.status == "failed"), key=lambda one: (one.check.severity != "fail", one.check.id))
    if not shown:
        return
    table = Table(title="Checks that did not pass", title_justify="left")
    table.add_column("")
    table.add_column("check", overflow="fold")
    for heading in ("violated", "of", "%", "allowed %"):
        table.add_column(heading, justify="right")
    table.add_column("ids of some")
    for one in shown:
        style = "red" if one.check.severity == "fail" else "yellow"
        table.add_row(
            one.check.severity,
            one.check.id,
            f"{one.count.violated:,}",
            f"{one.count.denominator:,}",
            f"{one.percent:.2f}",
            f"{one.check.threshold:g}",
            ", ".join(map(str, one.samples[:3])) + (" ..." if len(one.samples) > 3 else ""),
            style=style,
        )
    console.print(table)


def tally_line(counts: dict[str, int]) -> str:
    """The counts of checks in a line."""
    return (
        f"Checks: {counts['passed']:,} passed, {counts['failed']:,} failed, {counts['warned']:,} with warnings,"
        f" {counts['not_applicable']:,} do not apply"
    )
