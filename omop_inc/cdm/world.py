"""The world of rows that one transform of an increment sees, made of views.

Belongs here: those views and the search path along which plain names find them. Does not: which persons (scope.py).

A transform sees, under the plain names of the tables, all rows of its own affected persons as they will be after the run.
Another transform's output comes from this run for the persons of that other scope and from the committed CDM for all
others. Dimensions and transforms without a person see everything.
"""

from psycopg import sql

from omop_inc.cdm.delta import Delta, has_person, scope_name
from omop_inc.cdm.local_time import local_columns
from omop_inc.cdm.spec import cdm_tables
from omop_inc.cdm.transforms import SqlFile, all_reads, transforms, views_of
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import name


def build_world(connection: Connection, delta: Delta, transform: str) -> list[str]:
    """Make the views that a transform of an increment sees.

    Returns:
        Its search path.
    """
    schemas, file = delta.schemas, transforms()[transform]
    world = schemas.world(transform)
    create_schema(connection, world)
    sources, cdm_reads = all_reads(file)
    scope = name(schemas.run, scope_name(transform)) if has_person(transform) and transform not in delta.whole else None
    for table in sources:
        create_view(connection, name(world, table), _source_world(delta, SOURCE_TABLES[table], scope))
    for table in cdm_reads:
        create_view(connection, name(world, table), _cdm_world(delta, table, scope))
    path = [world, schemas.result, schemas.run, schemas.state, schemas.vocabulary]
    create_views(connection, world, views_of(file), path)
    return path


def _source_world(delta: Delta, table: SourceTable, scope: sql.Identifier | None) -> sql.Composed:
    """All rows of a source table as they will be after the run, of the persons in scope, in the CDM's time zone."""
    schemas = delta.schemas
    listed = local_columns(table, "image", delta.time_zone)
    narrowed: sql.Composable = sql.SQL("")
    if scope is not None and table.patient is not None:
        narrowed = sql.SQL(" INNER JOIN {} AS scope ON scope.patient = image.{}").format(scope, sql.Identifier(table.patient))
    text = sql.SQL("SELECT {} FROM {} AS image{}")
    staged = text.format(listed, name(schemas.staging, table.name), narrowed)
    if table.name not in delta.settled:
        return staged
    out = sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS gone WHERE gone.row_id = image.row_id)").format(name(schemas.run, table.name + "_out"))
    return staged + out + sql.SQL(" UNION ALL ") + text.format(listed, name(schemas.run, table.name + "_in"), narrowed)


def _cdm_world(delta: Delta, table: str, scope: sql.Identifier | None) -> sql.Composed:
    """Another transform's output: this run's for the persons that it looked at, the committed rows for all others."""
    schemas = delta.schemas
    listed = sql.SQL(", ").join(sql.Identifier("image", c) for c in cdm_tables()[table].columns)
    if not has_person(table):
        return sql.SQL("SELECT {} FROM {} AS image").format(listed, name(schemas.result if table in delta.ran else schemas.cdm, table))
    narrowed: sql.Composable = sql.SQL("")
    if scope is not None:
        narrowed = sql.SQL(" INNER JOIN {} AS scope ON scope.person_id = image.person_id").format(scope)
    text = sql.SQL("SELECT {} FROM {} AS image{}")
    committed = text.format(listed, name(schemas.cdm, table), narrowed)
    if table not in delta.ran:
        return committed
    looked_at = sql.SQL(" WHERE NOT EXISTS (SELECT FROM {} AS other WHERE other.person_id = image.person_id)").format(
        name(schemas.run, scope_name(table))
    )
    return committed + looked_at + sql.SQL(" UNION ALL ") + text.format(listed, name(schemas.result, table), narrowed)


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
