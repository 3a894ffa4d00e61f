"""The samples that were taken, kept between runs of the benchmarks, and their medians.

Belongs here: storing, choosing those of the present code, medians and ratios. Does not: showing them (report.py).
"""

import json
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Median:
    """The middle of a scenario's samples."""

    name: str
    count: int
    values: dict[str, float]  # by field of a sample
    ratio: float | None  # of the run, without Python's start, to its floor: the median of each sample's own
    spread: float  # largest to smallest run
    phases: dict[str, float]
    extra: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Results:
    """The file of all samples."""

    path: Path
    stamp: str  # of the present code

    def read(self) -> dict[str, Any]:
        """Everything that is kept: machine facts and samples by scenario."""
        if not self.path.is_file():
            return {"machine": {}, "scenarios": {}}
        content: dict[str, Any] = json.loads(self.path.read_text())
        return content

    def add(self, scenario: str, sample: dict[str, Any], machine: dict[str, str]) -> None:
        """Keep a sample; those of other code give way to the first of this one."""
        content = self.read()
        content["machine"] = machine
        entry = content["scenarios"].get(scenario, {})
        if entry.get("stamp") != self.stamp:
            entry = {"stamp": self.stamp, "samples": []}
        entry["samples"].append(sample)
        content["scenarios"][scenario] = entry
        self._write(content)

    def forget(self, scenario: str) -> None:
        """Drop a scenario's samples."""
        content = self.read()
        content["scenarios"].pop(scenario, None)
        self._write(content)

    def count(self, scenario: str) -> int:
        """How many samples of the present code there are."""
        entry = self.read()["scenarios"].get(scenario, {})
        return len(entry["samples"]) if entry.get("stamp") == self.stamp else 0

    def medians(self) -> dict[str, Median]:
        """The medians of every scenario that has samples, those of older code too."""
        return {name: _median(name, entry["samples"]) for name, entry in self.read()["scenarios"].items() if entry["samples"]}

    def outdated(self) -> set[str]:
        """The scenarios whose samples are of other code."""
        return {name for name, entry in self.read()["scenarios"].items() if entry["stamp"] != self.stamp}

    def _write(self, content: dict[str, Any]) -> None:
        beside = self.path.with_suffix(".part")
        beside.parent.mkdir(parents=True, exist_ok=True)
        beside.write_text(json.dumps(content, indent=1))
        beside.replace(self.path)


def _median(name: str, samples: list[dict[str, Any]]) -> Median:
    keys = [key for key, value in samples[0].items() if isinstance(value, int | float)]
    ratios = [sample["inside_s"] / sample["floor_s"] for sample in samples if sample.get("floor_s")]
    runs = [sample["inside_s"] for sample in samples]
    return Median(
        name=name,
        count=len(samples),
        values={key: statistics.median(sample[key] for sample in samples if sample.get(key) is not None) for key in keys},
        ratio=statistics.median(ratios) if ratios else None,
        spread=max(runs) / min(runs) if min(runs) else 1.0,
        phases=_middle_of_each(samples, "phases"),
        extra=_middle_of_each(samples, "extra"),
    )


def _middle_of_each(samples: list[dict[str, Any]], group: str) -> dict[str, float]:
    """Give the medians of a sample's group of named figures, in the order of the first sample that has each."""
    names = dict.fromkeys(name for sample in samples for name in sample.get(group, {}))
    return {name: statistics.median(sample.get(group, {}).get(name, 0.0) for sample in samples) for name in names}
