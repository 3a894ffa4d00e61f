import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from omop_inc.errors import OmopIncError, SettingsError
from omop_inc.settings import Settings
from omop_inc.store import embedded
from omop_inc.store.postgres_place import base_folder, live_pid, make_base_folder, place_of
from omop_inc.store.postgres_programs import Source, find_programs


@pytest.fixture
def own() -> Iterator[Settings]:
    """Settings of a server of the test's own, in a folder with a space that root's server user can pass."""
    folder = Path(tempfile.mkdtemp(prefix="omop_inc own "))
    folder.chmod(0o711)
    settings = Settings(state_dir=folder / "state", database_url=None)
    yield settings
    embedded.discard(settings)
    shutil.rmtree(folder)


def fetch(url: str, statement: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement).fetchone()
        return row[0] if row else None


def test_start_makes_a_server_and_finds_it_again(own: Settings) -> None:
    assert embedded.status(own).state == "absent"
    first = embedded.start(own)
    begin = time.perf_counter()
    assert embedded.start(own) == first
    assert time.perf_counter() - begin < 1
    assert embedded.status(own).server == first
    assert embedded.url(own) == first.url


def test_start_gives_a_role_without_power_over_the_server(own: Settings) -> None:
    server = embedded.start(own)
    assert fetch(server.url, "SELECT rolsuper OR rolcreatedb OR rolcreaterole FROM pg_roles WHERE rolname = current_user") is False
    assert fetch(server.url, "SHOW data_checksums") == "on"
    assert fetch(server.url, "SHOW server_encoding") == "UTF8"
    assert fetch(server.url, "SHOW listen_addresses") == "127.0.0.1"


