"""The steps of a run as Prefect's tasks: a task run for each step and table, named `<step>-<table>`.

Belongs here: names, retries, threads, what Prefect may see of an error. Does not: what a step does (omop_inc/).

A task's only parameter is the table's name: the server shows parameters to whoever opens its pages. Results stay in this
process, and an error reaches Prefect as its one line without the errors behind it, because Prefect logs those with
their text and PostgreSQL's quotes cells.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from prefect import get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from omop_inc.errors import OmopIncError
from omop_inc.runs.conductor import FIRST_WAIT_S, LONGEST_WAIT_S, TRIES, After, in_order, is_transient
from omop_inc.store.ledger import StepTiming

T = TypeVar("T")

WAITS_S = [min(FIRST_WAIT_S * 2**n, LONGEST_WAIT_S) for n in range(TRIES - 1)]
# Waits differ by up to this factor, so that the tasks of a wave do not come back all at once.
JITTER = 0.5


class StepError(Exception):
    """What Prefect gets to see of an error: a message without values, and whether trying again can help."""

    def __init__(self, message: str, *, is_transient: bool) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class PrefectConductor:
    """Carries out steps as task runs of the present flow run, several at a time; use it as a context."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._runner: ThreadPoolTaskRunner[None] = ThreadPoolTaskRunner(max_workers=workers)

    def __enter__(self) -> Self:
        self._runner.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._runner.__exit__(kind, error, trace)

    def each(self, step: str, tables: Sequence[str], work: Callable[[str], T], after: After | None = None) -> dict[str, T]:
        """Do the work of every table; the first error in the order of the tables is raised when all that began have ended."""
        kept: _Kept[T] = _Kept(work)
        futures: dict[str, PrefectFuture[None]] = {}
        carried_out = cache(lambda own_step: _as_task(own_step or step, lambda table: kept.carry_out(f"{own_step}-{table}" if own_step else table)))

        def start(table: str, tell_end: Callable[[], None]) -> Callable[[], bool]:
            own_step, _, name = table.rpartition("-")
            future = futures[table] = self._runner.submit(carried_out(own_step), {"table": name})
            future.add_done_callback(lambda _: tell_end())
            return lambda: table in kept.results

        in_order(tables, after, self._workers, start)
        for table, future in futures.items():
            future.wait()
            if table not in kept.results:
                raise kept.errors.get(table) or _lost(step, table, future.state)
        return {table: kept.results[table] for table in tables}


class _Kept(Generic[T]):
    """Results and errors of a step's tables, which never pass through Prefect."""

    def __init__(self, work: Callable[[str], T]) -> None:
        self._work = work
        self.results: dict[str, T] = {}
        self.errors: dict[str, Exception] = {}

    def carry_out(self, table: str) -> StepError | None:
        """Do the work of one table, and give what Prefect may see if it failed."""
        try:
            self.results[table] = self._work(table)
        except Exception as error:  # noqa: BLE001 - kept as it is for the core; shown without values
            self.errors[table] = error
            return StepError(harmless(error), is_transient=is_transient(error))
        return None


def harmless(error: BaseException) -> str:
    """An error's text if it is one of ours, else only its type: another's may quote a row."""
    return str(error) if isinstance(error, OmopIncError) else f"unexpected {type(error).__name__}"


def tell(timing: StepTiming) -> None:
    """Log the end of a step: names, seconds and counts."""
    counts = {
        "in": timing.rows_in,
        "new": timing.rows_new,
        "changed": timing.rows_changed,
        "removed": timing.rows_removed,
        "written": timing.rows_written,
    }
    listed = "".join(f", {count:,} {name}" for name, count in counts.items() if count)
    get_run_logger().info("%s %s in %.3f s%s", f"{timing.step} {timing.table}".strip(), timing.status, timing.duration_s, listed)


def _as_task(step: str, work: Callable[[str], StepError | None]) -> Task[[str], None]:
    # A retry is safe: a step writes only tables of its own run, and a try that failed left nothing, or what the next one
    # replaces. Where that cannot be (the answer to a transform's COMMIT was lost) the next try stops the run, with the CDM
    # as it was. Publishing is no task: of a COMMIT without an answer the ledger decides (omop_inc/runs/publishing.py).
    @task(
        name=step,
        task_run_name=f"{step}-{{table}}",
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=len(WAITS_S),
        retry_delay_seconds=WAITS_S,
        retry_jitter_factor=JITTER,
        retry_condition_fn=_can_try_again,
    )
    def carry_out(table: str) -> None:
        if shown := work(table):
            raise shown

    return carry_out


def _can_try_again(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return getattr(state.data, "is_transient", False)


def _lost(step: str, table: str, state: State[Any]) -> OmopIncError:
    return OmopIncError(f"Prefect ended task '{step}-{table}' ({state.name}) before its work was done. Nothing was applied; start the run again.")
