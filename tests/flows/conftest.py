"""Prefect for the tests of the flows: one server for the session, one database per test.

Belongs here: the server, the environment of a flow, reading what Prefect shows. Does not: anything of one flow.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import TaskRun
from prefect.settings import get_current_settings
from prefect.testing.utilities import prefect_test_harness

from omop_inc.resources import examples_dir

ROOT = Path(__file__).parents[2]
# Prefect writes task runs and logs down some seconds after they were made.
RECORDS_LAG_S = 30


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server for the session; its URL."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_HOME", str(tmp_path_factory.mktemp("prefect")))
        patch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
        patch.setenv("DO_NOT_TRACK", "1")
        with prefect_test_harness(server_startup_timeout=180):
            yield str(get_current_settings().api.url)


@pytest.fixture
def flow_database(prefect_server: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh database that the flows of this test use; its URL."""
    monkeypatch.setenv("OMOP_INC_DATABASE_URL", database)
    monkeypatch.setenv("OMOP_INC_STATE_DIR", str(tmp_path / "state"))
    return database


@pytest.fixture(scope="session")
def snapshots() -> list[Path]:
    """The example's snapshots, oldest first."""
    return sorted(path for path in (examples_dir() / "snapshots").iterdir() if path.is_dir())


@pytest.fixture(scope="session")
def vocabulary() -> Path:
    """The example's vocabulary."""
    return examples_dir() / "vocabulary"


def read_task_runs(flow_run_id: UUID, is_complete: Callable[[list[TaskRun]], bool]) -> list[TaskRun]:
    """The task runs of a flow run, as soon as all are there."""
    where = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:
        for _ in range(RECORDS_LAG_S * 2):
            found = client.read_task_runs(flow_run_filter=where, limit=200)
            if is_complete(found):
                break
            time.sleep(0.5)
    return found


def read_log(flow_run_id: UUID, until: str) -> str:
    """What Prefect logged of a flow run, as soon as it holds a certain text."""
    where = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
    text = ""
    with get_client(sync_client=True) as client:
        for _ in range(RECORDS_LAG_S * 2):
            text = "\n".join(log.message for log in client.read_logs(log_filter=where, limit=200))
            if until in text:
                break
            time.sleep(0.5)
    return text


def run_module(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m flows.<name>`."""
    command = [sys.executable, "-m", f"flows.{name}", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False)
