"""How the steps of a run are shown."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from omop_inc.store.ledger import StepTiming
from omop_inc.telling.timings import print_timings


def shown(*seconds: float) -> str:
    """What is printed of steps that took so long."""
    at = datetime(2024, 5, 1, tzinfo=UTC)
    timings = [StepTiming(step="load", table="patients", status="done", started_at=at, duration_s=s) for s in seconds]
    console = Console(file=io.StringIO(), width=120)
    print_timings(timings, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "has_table", "line"),
    [
        pytest.param((1.5,), True, "", id="long steps alone"),
        pytest.param((1.5, 0.004, 0.005), True, "Steps of less than 0.02 s: 2, 0.009 s together\n", id="both"),
        pytest.param((0.001,), False, "Steps of less than 0.02 s: 1, 0.001 s together\n", id="no table of nothing"),
        pytest.param((), False, "", id="no step at all"),
    ],
)
def test_steps_that_took_next_to_nothing_are_one_line(seconds: tuple[float, ...], has_table: bool, line: str) -> None:
    text = shown(*seconds)
    assert ("Timings" in text, "patients" in text) == (has_table, has_table)
    assert text.endswith(line) and ("Steps of" in text) == bool(line)
