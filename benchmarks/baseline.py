"""The ratios that were reached once, and what has become worse since.

Belongs here: the stored baseline and the comparison. Does not: measuring. Ratios, because they mean something on another
machine, seconds do not.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.results import Median

PATH = Path(__file__).parent / "baseline.json"
# Two runs of one code on an idle machine differ by a tenth; a third more is a change.
WORSE_FROM = 1.33


@dataclass(frozen=True, kw_only=True)
class Regression:
    """A scenario that has become worse."""

    name: str
    before: float
    now: float


def read_baseline() -> dict[str, float]:
    """Ratio to the floor by scenario."""
    return dict(json.loads(PATH.read_text())["ratios"]) if PATH.is_file() else {}


def write_baseline(medians: dict[str, Median], machine: dict[str, str]) -> None:
    """Keep the present ratios; scenarios that were not measured keep theirs."""
    ratios = read_baseline() | {name: round(one.ratio, 3) for name, one in medians.items() if one.ratio is not None}
    PATH.write_text(json.dumps({"machine": machine, "ratios": dict(sorted(ratios.items()))}, indent=2) + "\n")


def find_regressions(medians: dict[str, Median], baseline: dict[str, float]) -> list[Regression]:
    """The scenarios whose ratio grew beyond what chance explains."""
    return [
        Regression(name=name, before=baseline[name], now=one.ratio)
        for name, one in medians.items()
        if one.ratio is not None and name in baseline and one.ratio > baseline[name] * WORSE_FROM
    ]
