import os
import stat
from pathlib import Path

import pytest

from omop_inc.errors import SettingsError
from omop_inc.machine import GB, MB, Machine, read_machine
from omop_inc.store import embedded, postgres_place, postgres_programs
from omop_inc.store.postgres_conf import render, server_settings
from omop_inc.store.postgres_programs import find_programs


def make_machine(*, memory_bytes: int = 16 * GB, cores: int = 4, shm_bytes: int = 8 * GB, is_linux: bool = True) -> Machine:
    return Machine(memory_bytes=memory_bytes, cores=cores, shm_bytes=shm_bytes, is_linux=is_linux)


@pytest.mark.parametrize(
    ("memory_bytes", "shared_buffers", "work_mem", "maintenance_work_mem", "effective_cache_size"),
    [
        pytest.param(128 * MB, "64MB", "8MB", "64MB", "76MB", id="tiny container: the least of each"),
        pytest.param(2 * GB, "512MB", "32MB", "128MB", "1228MB", id="small machine"),
        pytest.param(256 * GB, "4096MB", "256MB", "1024MB", "157286MB", id="large machine: capped"),
    ],
)
def test_server_settings_follow_the_memory(
    memory_bytes: int, shared_buffers: str, work_mem: str, maintenance_work_mem: str, effective_cache_size: str
) -> None:
    settings = server_settings(make_machine(memory_bytes=memory_bytes), port=5432)
    assert settings["shared_buffers"] == shared_buffers
    assert settings["work_mem"] == work_mem
    assert settings["maintenance_work_mem"] == maintenance_work_mem
    assert settings["effective_cache_size"] == effective_cache_size


@pytest.mark.parametrize(("cores", "gather"), [(1, "0"), (2, "1"), (4, "2"), (64, "4")])
def test_server_settings_leave_cores_to_other_transforms(cores: int, gather: str) -> None:
    assert server_settings(make_machine(cores=cores), port=5432)["max_parallel_workers_per_gather"] == gather


def test_server_settings_small_dev_shm_uses_other_shared_memory() -> None:
    assert server_settings(make_machine(shm_bytes=64 * MB), port=1)["dynamic_shared_memory_type"] == "sysv"
    assert server_settings(make_machine(), port=1)["dynamic_shared_memory_type"] == "posix"


def test_server_settings_elsewhere_name_nothing_that_only_linux_has() -> None:
    assert "client_connection_check_interval" not in server_settings(make_machine(is_linux=False), port=1)


def test_server_settings_keep_values_of_rows_out_of_the_log() -> None:
    settings = server_settings(make_machine(), port=1)
    assert settings["log_error_verbosity"] == "terse"
    assert settings["log_min_error_statement"] == "panic"
    assert settings["log_parameter_max_length_on_error"] == "0"
    assert settings["log_statement"] == "none"


def test_render_quotes_every_value() -> None:
    assert render({"port": "5432", "jit": "off"}).splitlines()[1:] == ["port = '5432'", "jit = 'off'"]


@pytest.mark.parametrize(
    ("cgroup", "files", "memory_bytes", "cores"),
    [
        pytest.param(
            "0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "1073741824", "a/b/cpu.max": "100000 100000"}, GB, 1, id="version 2, limit above"
        ),
        pytest.param("0::/\n", {"memory.max": "536870912"}, 512 * MB, None, id="version 2 in a container"),
        pytest.param(
            "5:memory:/x\n4:cpu,cpuacct:/\n",
            {"memory/x/memory.limit_in_bytes": "1073741824", "cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"},
            GB,
            1,
            id="version 1",
        ),
        pytest.param("", {}, None, None, id="no groups: the machine's own"),
    ],
)
def test_read_machine_respects_control_groups(
    tmp_path: Path, cgroup: str, files: dict[str, str], memory_bytes: int | None, cores: int | None
) -> None:
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(cgroup)
    for name, text in files.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    machine = read_machine(tmp_path / "groups", tmp_path / "proc")
    assert memory_bytes is None or machine.memory_bytes == memory_bytes
    assert cores is None or machine.cores == cores
    assert machine.memory_bytes > 0
    assert machine.cores > 0


