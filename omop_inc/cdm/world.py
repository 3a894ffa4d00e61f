"""The world of rows that one transform of an increment sees, made of views.

Belongs here: those views and the search path along which plain names find them. Does not: which persons (scope.py).

A transform sees, under the plain names of the tables, all rows of its own affected persons as they will be after the run; a
transform of encounters those of the affected encounters, and of their persons what belongs to no encounter. Another transform's
output is the committed CDM without what leaves and with what enters. Dimensions and transforms without a person see everything.
The views are made once and stay from run to run: what an increment holds is in the tables below them (runs/scaffold.py).
"""

from psycopg import sql

from omop_inc.cdm.delta import PERSON_BESIDE, encounter_scope_name, has_person, scope_name
from omop_inc.cdm.dimensions import narrowings
from omop_inc.cdm.local_time import UTC, local_columns
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.cdm.transforms import PRESENCE_VIEW, SqlFile, all_reads, transforms, views, views_of
from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, columns, name


def world_path(schemas: Schemas, transform: str) -> list[str]:
    """The search path of a transform of an increment."""
    return [schemas.world(transform), schemas.result, schemas.run, schemas.state, schemas.vocabulary]


def create_world(connection: Connection, schemas: Schemas, transform: str, time_zone: str) -> None:
    """Make the views that a transform of an increment sees; scope and result tables of all transforms must be there."""
    file, world = transforms()[transform], schemas.world(transform)
    create_schema(connection, world)
    shared = views_of(file)
    sources, cdm_reads = all_reads(file)
    for table in sources:
        create_view(connection, name(world, table), _source_world(schemas, SOURCE_TABLES[table], file, time_zone))
    for table in cdm_reads:
        create_view(connection, name(world, table), _cdm_world(schemas, table, file))
    create_views(connection, world, [view for view in shared if view.name != PRESENCE_VIEW], world_path(schemas, transform))
    if views()[PRESENCE_VIEW] in shared:
        _create_presence(connection, schemas, transform)


def _create_presence(connection: Connection, schemas: Schemas, transform: str) -> None:
    """Make the view of persons with a claim over all of their rows: it looks beyond the encounters in scope."""
    beyond, scope = schemas.world(f"{transform}_person"), name(schemas.run, scope_name(transform))
    create_schema(connection, beyond)
    for table in views()[PRESENCE_VIEW].source_reads:
        facts = SOURCE_TABLES[table]
        create_view(connection, name(beyond, table), _rows(schemas, facts, _of_persons(facts, scope), local_columns(facts, "image", UTC)))
    create_views(connection, schemas.world(transform), [views()[PRESENCE_VIEW]], [beyond])


def _scope(schemas: Schemas, file: SqlFile) -> sql.Identifier | None:
    return name(schemas.run, scope_name(file.name)) if has_person(file.name) else None


def _source_world(schemas: Schemas, table: SourceTable, file: SqlFile, time_zone: str) -> sql.Composed:
    """All rows of a source table as they will be after the run, of the persons or encounters in scope, in the CDM's time zone."""
    listed = local_columns(table, "image", time_zone)
    if joins := narrowings(schemas, file, table.name):
        return sql.SQL(" UNION ALL ").join(_rows(schemas, table, join, listed) for join in joins)
    scope = _scope(schemas, file)
    if scope is None or table.patient is None:
        return _rows(schemas, table, sql.SQL(""), listed)
    if not file.is_by_encounter or table.encounter is None:
        return _rows(schemas, table, _of_persons(table, scope), listed)
    encounters = sql.SQL(" INNER JOIN {} AS scope ON scope.patient = image.{} AND scope.encounter = image.{}").format(
        name(schemas.run, encounter_scope_name(file.name)), sql.Identifier(table.patient), sql.Identifier(table.encounter)
    )
    whole = sql.SQL("{} AND scope.is_whole").format(_of_persons(table, scope))
    return sql.SQL("{} UNION ALL {}").format(_rows(schemas, table, encounters, listed), _rows(schemas, table, whole, listed))


def _of_persons(table: SourceTable, scope: sql.Identifier) -> sql.Composed:
    return sql.SQL(" INNER JOIN {} AS scope ON scope.patient = image.{}").format(scope, sql.Identifier(str(table.patient)))


def _rows(schemas: Schemas, table: SourceTable, narrowed: sql.Composable, listed: sql.Composable) -> sql.Composed:
    """The rows of a source table as they will be after the run, narrowed by a join."""
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


def _cdm_world(schemas: Schemas, table: str, file: SqlFile) -> sql.Composed:
    """Another transform's output: the committed rows without those that leave, and those that enter."""
    facts, scope = cdm_tables()[table], _scope(schemas, file)
    assert table not in PERSON_BESIDE, "their committed rows have no person"
    narrowed: sql.Composable = sql.SQL("")
    if scope is not None and has_person(table):
        narrowed = sql.SQL(" INNER JOIN {} AS scope ON scope.person_id = image.person_id").format(scope)
    return sql.SQL(
        "SELECT {listed} FROM {committed} AS image{narrowed} WHERE NOT EXISTS (SELECT FROM {gone} AS gone WHERE {same})"
        " UNION ALL SELECT {listed} FROM {added} AS image{narrowed}"
    ).format(
        listed=columns(facts.columns, "image"),
        committed=name(schemas.cdm, table),
        narrowed=narrowed,
        gone=name(schemas.run, f"gone_{table}"),
        same=sql.SQL(" AND ").join(sql.SQL("gone.{0} = image.{0}").format(sql.Identifier(c)) for c in identity(facts)),
        added=name(schemas.run, f"added_{table}"),
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
