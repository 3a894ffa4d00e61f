"""How the steps of a run are carried out: in threads here, as Prefect's tasks in the flows.

Belongs here: the protocol, and the threads that need no orchestrator. Does not: what a step does.
"""

import queue
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import Future, ThreadPoolExecutor
from graphlib import TopologicalSorter
from typing import Protocol, TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential, wait_random

from omop_inc.errors import DatabaseError

T = TypeVar("T")

# Five tries over about half a minute outlast a restart of PostgreSQL (F7).
TRIES = 5
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help: lost connections, deadlocks, a server that restarts."""
    return isinstance(error, DatabaseError) and error.is_transient


# What each table's work must wait for: tables of the same step.
After = Mapping[str, Set[str]]


class Conductor(Protocol):
    """Carries out one step for several tables."""

    def each(self, step: str, tables: Sequence[str], work: Callable[[str], T], after: After | None = None) -> dict[str, T]:
        """Do the work of every table and give its results by table; the first error is raised when all others have ended that do not wait for it.

        Args:
            step: Its name.
            tables: In the order in which they should begin. What belongs to another step says so: `settle-claims`.
            work: Of one table.
            after: For each table those that must have ended before it begins; without it they need nothing of each other.
        """
        ...


def in_order(tables: Sequence[str], after: After | None, workers: int, start: Callable[[str, Callable[[], None]], Callable[[], bool]]) -> None:
    """Start tables as soon as those that they wait for have ended, at most `workers` at a time, the earlier in the list first.

    Args:
        tables: In the order in which they should begin.
        after: For each table those that must have ended before; others than `tables` are taken as ended.
        workers: How many at once.
        start: Begins one table's work and has the given function called when it ends; gives a function that then tells whether it
            went well. What waits for a table that did not never begins.
    """
    place = {table: at for at, table in enumerate(tables)}
    sorter = TopologicalSorter({table: {other for other in (after or {}).get(table, ()) if other in place} for table in tables})
    sorter.prepare()
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()
    running: dict[str, Callable[[], bool]] = {}
    ready: list[str] = []
    while True:
        ready = sorted([*ready, *sorter.get_ready()], key=place.__getitem__)
        while ready and len(running) < workers:
            table = ready.pop(0)
            running[table] = start(table, lambda table=table: ended.put(table))  # type: ignore[misc]
        if not running:
            return
        table = ended.get()
        if running.pop(table)():
            sorter.done(table)


class Threads:
    """Steps in threads, with retries of transient errors."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def each(self, step: str, tables: Sequence[str], work: Callable[[str], T], after: After | None = None) -> dict[str, T]:
        """Do the work of every table, several at a time."""
        retrying = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S) + wait_random(0, FIRST_WAIT_S),
            retry=retry_if_exception(is_transient),
            reraise=True,
        )
        futures: dict[str, Future[T]] = {}

        def start(table: str, tell_end: Callable[[], None]) -> Callable[[], bool]:
            future = futures[table] = pool.submit(retrying.copy(), work, table)
            future.add_done_callback(lambda _: tell_end())
            return lambda: future.exception() is None

        with ThreadPoolExecutor(self._workers, thread_name_prefix=step) as pool:
            in_order(tables, after, self._workers, start)
        for table in tables:
            if table in futures and (error := futures[table].exception()):
                raise error
        return {table: futures[table].result() for table in tables}