def test_start_lets_nobody_in_without_the_password(own: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    server = embedded.start(own)
    monkeypatch.setenv("HOME", "/nowhere")
    for user in ("postgres", "omop_inc"):
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(host="127.0.0.1", port=server.port, user=user, dbname="postgres", connect_timeout=5)
    base = base_folder(own)
    for name in ("pgpass", "server.json", "server.log"):
        assert stat.S_IMODE((base / name).stat().st_mode) == 0o600
    assert (base / "pgpass").read_text().split(":")[4].strip() not in server.url + server.admin_url


def test_start_runs_as_no_root_and_opens_no_parent(own: Settings) -> None:
    before = stat.S_IMODE(own.state_dir.parent.stat().st_mode)
    server = embedded.start(own)
    assert server.data_dir.stat().st_uid != 0
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE(own.state_dir.parent.stat().st_mode) == before


def test_start_keeps_the_servers_log_free_of_values(own: Settings) -> None:
    server = embedded.start(own)
    with pytest.raises(psycopg.Error):
        fetch(server.url, "SELECT 'canary'::text, 1/0")
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE t (a text PRIMARY KEY)")
        connection.execute("INSERT INTO t VALUES ('canary')")
        with pytest.raises(psycopg.Error):
            connection.execute("INSERT INTO t VALUES (%s)", ["canary"])
    text = (base_folder(own) / "server.log").read_text()
    assert "duplicate key" in text
    assert "canary" not in text


def test_stop_and_start_keep_data_and_port(own: Settings) -> None:
    server = embedded.start(own)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS a")
    assert embedded.stop(own) is True
    assert embedded.status(own).state == "stopped"
    assert embedded.stop(own) is False
    again = embedded.start(own)
    assert again == server
    assert fetch(again.url, "SELECT count(*) FROM kept") == 1


def test_start_takes_another_port_when_the_last_one_is_taken(own: Settings) -> None:
    port = embedded.start(own).port
    embedded.stop(own)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        server = embedded.start(own)
    assert server.port != port
    assert fetch(server.url, "SELECT 1") == 1


def test_start_after_kill_recovers_what_was_committed(own: Settings) -> None:
    server = embedded.start(own)
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT generate_series(1, 1000) AS a")
    pid = live_pid(server.data_dir)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert embedded.status(own).state == "stopped"
    assert fetch(embedded.start(own).url, "SELECT count(*) FROM kept") == 1000


def test_start_after_kill_does_not_wait_for_a_busy_statement(own: Settings) -> None:
    server = embedded.start(own)
    with psycopg.connect(server.url) as connection, ThreadPoolExecutor(1) as threads:
        statement = threads.submit(connection.execute, "SELECT count(*) FROM generate_series(1, 200000000) AS n WHERE n % 7 = 3")
        time.sleep(0.5)
        pid = live_pid(server.data_dir)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        begin = time.perf_counter()
        assert fetch(embedded.start(own).url, "SELECT 1") == 1
        assert time.perf_counter() - begin < 30
        with pytest.raises(psycopg.OperationalError):
            statement.result()


@pytest.mark.parametrize("pid", [os.getpid(), 2**22 + 5], ids=["another program's number", "unused number"])
def test_start_after_a_crash_of_the_machine_ignores_the_pid_file(own: Settings, pid: int) -> None:
    server = embedded.start(own)
    lines = (server.data_dir / "postmaster.pid").read_text().splitlines()
    embedded.stop(own)
    (server.data_dir / "postmaster.pid").write_text("\n".join([str(pid), *lines[1:]]) + "\n")
    assert embedded.status(own).state == "stopped"
    assert fetch(embedded.start(own).url, "SELECT 1") == 1


def test_start_cleans_up_after_a_first_start_that_was_cut_short(own: Settings) -> None:
    base = base_folder(own)
    make_base_folder(base)
    (base / "data.partial" / "base").mkdir(parents=True)
    assert fetch(embedded.start(own).url, "SELECT 1") == 1
    assert not (base / "data.partial").exists()


def test_start_by_many_at_once_makes_one_server(own: Settings) -> None:
    with ThreadPoolExecutor(4) as threads:
        servers = list(threads.map(embedded.start, [own] * 4))
    assert len(set(servers)) == 1


def test_start_of_another_state_folder_is_another_server(own: Settings) -> None:
    other = Settings(state_dir=own.state_dir.parent / "other", database_url=None)
    try:
        first, second = embedded.start(own), embedded.start(other)
        assert first.port != second.port
        assert fetch(second.url, "SHOW data_directory") == str(second.data_dir)
    finally:
        embedded.discard(other)
    assert embedded.status(own).state == "running"


def test_start_of_a_copied_state_folder_does_not_take_the_originals_server(own: Settings) -> None:
    embedded.start(own)
    embedded.stop(own)
    other = Settings(state_dir=own.state_dir.parent / "copy", database_url=None)
    subprocess.run(["cp", "-a", own.state_dir, other.state_dir], check=True)
    try:
        first, second = embedded.start(own), embedded.start(other)
        assert (first.port, first.data_dir) != (second.port, second.data_dir)
        assert fetch(second.url, "SHOW data_directory") == str(second.data_dir)
    finally:
        embedded.discard(other)


def test_start_on_data_of_another_version_names_it(own: Settings) -> None:
    server = embedded.start(own)
    embedded.stop(own)
    version = server.data_dir / "PG_VERSION"
    real = version.read_text()
    version.write_text("12\n")
    with pytest.raises(SettingsError, match="Install PostgreSQL 12, which made the database"):
        embedded.start(own)
    version.write_text(real)


@pytest.mark.parametrize("source", ["system", "wheel"])
def test_start_works_with_programs_of_either_origin(own: Settings, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMOP_INC_POSTGRES_SOURCE", source)
    try:
        expected = find_programs(source=source)
    except OmopIncError:
        assert source == "system", "the wheel is a dependency"
        return  # a machine without PostgreSQL: nothing to start with
    monkeypatch.setenv("PATH", "/nowhere")
    server = embedded.start(own)
    assert server.version == expected.version
    assert fetch(server.url, "SHOW server_version_num") == fetch(server.admin_url, "SHOW server_version_num")
    assert str(fetch(server.url, "SELECT version()")).startswith(f"PostgreSQL {server.version}")


def test_start_where_the_server_user_cannot_go_says_where_the_data_lie(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A private folder: the data stay in it for an ordinary user, and go elsewhere for root, whose server is another user's."""
    tmp_path.chmod(0o700)
    settings = Settings(state_dir=tmp_path / "state", database_url=None)
    try:
        server = embedded.start(settings)
        assert fetch(server.url, "SELECT 1") == 1
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        is_inside = server.data_dir.is_relative_to(tmp_path)
        assert is_inside == (os.geteuid() != 0)
        assert is_inside or str(server.data_dir.parent) in caplog.text
    finally:
        embedded.discard(settings)
    assert not server.data_dir.exists()


def test_start_outlives_the_process_that_started_it(own: Settings) -> None:
    code = "import sys; from omop_inc.settings import Settings; from omop_inc.store import embedded; embedded.start(Settings(state_dir=sys.argv[1]))"
    subprocess.run([sys.executable, "-c", code, str(own.state_dir)], check=True, cwd=Path(__file__).parents[2])
    assert embedded.status(own).state == "running"
    assert live_pid(place_of(base_folder(own)).data) is not None
