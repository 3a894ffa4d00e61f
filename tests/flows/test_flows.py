"""The flows end to end on the example: final states, task runs, what Prefect gets to see, exit codes."""

import json
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from prefect import flow
from prefect.client.schemas.objects import State

from flows import running
from flows.full_reload import full_reload
from flows.incremental import incremental
from flows.tasks import PrefectConductor
from flows.vocabulary import vocabulary as load_vocabulary_flow
from omop_inc.cdm.transforms import transforms
from omop_inc.errors import EXIT_REFUSED, EXIT_USAGE, DatabaseError
from omop_inc.runs.snapshots import Request, apply_snapshot
from omop_inc.settings import load_settings
from omop_inc.source.tables import SOURCE_TABLES
from tests.flows.conftest import read_log, read_task_runs, run_module

pytestmark = pytest.mark.xdist_group("prefect")

CANARY = "Zbigniew-Canary"


def run(a_flow: Any, **parameters: Any) -> State[Any]:
    state: State[Any] = a_flow(**parameters, return_state=True)
    return state


def flow_run_of(state: State[Any]) -> UUID:
    assert state.state_details.flow_run_id is not None
    return state.state_details.flow_run_id


def test_snapshots_are_applied_one_after_the_other(flow_database: str, snapshots: list[Path], vocabulary: Path, tmp_path: Path) -> None:
    first = run(incremental, source=str(snapshots[0]), vocabulary=str(vocabulary))
    assert (first.type, first.name) == ("COMPLETED", "Completed"), first.message
    file = tmp_path / "summary.json"

    second = run(incremental, source=str(snapshots[1]), json_file=str(file))

    assert second.is_completed(), second.message
    assert second.message is not None and second.message.startswith("Applied: of 5,744 rows ")
    summary = json.loads(file.read_text())
    assert summary["status"] == "applied"
    with psycopg.connect(flow_database) as connection:
        assert connection.execute("SELECT count(*) FROM cdm.person").fetchone() == (summary["cdm_tables"]["person"]["total"],)
    staged = {f"stage-{s['table']}" for s in summary["steps"] if s["step"] == "stage"}
    promised = {f"detect-{table}" for table in SOURCE_TABLES} | {f"transform-{table}" for table in transforms()} | staged
    task_runs = read_task_runs(flow_run_of(second), lambda found: promised <= {task_run.name for task_run in found})
    assert Counter(task_run.name for task_run in task_runs) >= Counter(promised)
    assert {task_run.state_name for task_run in task_runs if task_run.name in promised} <= {"Completed", "Running", "Pending"}

    again = run(full_reload, source=str(snapshots[1]))
    assert again.is_completed(), again.message
    third = run(incremental, source=str(snapshots[1]))
    assert (third.type, third.name) == ("COMPLETED", "NoChange")


def test_refused_snapshot_fails_with_its_exit_code(flow_database: str, snapshots: list[Path], vocabulary: Path, tmp_path: Path) -> None:
    apply_snapshot(Request(source=snapshots[0], vocabulary=vocabulary), load_settings())
    less = tmp_path / "less"
    less.mkdir()
    for file in snapshots[0].iterdir():
        if not file.name.startswith("conditions"):
            (less / file.name).write_bytes(file.read_bytes())

    state = run(incremental, source=str(less))

    assert (state.type, state.name) == ("FAILED", "Failed")
    assert "conditions" in str(state.message)
    assert state.result(raise_on_failure=False).exit_code == EXIT_REFUSED


def test_transient_error_in_a_step_is_retried(prefect_server: str) -> None:
    tries: Counter[str] = Counter()

    def work(table: str) -> int:
        tries[table] += 1
        if table == "person" and tries[table] < 3:
            raise DatabaseError("PostgreSQL answered 40P01", sqlstate="40P01", is_transient=True)
        return tries[table]

    @flow
    def one_step() -> None:
        with PrefectConductor(workers=2) as conductor:
            assert conductor.each("transform", ["person", "death"], work) == {"person": 3, "death": 1}

    state = run(one_step)
    assert state.is_completed(), state.message
    assert "PostgreSQL answered 40P01') - Retry 2/4" in read_log(flow_run_of(state), "Retry 2/4")


