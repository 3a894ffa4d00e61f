"""The world of rows that one transform of an increment sees, made of views.

Belongs here: those views and the search path along which plain names find them. Does not: which persons (scope.py).

A transform sees, under the plain names of the tables, all rows of its own affected persons as they will be after the run.
Another transform's output comes from this run for the persons of that other scope and from the committed CDM for all
others. Dimensions and transforms without a person see everything. The views are made once and stay from run to run: what an
increment holds is in the tables below them (runs/scaffold.py).
"""

from psycopg import sql

from omop_inc.cdm.delta import has_person, scope_name
from omop_inc.cdm.local_time import local_columns
from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import SqlFile, all_reads, transforms, views_of
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, name


def world_path(schemas: Schemas, transform: str) -> list[str]:
    """The search path of a transform of an increment."""
    return [schemas.world(transform), schemas.result, schemas.run, schemas.state, schemas.vocabulary]


def create_world(connection: Connection, schemas: Schemas, transform: str, time_zone: str) -> None:
    """Make the views that a transform of an increment sees; scope and result tables of all transforms must be there."""
    file, world = transforms()[transform], schemas.world(transform)
    create_schema(connection, world)
    sources, cdm_reads = all_reads(file)
    scope = name(schemas.run, scope_name(transform)) if has_person(transform) else None
    for table in sources:
        create_view(connection, name(world, table), _source_world(schemas, SOURCE_TABLES[table], scope, time_zone))
    for table in cdm_reads:
        create_view(connection, name(world, table), _cdm_world(schemas, table, scope))
    create_views(connection, world, views_of(file), world_path(schemas, transform))


def _source_world(schemas: Schemas, table: SourceTable, scope: sql.Identifier | None, time_zone: str) -> sql.Composed:
    """All rows of a source table as they will be after the run, of the persons in scope, in the CDM's time zone."""
    listed = local_columns(table, "image", time_zone)
    narrowed: sql.Composable = sql.SQL("")
    if scope is not None and table.patient is not None:
        narrowed = sql.SQL(" INNER JOIN {} AS scope ON scope.patient = image.{}").format(scope, sql.Identifier(table.patient))
    return sql.SQL(
        "SELECT {listed} FROM {staged} AS image{narrowed} WHERE NOT EXISTS (SELECT FROM {out} AS gone WHERE gone.row_id = image.row_id)"
        " UNION ALL SELECT {listed} FROM {into} AS image{narrowed}"
    ).format(
        listed=listed,
        staged=name(schemas.staging, table.name),
        narrowed=narrowed,
        out=name(schemas.run, table.name + "_out"),
        into=name(schemas.run, table.name + "_in"),
    )


def _cdm_world(schemas: Schemas, table: str, scope: sql.Identifier | None) -> sql.Composed:
    """Another transform's output: this run's for the persons that it looked at, the committed rows for all others.

    A transform without a person looked at everything if it ran; `ran` of the run's schema tells.
    """
    listed = sql.SQL(", ").join(sql.Identifier("image", c) for c in cdm_tables()[table].columns)
    narrowed: sql.Composable = sql.SQL("")
    if scope is not None and has_person(table):
        narrowed = sql.SQL(" INNER JOIN {} AS scope ON scope.person_id = image.person_id").format(scope)
    if has_person(table):
        looked_at = sql.SQL("SELECT FROM {} AS other WHERE other.person_id = image.person_id").format(name(schemas.run, scope_name(table)))
    else:
        looked_at = sql.SQL("SELECT FROM {} AS ran WHERE ran.transform = {}").format(name(schemas.run, "ran"), sql.Literal(table))
    return sql.SQL(
        "SELECT {listed} FROM {committed} AS image{narrowed} WHERE NOT EXISTS ({looked_at})"
        " UNION ALL SELECT {listed} FROM {result} AS image{narrowed}"
    ).format(
        listed=listed,
        committed=name(schemas.cdm, table),
        narrowed=narrowed,
        looked_at=looked_at,
        result=name(schemas.result, table),
    )


def create_views(connection: Connection, schema: str, files: list[SqlFile], path: list[str]) -> None:
    """Create shared views in a schema, their names resolved along a search path."""
    set_search_path(connection, path)
    for file in files:
        body = sql.SQL(file.text.rstrip().rstrip(";"))
        create_view(connection, name(schema, file.name), sql.Composed([body]))
    execute(connection, "SET LOCAL search_path TO DEFAULT")


def set_search_path(connection: Connection, path: list[str]) -> None:
    """Set the search path until the end of the transaction."""
    execute(connection, sql.SQL("SET LOCAL search_path TO {}").format(sql.SQL(", ").join(map(sql.Identifier, path))))


def create_schema(connection: Connection, schema: str) -> None:
    """Create a schema of the run's own."""
    execute(connection, sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(schema)))


def create_view(connection: Connection, view: sql.Identifier, query: sql.Composable) -> None:
    """Create a view of a query."""
    execute(connection, sql.SQL("CREATE VIEW {} AS ").format(view) + query)
