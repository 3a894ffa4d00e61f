"""Headers of transforms and views against PostgreSQL: each runs where only the columns that it declares exist.

Belongs here: what only the database can tell of a header. Does not: what the text alone tells (unit/test_transforms.py).
A column that is read but not declared would leave persons out of an increment's scope.
"""

import uuid
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql

from omop_inc.cdm.delta import PERSON_BESIDE
from omop_inc.cdm.spec import cdm_tables, create_table, tables_of
from omop_inc.cdm.transforms import SqlFile, transforms, view_order, views
from omop_inc.resources import read_sql
from omop_inc.source.tables import SOURCE_TABLES
from tests.conftest import TestServer, _create, _database_url, _drop

LOOKUPS = """
    CREATE TABLE run_parameter (snapshot_date date, tool_version text, hash_version integer, vocabulary_version text,
        vocabulary_fingerprint text, cdm_version_concept_id integer, time_zone text);
    CREATE TABLE new_content_id (id_key uuid PRIMARY KEY, id bigint NOT NULL DEFAULT 0);
"""


@pytest.fixture(scope="module")
def connection(server: TestServer) -> Iterator[psycopg.Connection]:
    """A database with the vocabulary, the look-ups and all views over full source tables."""
    name = f"test_headers_{uuid.uuid4().hex}"
    _create(server, name, "template1")
    with psycopg.connect(_database_url(server, name)) as found:
        found.execute("CREATE SCHEMA look; CREATE SCHEMA full_source; CREATE SCHEMA views; CREATE SCHEMA own")
        for table in tables_of("vocab"):
            found.execute(create_table(table, "look"))
        found.execute("SET search_path TO look")
        found.execute(read_sql("ddl/state.sql"))
        found.execute(read_sql("ddl/vocab_map.sql"))
        found.execute(LOOKUPS)  # type: ignore[arg-type]
        for table in SOURCE_TABLES:
            _create_source(found, "full_source", table, SOURCE_TABLES[table].staged)
        for view in view_order():
            found.execute("SET search_path TO full_source, views, look")
            found.execute(f"CREATE VIEW views.{view} AS {views()[view].text}")  # type: ignore[arg-type]
        found.commit()
        yield found
    _drop(server, name)


@pytest.mark.parametrize("name", view_order())
def test_view_reads_only_what_its_header_declares(connection: psycopg.Connection, name: str) -> None:
    view = views()[name]
    _declare(connection, view)
    connection.execute(f"CREATE VIEW own.checked AS {view.text}")  # type: ignore[arg-type]
    connection.rollback()


@pytest.mark.parametrize("name", sorted(transforms()))
def test_transform_reads_only_what_its_header_declares(connection: psycopg.Connection, name: str) -> None:
    transform = transforms()[name]
    _declare(connection, transform)
    connection.execute(create_table(cdm_tables()[name], "own"))
    if name in PERSON_BESIDE:
        connection.execute(sql.SQL("ALTER TABLE {} ADD COLUMN person_id bigint NOT NULL").format(sql.Identifier("own", name)))
    connection.execute(transform.text)  # type: ignore[arg-type]
    connection.rollback()


def _declare(connection: psycopg.Connection, file: SqlFile) -> None:
    """Make what a file declares, and nothing else; views that it does not name are out of sight."""
    for table, names in file.source_reads.items():
        _create_source(connection, "own", table, names)
    for table, names in file.cdm_reads.items():
        connection.execute(create_table(cdm_tables()[table], "own", constraints=False))
        for column in set(cdm_tables()[table].columns) - set(names):
            connection.execute(sql.SQL("ALTER TABLE {} DROP COLUMN {}").format(sql.Identifier("own", table), sql.Identifier(column)))
    for view in file.view_reads:
        connection.execute(sql.SQL("CREATE VIEW own.{0} AS SELECT * FROM views.{0}").format(sql.Identifier(view)))
    connection.execute("SET LOCAL search_path TO own, look")


def _create_source(connection: psycopg.Connection, schema: str, table: str, names: tuple[str, ...]) -> None:
    columns = [sql.SQL("{} {}").format(sql.Identifier(n), sql.SQL(SOURCE_TABLES[table].column(n).type)) for n in names]  # type: ignore[arg-type]
    connection.execute(
        sql.SQL("CREATE TABLE {} ({})").format(sql.Identifier(schema, table), sql.SQL(", ").join([sql.SQL("row_id bigint NOT NULL"), *columns]))
    )
