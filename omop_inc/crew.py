"""The processes that share a run's heavy work with this one: reading, hashing, checking and copying parts of files.

Belongs here: starting and ending them, handing out calls, carrying answers and errors back. Does not: what a call does;
any module's function with picklable arguments can be called.

A crew of n is this process and n - 1 others, which start when they are first needed. Each call is served by one member.
A caller waits in a thread of its own, so a crew may be used from any thread (a task runner's as well). Calls and results go
through pipes as pickles, so no value of a row, no password, is seen from outside. A member ends when its pipe closes,
whatever it is doing: when this process is killed, its members' database sessions end with it.
"""

import contextlib
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, Self, TypeVar

from omop_inc.errors import OmopIncError

T = TypeVar("T")
# Asks the process that called: a row's known id, the next free ids.
Ask = Callable[[Any], Any]
Work = Callable[..., T]

# What a member does when it is told to end is close its connections; it has never taken a tenth of this.
END_S = 5.0
# One thread of polars a process: the processes already fill the cores, and waking threads cost more than they did.
ENVIRONMENT = {"POLARS_MAX_THREADS": "1"}


class Crew:
    """This process and some others; use it as a context."""

    def __init__(self, size: int) -> None:
        self._members: list[_Member | None] = [None, *(_Member() for _ in range(size - 1))]
        # This process serves first: it need not be started.
        self._free: queue.LifoQueue[_Member | None] = queue.LifoQueue()
        for member in reversed(self._members):
            self._free.put(member)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for member in self._members:
            if member is not None:
                member.end()

    def each(self, work: Work[T], calls: Sequence[tuple[Any, ...]], answer: Ask | None = None) -> list[T]:
        """Make several calls of one function, as many at a time as there are members; the results in the calls' order.

        Args:
            work: A module's function; its first argument is an `Ask`.
            calls: The other arguments of each call.
            answer: Answers what a call asks, in this process.
        """
        if not calls:
            return []
        with ThreadPoolExecutor(min(len(calls), len(self._members)), thread_name_prefix="crew") as pool:
            futures = [pool.submit(self._call, work, call, answer or _refuse) for call in calls]
        return [future.result() for future in futures]

    def _call(self, work: Work[T], call: tuple[Any, ...], answer: Ask) -> T:
        member = self._free.get()
        try:
            if member is None:
                return work(answer, *call)
            return member.call(work, call, answer)  # type: ignore[no-any-return]
        finally:
            self._free.put(member)


def _refuse(question: Any) -> Any:
    raise TypeError("This call may not ask anything.")


class _Member:
    """Another process, seen from here."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, work: Work[T], call: tuple[Any, ...], answer: Ask) -> Any:
        process = self._process or self._start()
        is_served = False
        try:
            self._send((work, call))
            while True:
                kind, value = pickle.load(process.stdout)  # type: ignore[arg-type]  # noqa: S301 - our own process writes it
                if kind == "question":
                    self._send(answer(value))
                    continue
                is_served = True
                if kind == "error":
                    raise value
                return value
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            self.end()
            raise OmopIncError(
                f"A process of this run ended (exit {process.returncode}) in the middle of its work; expected it to stay. Nothing was applied. "
                "Start the run again, with fewer `--workers` if memory was short."
            ) from None
        finally:
            if not is_served:  # it waits for an answer, or works on what nobody wants any more
                self.end()

    def end(self) -> None:
        """End the process, if it runs."""
        if self._process is None:
            return
        assert self._process.stdin is not None and self._process.stdout is not None
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def _start(self) -> "subprocess.Popen[bytes]":
        # Not by multiprocessing: it imports the main module anew, which may be Prefect's; nor by fork, which copies locks that
        # threads of polars and psycopg hold.
        environment = {**os.environ, **ENVIRONMENT, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        command = [sys.executable, "-c", "from omop_inc.process import prepare_process; prepare_process(); from omop_inc.crew import serve; serve()"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        return self._process

    def _send(self, value: Any) -> None:
        assert self._process is not None and self._process.stdin is not None
        pickle.dump(value, self._process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()


def serve() -> None:
    """Be a member: answer calls until the pipe closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process decides
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get between the pickles
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, received), daemon=True).start()

    def reply(kind: str, value: Any) -> None:
        pickle.dump((kind, value), replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()

    def ask(question: Any) -> Any:
        reply("question", question)
        return received.get()

    while True:
        work, call = received.get()
        try:
            result = work(ask, *call)
        except BaseException as error:  # noqa: BLE001 - raised again where the call was made
            reply("error", _portable(error))
        else:
            reply("result", result)


def _receive(pipe: BinaryIO, received: "queue.SimpleQueue[Any]") -> None:
    """Hand on what comes in, and end the process with the pipe, in the middle of any work."""
    try:
        while True:
            received.put(pickle.load(pipe))  # noqa: S301 - the process that started us writes it
    except BaseException:  # noqa: BLE001 - whatever it is, nobody is there to be told
        os._exit(0)


def _portable(error: BaseException) -> BaseException:
    """An error as it can be sent: ours whole, another's by its type alone if it cannot be pickled."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - written a moment ago
    except Exception:  # noqa: BLE001 - an error that cannot be carried must not hide that there was one
        return RuntimeError(f"unexpected {type(error).__name__} in a process of this run")
    return error
