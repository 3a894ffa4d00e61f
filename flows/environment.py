"""Prefect's own settings for a run without set-up: where it keeps its files, how long its server may take, how quiet it is.

Belongs here: environment variables of Prefect. Does not: our own settings (omop_inc/settings.py); no import of Prefect.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

from omop_inc.process import prepare_process

QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The first start of a fresh home migrates SQLite: up to 48 s on a busy machine, and Prefect waits 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # That server writes what it hears of a task one by one, and is ended with the flow: of 104 tasks it had written 78 to 104. In batches,
    # of which it writes the last before it ends, all are there, for 2 s of processor time less.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "200",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "50",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    # On the terminal stand our own words; the server keeps every log line.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
}


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set what is not set; does nothing where Prefect is loaded already (a worker, a test)."""
    if "prefect" in sys.modules:
        return
    prepare_process()
    for name, value in QUIET.items():
        environment.setdefault(name, value)
    # A profile of the user's own names their server: leave it in force.
    if not (Path(environment.get("HOME") or "/") / ".prefect" / "profiles.toml").exists():
        state = Path(environment.get("OMOP_INC_STATE_DIR") or "state").absolute()
        environment.setdefault("PREFECT_HOME", str(state / "prefect"))
