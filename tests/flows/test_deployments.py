"""prefect.yaml against the flows that it deploys, and the environment of a run without set-up."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import Settings

from flows import environment
from tests.flows.conftest import ROOT

DEPLOYMENTS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
FLOWS = {"incremental", "full_reload", "verify", "vocabulary", "check"}


def test_every_flow_is_deployed() -> None:
    assert {deployment["entrypoint"].partition(":")[2] for deployment in DEPLOYMENTS} == FLOWS
    assert {deployment["work_pool"]["name"] for deployment in DEPLOYMENTS} == {"omop-inc"}


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda deployment: deployment["entrypoint"])
def test_deployment_fits_its_flow(deployment: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    flow = load_flow_from_entrypoint(deployment["entrypoint"])
    assert deployment["parameters"].keys() <= flow.parameters.properties.keys()
    assert set(flow.parameters.required) <= deployment["parameters"].keys()
    flow.validate_parameters(deployment["parameters"])
    assert all(about.get("description") for about in flow.parameters.properties.values())
    assert not {"database_url", "password"} & flow.parameters.properties.keys()


def test_only_the_increment_has_a_schedule_and_none_overlaps() -> None:
    assert {d["entrypoint"] for d in DEPLOYMENTS if d["schedules"]} == {"flows/incremental.py:incremental"}
    for deployment in DEPLOYMENTS:
        assert deployment["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_environment_keeps_what_the_user_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "prefect")
    found = {"HOME": str(tmp_path), "OMOP_INC_STATE_DIR": str(tmp_path / "state"), "DO_NOT_TRACK": "0"}
    environment.prepare(found)
    assert found["DO_NOT_TRACK"] == "0"
    assert found["PREFECT_HOME"] == str(tmp_path / "state" / "prefect")
    assert found["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] == "180"


def test_what_the_environment_sets_of_a_server_are_settings_of_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.QUIET.items():
        monkeypatch.setenv(name, value)
    server = Settings().server
    assert server.ephemeral.startup_timeout_seconds == 180
    recorder, persister = server.services.task_run_recorder, server.services.event_persister
    assert (recorder.read_batch_size, recorder.batch_size, persister.read_batch_size, persister.batch_size) == (50, 200, 50, 500)


def test_environment_leaves_a_profile_of_the_users_own_in_force(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "prefect")
    (tmp_path / ".prefect").mkdir()
    (tmp_path / ".prefect" / "profiles.toml").touch()
    found = {"HOME": str(tmp_path)}
    environment.prepare(found)
    assert "PREFECT_HOME" not in found


def test_environment_is_left_alone_where_prefect_is_loaded() -> None:
    found: dict[str, str] = {}
    environment.prepare(found)
    assert found == {}
