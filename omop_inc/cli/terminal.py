"""What the commands and the flows print to a terminal.

Belongs here: consoles, the progress line, the end of a run. Does not: what a summary says (telling/summary.py).
"""

import sys
from pathlib import Path

from rich.console import Console

from omop_inc.store.ledger import StepTiming
from omop_inc.telling.summary import Summary, print_summary, write_json
from omop_inc.telling.timings import Listener, print_timings

# The widest table, that of the ledger, needs 170 columns.
FILE_WIDTH = 180


def wide_console() -> Console:
    """The terminal, or lines wide enough for every table where the output goes to a file."""
    return Console() if sys.stdout.isatty() else Console(width=FILE_WIDTH)


def show(summary: Summary, console: Console, json: Path | None) -> None:
    """Print a run's summary and timings, and write its JSON."""
    if json is not None:
        write_json(summary, json)
    message, summary.message = summary.message, summary.message if summary.status in ("no_change", "skipped") else None
    print_summary(summary, console)
    summary.message = message
    print_timings(summary.timings, console)


class progress:  # noqa: N801 - used as a function
    """A line on the terminal that tells the step that ended last; nothing where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._status = console.status("starting") if console.is_terminal else None

    def __enter__(self) -> Listener | None:
        if self._status is None:
            return None
        self._status.start()
        return self._tell

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def _tell(self, timing: StepTiming) -> None:
        assert self._status is not None
        self._status.update(f"{timing.step} {timing.table} {timing.status} {timing.duration_s:.1f} s")
