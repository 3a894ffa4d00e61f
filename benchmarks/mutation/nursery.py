"""A process that has the foreign packages in memory and forks a child for each run of pytest: a start costs a tenth of a second, not four.

Belongs here: loading, forking, waiting. Does not: what is run (scratch.py). Nothing of the project is imported here, because each child must read
it anew. A request is a line of JSON on the standard input (`arguments`, `output`, `limit_s`), the answer a line with pytest's code, or null if it
ran out of time.
"""

import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path

# What takes longest to import of what the project and its tests use.
HEAVY = (
    "pytest",
    "_pytest.assertion.rewrite",
    "numpy",
    "polars",
    "pandera.polars",
    "psycopg",
    "psycopg_pool",
    "sqlalchemy",
    "pydantic_settings",
    "tenacity",
    "xxhash",
    "typer",
)
WAIT_S = 0.05


def main() -> None:
    """Answer requests until the input ends."""
    sys.path.insert(0, str(Path.cwd()))
    for name in HEAVY:
        importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _be_pytest(request["arguments"], request["output"])
        print(json.dumps(_wait(child, float(request["limit_s"]))), flush=True)


def _be_pytest(arguments: list[str], output: str) -> None:
    """Run pytest in this process, and end it: what it left in memory dies with it."""
    os.setpgid(0, 0)
    stream = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    code = 70
    try:
        code = int(importlib.import_module("pytest").main(arguments))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(child: int, limit_s: float) -> int | None:
    """The child's code; one that takes too long is ended with its own children."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(WAIT_S)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


if __name__ == "__main__":
    main()
