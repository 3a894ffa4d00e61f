"""The one transaction that makes a run real, and what follows it.

Belongs here: the order of the publishing transaction, fencing, the answer to a lost COMMIT. Does not: its statements.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from omop_inc.errors import DatabaseError, StateMismatchError
from omop_inc.runs.context import Run
from omop_inc.store import history, ledger
from omop_inc.store.db import execute, translated
from omop_inc.store.state import TableState


@dataclass(kw_only=True)
class Outcome:
    """What a run is about to commit beside the rows."""

    snapshot_digest: str
    snapshot_date: date | None
    started_at: datetime
    table_states: dict[str, TableState] = field(default_factory=dict)

    def next_generation(self, run: Run) -> int:
        """The generation that the commit makes."""
        return (run.last.generation if run.last else 0) + 1


@contextlib.contextmanager
def publishing(run: Run, outcome: Outcome) -> Iterator[int]:
    """The publishing transaction: fence, the caller's writes, the ledger row, COMMIT.

    Yields:
        The generation that is being made.

    Raises:
        StateMismatchError: If another run committed meanwhile, so that this one must not.
    """
    generation = outcome.next_generation(run)
    try:
        with translated(), run.session.begin():
            execute(run.raw, "SET LOCAL synchronous_commit TO on")
            last = ledger.read_last_run(run.session, run.schemas)
            if (last.generation if last else 0) != generation - 1:
                raise StateMismatchError("Another run committed since this one began. Nothing was applied; start it again.")
            yield generation
            history.note_range(run.raw, run.schemas, generation)
            ledger.write_run(run.session, run.schemas, ledger_row(run, outcome.started_at, outcome, generation, "applied"))
    except DatabaseError as error:
        if not (error.is_transient and _is_committed(run)):
            raise
        run.summary.warnings.append("The answer to COMMIT was lost; the ledger says that the run is committed.")
    run.summary.status, run.summary.generation = "applied", generation


def _is_committed(run: Run) -> bool:
    """Ask the ledger in a new session; without an answer the run counts as failed."""
    try:
        with run.database.engine.connect() as fresh:
            return ledger.has_run(fresh, run.schemas, run.run_id)
    except Exception:  # noqa: BLE001 - the first error is the one to show
        return False


def ledger_row(run: Run, started_at: datetime, outcome: Outcome | None, generation: int | None, status: str) -> dict[str, object]:
    """A run's row for the ledger."""
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "mode": run.settings.mode,
        "status": status,
        "generation": generation,
        "snapshot_digest": outcome.snapshot_digest if outcome else None,
        "snapshot_date": outcome.snapshot_date if outcome else None,
        "fingerprint": run.made_under,
        "started_at": started_at,
        "finished_at": datetime.now(UTC),
        "summary": run.summary.stored(),
    }
