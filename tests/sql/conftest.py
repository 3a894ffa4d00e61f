"""The option and the databases of the SQL cases: few databases, each shared by many cases."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import TestServer, _create, _database_url, _drop
from tests.sql.cases import Case, all_cases
from tests.sql.world import World, build_world

WorldOf = Callable[[Case], World]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`pytest tests/sql --update-expect` writes what the transforms give; read the difference before you keep it."""
    parser.addoption("--update-expect", action="store_true", default=False, help="rewrite expect.csv and changes.csv of the SQL cases")


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
            _create(server, database, "template1")
            made.append(database)
            worlds[key] = build_world([case] if case.is_alone else shared, _database_url(server, database), folder, is_alone=case.is_alone)
        return worlds[key]

    yield give
    for database in made:
        _drop(server, database)
