"""The option and the databases of the SQL cases: few databases, each shared by many cases."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import RESIDENT_VARIABLE, TestServer, _create, _database_url, _drop
from tests.sql.cases import ROOT, Case, all_cases
from tests.sql.world import World, build_brief_world, build_world

WorldOf = Callable[[Case], World]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/sql --update-expect` writes what the transforms give; read the difference before you keep it."""
    parser.addoption("--update-expect", action="store_true", default=False, help="rewrite expect.csv and changes.csv of the SQL cases")
    parser.addoption("--brief", action="store_true", default=False, help="only cases of one snapshot that share a database, loaded once")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With --brief, a first look in a fifth of the time: benchmarks/mutation asks everything else afterwards."""
    if config.getoption("--brief", default=False):
        left_out = [item for item in items if item.path.is_relative_to(ROOT) and not _is_brief(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def _is_brief(item: pytest.Item) -> bool:
    """Whether a test looks at a case that shares a database and has one snapshot."""
    case = getattr(getattr(item, "callspec", None), "params", {}).get("case")
    is_plain = isinstance(case, Case) and not case.is_alone and len(case.folders) == 1
    return is_plain and getattr(item, "originalname", "") == "test_case"


@pytest.fixture(scope="session")
def world_of(request: pytest.FixtureRequest, server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorldOf]:
    """Gives the world of a case: its own, or the one of all collected cases that share; built when first asked for."""
    chosen = {item.callspec.params["case"].id for item in request.session.items if "case" in getattr(getattr(item, "callspec", None), "params", {})}
    shared = [case for case in all_cases() if not case.is_alone and case.id in chosen]
    worlds: dict[str, World] = {}
    made: list[str] = []

    def give(case: Case) -> World:
        key = case.id if case.is_alone else "shared"
        if key not in worlds:
            folder: Path = tmp_path_factory.mktemp("world")
            database = f"test_sql_{folder.parent.parent.name[-12:]}_{folder.parent.name[-8:]}_{folder.name}".replace("-", "_")
            resident = os.environ.get(RESIDENT_VARIABLE, "") if not case.is_alone else ""
            _create(server, database, resident or "template1")
            made.append(database)
            url = _database_url(server, database)
            build = build_brief_world if request.config.getoption("--brief", default=False) else build_world
            worlds[key] = build([case] if case.is_alone else shared, url, folder, is_ready=case.is_alone or bool(resident))
        return worlds[key]

    yield give
    for database in made:
        _drop(server, database)
