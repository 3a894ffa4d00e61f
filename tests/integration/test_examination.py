"""What `omop-inc doctor` says of real servers."""

import dataclasses
import re

import psycopg
from psycopg import sql
from typer.testing import CliRunner

from omop_inc.cli import app
from omop_inc.machine import GB, read_machine
from omop_inc.settings import Settings
from omop_inc.store.db import fetch_value
from omop_inc.store.examination import Finding, examine
from tests.conftest import CreateDatabase, TestServer

PREPARE = (
    "CREATE ROLE doctor_test LOGIN PASSWORD 'doctor'",
    "REVOKE CREATE, TEMPORARY ON DATABASE {database} FROM PUBLIC",
    "ALTER DATABASE {database} SET default_transaction_read_only = on",
)


def _examine(url: str, settings: Settings, **machine: int) -> dict[str, Finding]:
    with psycopg.connect(url) as connection:
        return {one.what: one for one in examine(connection, dataclasses.replace(read_machine(), **machine), settings)}


def test_the_tests_own_server_is_fit(database: str, settings: Settings) -> None:
    found = _examine(database, settings)
    assert [one.what for one in found.values() if one.level == "problem"] == []
    assert {"version", "encoding", "right CREATE", "free disk", "shared_buffers", "max_wal_size", "work_mem", "jit"} <= set(found)
    assert all(one.why for one in found.values())


def test_a_server_far_below_what_its_machine_allows_gets_advice(database: str, settings: Settings) -> None:
    found = _examine(database, settings, memory_bytes=4096 * GB, cores=128)
    for name in ("effective_cache_size", "max_parallel_workers"):
        assert found[name].level == "advice"
    assert found["work_mem"].level == "good"
    assert "every run sets it" in found["work_mem"].why


def test_a_role_without_rights_and_a_read_only_database_are_problems(server: TestServer, database: str, settings: Settings) -> None:
    name = re.search(r"test_[0-9a-f]{32}", database)
    assert name is not None
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS doctor_test")
        for statement in PREPARE:
            admin.execute(sql.SQL(statement).format(database=sql.Identifier(name[0])))  # type: ignore[arg-type]
    try:
        with psycopg.connect(database.replace("omop_inc@", "doctor_test:doctor@")) as connection:
            listed = examine(connection, read_machine(), settings)
    finally:
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("DROP ROLE doctor_test")
    assert {one.what for one in listed if one.level == "problem"} == {"right CREATE", "right TEMPORARY", "writable"}
    assert [one.level for one in listed[:3]] == ["problem"] * 3
    assert next(one for one in listed if one.what == "free disk").found == "not to be seen from here"


def test_a_database_of_another_encoding_is_a_problem(server: TestServer, create_database: CreateDatabase, settings: Settings) -> None:
    with psycopg.connect(server.admin_url, autocommit=True) as admin:
        admin.execute("CREATE DATABASE test_latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    try:
        url = re.sub(r"test_[0-9a-f]{32}", "test_latin", create_database())
        assert _examine(url, settings)["encoding"].level == "problem"
    finally:
        with psycopg.connect(server.admin_url, autocommit=True) as admin:
            admin.execute("DROP DATABASE test_latin")


def test_more_workers_than_connections_are_a_problem(database: str, settings: Settings) -> None:
    with psycopg.connect(database) as connection:
        allowed = int(fetch_value(connection, "SHOW max_connections"))  # more than are ever free, whatever other tests hold
    assert _examine(database, settings.model_copy(update={"workers": allowed}))["free connections"].level == "problem"
    assert _examine(database, settings.model_copy(update={"workers": 1}))["free connections"].level == "good"


def test_the_command_tells_and_ends_with_1_for_a_problem_alone(database: str) -> None:
    told = re.compile(r"^([0-9]+) problems, [0-9]+ pieces of advice, [0-9]+ good$", re.MULTILINE)
    done = CliRunner().invoke(app, ["doctor", "--database-url", database])
    assert (done.exit_code, told.findall(done.output)) == (0, ["0"])
    name = re.search(r"test_[0-9a-f]{32}", database)
    assert name is not None
    with psycopg.connect(database) as owner:
        owner.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(sql.Identifier(name[0])))
    done = CliRunner().invoke(app, ["doctor", "--database-url", database])
    assert (done.exit_code, told.findall(done.output)) == (1, ["1"])
    assert "writable" in done.output