def make_installation(folder: Path, version: str) -> Path:
    folder.mkdir(parents=True)
    for name in postgres_programs.NEEDED_PROGRAMS:
        (folder / name).write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (Debian {version}-1)'\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def installations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of its own: PostgreSQL 13, 15, 16 and 18.4 and a wheel with 18.2; root stays root as tmp_path is private."""
    for version in ("13.1", "15.2", "16.10", "16.9", "19beta1"):
        make_installation(tmp_path / "system" / version / "bin", version)
    make_installation(tmp_path / "wheel", "18.2")
    monkeypatch.setattr(postgres_programs, "SYSTEM_FOLDERS", (str((tmp_path / "system/*/bin").relative_to("/")),))
    monkeypatch.setattr(postgres_programs, "_wheel_folders", lambda: iter([tmp_path / "wheel"]))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", "/nowhere")
    return tmp_path


def test_find_programs_takes_the_newest_supported_of_the_system(installations: Path) -> None:
    found = find_programs()
    assert (found.version, found.origin) == ("16.10", "system")


def test_find_programs_without_a_system_takes_the_wheel(installations: Path) -> None:
    found = find_programs(source="wheel")
    assert (found.version, found.origin, found.major) == ("18.2", "wheel", 18)


def test_find_programs_prefers_the_setting(installations: Path) -> None:
    found = find_programs(installations / "system/15.2/bin")
    assert (found.version, found.origin) == ("15.2", "setting")


def test_find_programs_takes_the_version_that_made_the_data(installations: Path) -> None:
    assert find_programs(major=15).version == "15.2"
    assert find_programs(major=18).origin == "wheel"


def test_find_programs_names_what_was_found_and_what_is_needed(installations: Path) -> None:
    with pytest.raises(SettingsError, match=r"of PostgreSQL 17, found 19 in .*, 16\.10 in .*Install PostgreSQL 17, which made the database"):
        find_programs(major=17)


def test_find_programs_unusable_setting_is_not_passed_over(installations: Path) -> None:
    with pytest.raises(SettingsError, match=r"OMOP_INC_POSTGRES_BIN \('.*nothing'\), found none"):
        find_programs(installations / "nothing")
    with pytest.raises(SettingsError, match=r"PostgreSQL 14 to 18 in OMOP_INC_POSTGRES_BIN .*found 13\.1"):
        find_programs(installations / "system/13.1/bin")


def test_read_source_refuses_unknown_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(postgres_programs.SOURCE_VARIABLE, "docker")
    with pytest.raises(SettingsError, match="expected auto, system or wheel"):
        embedded.read_source()


def test_server_user_of_root_is_never_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    user = postgres_programs.server_user()
    assert user is not None
    assert user.uid != 0
    monkeypatch.setattr(postgres_programs, "USERS_FOR_ROOT", ("nobody here",))
    with pytest.raises(SettingsError, match="PostgreSQL does not run as root, and this machine has none of the users"):
        postgres_programs.server_user()


def test_run_program_hides_the_callers_postgres_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "not for children")
    answer = postgres_programs.run_program(["/bin/sh", "-c", "env"], None)
    assert b"PGPASSWORD" not in answer.stdout


def test_write_private_is_readable_for_nobody_else(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    previous = os.umask(0)
    try:
        postgres_place.write_private(path, "a")
        postgres_place.write_private(path, "b")
    finally:
        os.umask(previous)
    assert path.read_text() == "b"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "no number\n", f"{2**22 + 5}\n", f"{os.getpid()}\n"], ids=["empty", "damaged", "unused", "another program's"])
def test_live_pid_sees_through_a_leftover_pid_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "postmaster.pid").write_text(text)
    assert postgres_place.live_pid(tmp_path) is None


def test_settings_are_safe_ones() -> None:
    settings = server_settings(make_machine(), port=1)
    assert {name: settings[name] for name in ("fsync", "full_page_writes", "synchronous_commit")} == {
        "fsync": "on",
        "full_page_writes": "on",
        "synchronous_commit": "on",
    }
    assert settings["listen_addresses"] == "127.0.0.1"
