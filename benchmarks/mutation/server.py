"""The PostgreSQL that all mutants share, so that none has to start one.

Belongs here: naming or starting it. Does not: databases, which each test makes and drops.
"""

import os
from pathlib import Path

import psycopg
from psycopg import sql

from omop_inc.settings import Settings
from omop_inc.store import embedded
from omop_inc.store.postgres_place import ROLE
from tests.conftest import DSN_VARIABLE, THROW_AWAY, TestServer


def start_server(folder: Path) -> TestServer:
    """The server that OMOP_INC_TEST_DSN names, or one started in a folder and left running (stop it with `omop-inc db stop`)."""
    if url := os.environ.get(DSN_VARIABLE):
        return TestServer(admin_url=url, role=None)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o711)  # root's server user has to pass
    found = embedded.start(Settings(state_dir=folder / "state", database_url=None))
    with psycopg.connect(found.admin_url, autocommit=True) as connection:
        for name, value in THROW_AWAY.items():
            connection.execute(sql.SQL("ALTER SYSTEM SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        connection.execute("SELECT pg_reload_conf()")
    return TestServer(admin_url=found.admin_url, role=ROLE)
