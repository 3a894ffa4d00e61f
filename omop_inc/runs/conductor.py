"""How the steps of a run are carried out: in threads here, as Prefect's tasks in the flows.

Belongs here: the protocol, and the threads that need no orchestrator. Does not: what a step does.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
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


class Conductor(Protocol):
    """Carries out one step for several tables, which need nothing of each other."""

    def each(self, step: str, tables: Sequence[str], work: Callable[[str], T]) -> dict[str, T]:
        """Do the work of every table and give its results by table; the first error is raised when all have ended."""
        ...


class Threads:
    """Steps in threads, with retries of transient errors."""

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def each(self, step: str, tables: Sequence[str], work: Callable[[str], T]) -> dict[str, T]:
        """Do the work of every table, several at a time."""
        retrying = Retrying(
            stop=stop_after_attempt(TRIES),
            wait=wait_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S) + wait_random(0, FIRST_WAIT_S),
            retry=retry_if_exception(is_transient),
            reraise=True,
        )
        with ThreadPoolExecutor(self._workers, thread_name_prefix=step) as pool:
            futures = {table: pool.submit(retrying.copy(), work, table) for table in tables}
        return {table: future.result() for table, future in futures.items()}
