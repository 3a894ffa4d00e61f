"""The database of the tests: one server per session, one fresh database per test.

Belongs here: the server, databases, settings, the report's header. Does not: anything of one table or one flow.
The server is the embedded one in a folder of its own, or the one that OMOP_INC_TEST_DSN names (a role that may CREATE DATABASE).
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from omop_inc.cdm.vocabulary import load_vocabulary
from omop_inc.errors import OmopIncError
from omop_inc.settings import Settings
from omop_inc.store import embedded
from omop_inc.store.postgres_place import ROLE
from omop_inc.store.postgres_programs import SOURCE_VARIABLE, find_programs
from tests.stores import Cdm, make_vocabulary

DSN_VARIABLE = "OMOP_INC_TEST_DSN"
# The largest test holds two images of one export and their CDMs.
MEMORY_NEEDED = 6 << 30
# Set by the session's first process for its xdist workers, which share one server.
STATE_VARIABLE = "OMOP_INC_TEST_STATE_DIR"
# Names a database with vocabulary and resident of tests/sql, so that none has to be made (benchmarks/mutation).
RESIDENT_VARIABLE = "OMOP_INC_TEST_RESIDENT"
KEPT_VARIABLES = (
    DSN_VARIABLE,
    RESIDENT_VARIABLE,
    STATE_VARIABLE,
    SOURCE_VARIABLE,
    "OMOP_INC_POSTGRES_BIN",
    "OMOP_INC_TEST_HISTORIES",
    "OMOP_INC_TEST_KILLS",
)
# Enough for tests, which kill processes but never the machine; a session's server is thrown away.
THROW_AWAY = {"fsync": "off", "full_page_writes": "off"}
WORKSHOP = Path(__file__).parents[2] / "shared" / "data"

CreateDatabase = Callable[..., str]


@dataclass(frozen=True, kw_only=True)
class TestServer:
    """The session's server."""

    __test__ = False
    admin_url: str  # may create databases
    role: str | None  # owner of the databases; None: whoever connects


def _fast_folder() -> str | None:
    """Memory for the server's files where there is plenty: a test makes and drops hundreds of tables (35 s instead of 82 s)."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > MEMORY_NEEDED:
        return str(memory)
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Keep the developer's own settings out, and name the session's folder before workers are started."""
    for name in list(os.environ):
        if name.startswith(("OMOP_INC_", "PG")) and name not in KEPT_VARIABLES:
            del os.environ[name]
    if DSN_VARIABLE not in os.environ and STATE_VARIABLE not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="omop_inc-test-", dir=_fast_folder()))
        folder.chmod(0o711)  # root's server user has to pass
        os.environ[STATE_VARIABLE] = str(folder)
        config.stash[_OWNED_FOLDER] = folder


def pytest_unconfigure(config: pytest.Config) -> None:
    """The process that named the folder removes it and the server in it, after all workers have ended."""
    folder = config.stash.get(_OWNED_FOLDER, None)
    if folder is not None:
        embedded.discard(_session_settings(folder))
        shutil.rmtree(folder)
        del os.environ[STATE_VARIABLE]


def pytest_report_header() -> str:
    """Which PostgreSQL the tests run on."""
    if dsn := os.environ.get(DSN_VARIABLE):
        with psycopg.connect(dsn) as connection:
            return f"PostgreSQL {connection.info.parameter_status('server_version')} ({DSN_VARIABLE})"
    try:
        settings = _session_settings(Path(os.environ[STATE_VARIABLE]))
        programs = find_programs(settings.postgres_bin, source=embedded.read_source())
    except OmopIncError as error:
        return f"PostgreSQL: {error}"
    return f"PostgreSQL {programs.version} (embedded, programs of the {programs.origin}: {programs.bin_dir})"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests with the real exports exist only where the exports are."""
    if WORKSHOP.is_dir():
        return
    absent = [item for item in items if item.get_closest_marker("workshop")]
    if absent:
        config.hook.pytest_deselected(items=absent)
        items[:] = [item for item in items if item not in absent]


_OWNED_FOLDER = pytest.StashKey[Path]()


def _session_settings(folder: Path) -> Settings:
    return Settings(state_dir=folder / "state", database_url=None)


@pytest.fixture(scope="session")
def server() -> TestServer:
    """The session's server, started by the first test that asks."""
    if dsn := os.environ.get(DSN_VARIABLE):
        return TestServer(admin_url=dsn, role=None)
    found = embedded.start(_session_settings(Path(os.environ[STATE_VARIABLE])))
    with psycopg.connect(found.admin_url, autocommit=True) as connection:
        if connection.execute("SHOW fsync").fetchone() == ("on",):
            for name, value in THROW_AWAY.items():
                connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
            connection.execute("SELECT pg_reload_conf()")
    return TestServer(admin_url=found.admin_url, role=ROLE)


@pytest.fixture(scope="session")
def workshop() -> Path:
    """The folder of the real exports; for tests marked workshop."""
    return WORKSHOP


@pytest.fixture
def create_database(server: TestServer) -> Iterator[CreateDatabase]:
    """Makes databases that end with the test: `create_database()`, or `create_database(template=name)` for a copy."""
    made: list[str] = []

    def create(template: str = "template1") -> str:
        name = f"test_{uuid.uuid4().hex}"
        _create(server, name, template)
        made.append(name)
        return _database_url(server, name)

    yield create
    for name in made:
        _drop(server, name)


@pytest.fixture(scope="session")
def vocabulary_template(server: TestServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Name of a database that holds the example's vocabulary and a few codes of our own, to be copied."""
    name = f"test_{uuid.uuid4().hex}"
    _create(server, name, "template1")
    with psycopg.connect(_database_url(server, name)) as connection:
        load_vocabulary(connection, make_vocabulary(tmp_path_factory.mktemp("vocabulary") / "small"), "vocab")
    yield name
    _drop(server, name)


@pytest.fixture
def cdm(create_database: CreateDatabase, vocabulary_template: str, tmp_path: Path) -> Cdm:
    """An empty CDM in a database of its own that holds a vocabulary."""
    return Cdm(create_database(template=vocabulary_template), tmp_path / "state")


@pytest.fixture
def database(create_database: CreateDatabase) -> str:
    """The libpq URL of a fresh, empty database, owned by a role that is no superuser."""
    return create_database()


@pytest.fixture
def settings(database: str, tmp_path: Path) -> Settings:
    """Settings of a run against a fresh database, with a state folder of its own."""
    return Settings(state_dir=tmp_path / "state", database_url=database)


def _create(server: TestServer, name: str, template: str) -> None:
    owner = sql.SQL(" OWNER {}").format(sql.Identifier(server.role)) if server.role else sql.SQL("")
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)) + owner
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute(statement)


def _drop(server: TestServer, name: str) -> None:
    with psycopg.connect(server.admin_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _database_url(server: TestServer, name: str) -> str:
    """The server's address with another database, and another role where there is one."""
    if "://" not in server.admin_url:
        return make_conninfo(server.admin_url, dbname=name)
    parts = urlsplit(server.admin_url)
    host = parts.netloc if server.role is None else f"{server.role}@{parts.netloc.rpartition('@')[2]}"
    return urlunsplit(parts._replace(netloc=host, path=f"/{name}"))