def test_first_error_is_raised_when_all_tables_have_ended(prefect_server: str) -> None:
    ended: list[str] = []

    def work(table: str) -> None:
        ended.append(table)
        if table != "person":
            raise DatabaseError(f"{table} is broken", sqlstate="22P02")

    @flow
    def one_step() -> None:
        with PrefectConductor(workers=1) as conductor, pytest.raises(DatabaseError, match="^death is broken$"):
            conductor.each("transform", ["person", "death", "cost"], work)

    assert run(one_step).is_completed()
    assert sorted(ended) == ["cost", "death", "person"]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        pytest.param(ValueError(CANARY), "unexpected ValueError; where the flow runs, OMOP_INC_DEBUG=1 shows", id="not ours"),
        pytest.param(DatabaseError("PostgreSQL answered 22P02", sqlstate="22P02"), "PostgreSQL answered 22P02", id="ours, with a cause"),
    ],
)
def test_prefect_sees_no_values_of_an_error(
    error: Exception, message: str, flow_database: str, snapshots: list[Path], vocabulary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error.__cause__ = psycopg.errors.InvalidTextRepresentation(f'invalid input syntax: "{CANARY}"')

    class Faulty(PrefectConductor):
        def each(self, step: str, tables: Any, work: Any, after: Any = None) -> Any:
            def broken(table: str) -> Any:
                raise error

            return super().each(step, tables[:2], broken, after)

    monkeypatch.setattr(running, "PrefectConductor", Faulty)

    state = run(incremental, source=str(snapshots[0]), vocabulary=str(vocabulary))

    assert (state.type, state.name) == ("FAILED", "Failed")
    assert str(state.message).startswith(message)
    log = read_log(flow_run_of(state), "Finished in state Failed")
    assert "Retry" not in log
    task_runs = read_task_runs(flow_run_of(state), lambda found: len(found) == 2 and all(t.state_name == "Failed" for t in found))
    shown = [str(t.state.message) for t in task_runs if t.state] + [str(state.message), log]
    assert len(shown) == 4
    assert not [text for text in shown if CANARY in text]
    stopped = state.result(raise_on_failure=False)
    assert isinstance(stopped, running.Stopped)
    assert stopped.__cause__ is None and stopped.__context__ is None


def test_vocabulary_is_loaded_once(flow_database: str, vocabulary: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(load_vocabulary_flow, path=str(vocabulary)).name == "Completed"
    assert "  CONCEPT" in capsys.readouterr().out.upper()
    assert run(load_vocabulary_flow, path=str(vocabulary)).name == "NoChange"


def test_module_tells_unreadable_input_in_one_line(prefect_server: str, database: str, tmp_path: Path) -> None:
    (tmp_path / "patients.csv").write_text("Id,NOBODY_KNOWS_THIS\n")
    environment = {"PREFECT_API_URL": prefect_server, "OMOP_INC_STATE_DIR": str(tmp_path / "state")}
    arguments = (str(tmp_path), "--database-url", database, "--json", str(tmp_path / "summary.json"))

    done = run_module("incremental", *arguments, **environment)

    assert done.returncode == EXIT_USAGE, done.stderr
    assert done.stderr.startswith("omop-inc: ") and done.stderr.count("\n") == 1
    assert json.loads((tmp_path / "summary.json").read_text())["status"] == "failed"


def test_module_refuses_wrong_usage_before_prefect_starts(tmp_path: Path) -> None:
    environment = {"PREFECT_API_URL": "http://127.0.0.1:1/api", "OMOP_INC_STATE_DIR": str(tmp_path / "state")}

    done = run_module("incremental", str(tmp_path), "--cdm-schema", "Wrong Name", **environment)

    assert done.returncode == EXIT_USAGE, done.stderr
    assert done.stderr.startswith("omop-inc: Settings: cdm_schema")
