"""Prefect as the benchmarks run it: with a server of its own, in a home of its own.

Belongs here: its environment, and counting the tasks that it carried out. Does not: the flow (flows/), samples.
"""

import sqlite3
from contextlib import closing
from pathlib import Path


def prefect_settings(home: Path) -> dict[str, str]:
    """The environment in which a flow starts a server for itself, whatever the user has set."""
    return {
        "PREFECT_HOME": str(_folder(home)),
        "PREFECT_PROFILES_PATH": str(_folder(home) / "profiles.toml"),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600",  # the first start makes Prefect's database
    }


def count_tasks(home: Path) -> int:
    """Task runs in the home's database so far."""
    database = _folder(home) / "prefect.db"
    if not database.is_file():
        return 0
    with closing(sqlite3.connect(database)) as connection:
        return int(connection.execute("SELECT count(*) FROM task_run").fetchone()[0])


def _folder(home: Path) -> Path:
    return home / "prefect"
