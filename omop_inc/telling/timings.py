"""Time every step of a run, and show the times as a table.

Belongs here: measuring and printing. Does not: storing (store/ledger.py).
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from omop_inc.store.ledger import StepTiming

# Of a small run's 90 steps some ten tell where the time went.
SHOWN_FROM_S = 0.02

Listener = Callable[[StepTiming], None]


@dataclass
class Counts:
    """The rows of one step; the step fills them in."""

    rows_in: int = 0
    rows_new: int = 0
    rows_changed: int = 0
    rows_removed: int = 0
    rows_written: int = 0


@dataclass
class Recorder:
    """Collects the timings of a run; steps may run in several threads."""

    listener: Listener | None = None
    timings: list[StepTiming] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def step(self, step: str, table: str = "") -> Iterator[Counts]:
        """Time what is done inside; the timing is kept when it fails as well."""
        counts, started_at, start = Counts(), datetime.now(UTC), time.perf_counter()
        timing = StepTiming(step=step, table=table, status="failed", started_at=started_at, duration_s=0)
        try:
            yield counts
            timing = replace(timing, status="done")
        finally:
            timing = replace(timing, duration_s=time.perf_counter() - start, **vars(counts))
            with self._lock:
                self.timings.append(timing)
            if self.listener:
                self.listener(timing)


def timing_table(timings: list[StepTiming], *, at_least_s: float = 0.0) -> Table:
    """The timings as a table, steps in the order in which they began."""
    table = Table(title="Timings", title_justify="left")
    for heading in ("step", "table", "status"):
        table.add_column(heading)
    for heading in ("seconds", "in", "new", "changed", "removed", "written"):
        table.add_column(heading, justify="right")
    for timing in sorted(timings, key=lambda t: t.started_at):
        if timing.duration_s >= at_least_s:
            rows = (timing.rows_in, timing.rows_new, timing.rows_changed, timing.rows_removed, timing.rows_written)
            table.add_row(timing.step, timing.table, timing.status, f"{timing.duration_s:.3f}", *(f"{n:,}" if n else "" for n in rows))
    return table


def print_timings(timings: list[StepTiming], console: Console) -> None:
    """Show the timings; the many steps that took next to nothing are one line (the ledger holds them all)."""
    short = [timing.duration_s for timing in timings if timing.duration_s < SHOWN_FROM_S]
    if len(short) < len(timings):
        console.print(timing_table(timings, at_least_s=SHOWN_FROM_S))
    if short:
        console.print(f"Steps of less than {SHOWN_FROM_S} s: {len(short)}, {sum(short):.3f} s together")
