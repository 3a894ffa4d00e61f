"""Run a transform, and find what its result changes in the CDM.

Belongs here: result tables, the execution of sql/transform, the difference to the committed rows.
Does not: choosing persons (scope.py), the world they see (world.py), writing the CDM (publish.py).
"""

from dataclasses import dataclass

import psycopg
from psycopg import sql

from omop_inc.cdm.delta import PERSON_BESIDE, Delta, encounter_scope_name, has_person, scope_name
from omop_inc.cdm.dimensions import committed_rows
from omop_inc.cdm.local_time import UTC, has_instants, local_columns
from omop_inc.cdm.scope import build_scope
from omop_inc.cdm.spec import CdmTable, cdm_tables, create_table, identity, index_statements, primary_key_statement
from omop_inc.cdm.transforms import EVENT_VIEW, ROUTED_VIEW, SqlFile, code_views, transforms, view_order, views
from omop_inc.cdm.world import create_schema, create_view, create_views, set_search_path, world_path
from omop_inc.errors import TransformError
from omop_inc.resources import read_sql
from omop_inc.source.tables import SOURCE_TABLES
from omop_inc.store.db import Connection, Database, analyze_roughly, execute, fetch_value, translate
from omop_inc.store.schemas import Schemas, columns, name, row_of

# The source tables whose rows have a price, and so a row of cost.
PRICED_TABLES = ("encounters", "medications", "immunizations", "procedures")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What one transform did in an increment."""

    persons: int = 0  # in scope, or Ids or places; 1 for a transform that looks at everything and ran
    rows: int = 0  # of the result
    gone: int = 0  # committed rows that leave or are replaced
    added: int = 0  # rows that enter


def _number_further_targets(connection: Connection, transform: SqlFile, path: list[str]) -> None:
    """Give ids to the rows of further targets of a transform that looks at everybody; else `gather_routed` gave them theirs."""
    if ROUTED_VIEW in transform.view_reads:
        set_search_path(connection, path)
        execute(connection, read_sql("query/further_target.sql"), {"table_name": transform.name})


def execute_transform(connection: Connection, transform: SqlFile, path: list[str]) -> None:
    """Run a transform's file along a search path.

    Raises:
        TransformError: If PostgreSQL refuses it for a reason that trying again does not mend.
    """
    set_search_path(connection, path)
    try:
        execute(connection, transform.text)
    except psycopg.Error as error:
        ours = translate(error)
        if ours.is_transient:
            raise ours from error
        raise TransformError(
            f"sql/transform/{transform.name}.sql: {ours}. Nothing was applied; the CDM is as it was.",
            transform=transform.name,
            sqlstate=ours.sqlstate,
        ) from error
    execute(connection, "SET LOCAL search_path TO DEFAULT")


def create_result_tables(connection: Connection, schemas: Schemas) -> None:
    """Make what the transforms of an increment write, and the tables of the difference to the committed rows."""
    for transform in transforms():
        result = name(schemas.result, transform)
        execute(connection, create_table(cdm_tables()[transform], schemas.result, unlogged=True, constraints=False))
        if transform in PERSON_BESIDE:
            execute(connection, sql.SQL("ALTER TABLE {} ADD COLUMN person_id bigint").format(result))
        for kind in ("gone", "added"):
            statement = sql.SQL("CREATE UNLOGGED TABLE {} (LIKE {})")
            execute(connection, statement.format(name(schemas.run, f"{kind}_{transform}"), result))


def run_increment(database: Database, delta: Delta, transform: str, *, is_again: bool = False) -> Result:
    """Run one transform for its affected persons, in one transaction on a connection of its own.

    Args:
        is_again: Whether a try before may have left rows.
    """
    schemas, table = delta.schemas, cdm_tables()[transform]
    result = name(schemas.result, transform)
    with database.connection() as connection:
        if is_again:
            _empty(connection, schemas, transform)
        persons = build_scope(connection, delta, transform)
        if not persons:
            return Result()
        path = world_path(schemas, transform)
        if transform in delta.whole:
            _number_further_targets(connection, transforms()[transform], path)
        execute_transform(connection, transforms()[transform], path)
        analyze_roughly(connection, result)
        rows = int(fetch_value(connection, sql.SQL("SELECT count(*) FROM {}").format(result)))
        gone, added = _difference(connection, delta, table)
    return Result(persons=persons, rows=rows, gone=gone, added=added)


def _empty(connection: Connection, schemas: Schemas, transform: str) -> None:
    """Empty what a try whose COMMIT was not answered may have left."""
    tables = [name(schemas.result, transform), *(name(schemas.run, f"{kind}_{transform}") for kind in ("gone", "added"))]
    if has_person(transform) or transforms()[transform].dimension:
        tables.append(name(schemas.run, scope_name(transform)))
    if transforms()[transform].is_by_encounter:
        tables.append(name(schemas.run, encounter_scope_name(transform)))
    for one in tables:
        execute(connection, sql.SQL("DELETE FROM {}").format(one))


def _difference(connection: Connection, delta: Delta, table: CdmTable) -> tuple[int, int]:
    """Fill `gone_<table>` and `added_<table>`: the rows by which the result differs from the committed ones."""
    schemas = delta.schemas
    names = (*table.columns, "person_id") if table.name in PERSON_BESIDE else table.columns
    parts = {
        "old": _committed(delta, table),
        "result": name(schemas.result, table.name),
        "same": sql.SQL(" AND ").join(sql.SQL("old.{0} = new.{0}").format(sql.Identifier(c)) for c in identity(table))
        if table.name != "cdm_source"
        else sql.SQL("true"),
        "differs": sql.SQL("record_image_ne({}, {})").format(row_of(list(names), "old"), row_of(list(names), "new")),
        "key": sql.Identifier(identity(table)[0]),
    }
    counts = []
    for kind, mine, text in (
        ("gone", "old", "SELECT {listed} FROM ({old}) AS old LEFT JOIN {result} AS new ON {same} WHERE new.{key} IS NULL OR {differs}"),
        ("added", "new", "SELECT {listed} FROM {result} AS new LEFT JOIN ({old}) AS old ON {same} WHERE old.{key} IS NULL OR {differs}"),
    ):
        target = name(schemas.run, f"{kind}_{table.name}")
        query = sql.SQL("INSERT INTO {target} ({names}) " + text)
        counts.append(execute(connection, query.format(target=target, names=columns(names), listed=columns(names, mine), **parts)).rowcount)
        analyze_roughly(connection, target)
    return counts[0], counts[1]


def _committed(delta: Delta, table: CdmTable) -> sql.Composed:
    """The committed rows of a CDM table's persons or encounters in scope, with their person."""
    schemas = delta.schemas
    committed = name(schemas.cdm, table.name)
    if transforms()[table.name].dimension:
        return committed_rows(schemas, transforms()[table.name])
    if not has_person(table.name):
        return sql.SQL("SELECT * FROM {}").format(committed)
    whole = _committed_of_persons(schemas, table)
    if not transforms()[table.name].is_by_encounter:
        return whole
    of_encounters = _costs_of_encounters(schemas) if table.name == "cost" else _events_of_encounters(schemas, table)
    return sql.SQL("{} WHERE scope.is_whole UNION ALL {}").format(whole, of_encounters)


def _committed_of_persons(schemas: Schemas, table: CdmTable) -> sql.Composed:
    scope, committed = name(schemas.run, scope_name(table.name)), name(schemas.cdm, table.name)
    if table.name == "fact_relationship":
        return sql.SQL("SELECT beside.* FROM {} AS beside INNER JOIN {} AS scope ON scope.person_id = beside.person_id").format(
            name(schemas.state, "fact_relationship_person"), scope
        )
    if table.name == "cost":
        return sql.SQL(
            "SELECT image.*, beside.person_id FROM {} AS beside INNER JOIN {} AS scope ON scope.person_id = beside.person_id"
            " INNER JOIN {} AS image ON image.cost_id = beside.cost_id"
        ).format(name(schemas.state, "cost_person"), scope, committed)
    return sql.SQL("SELECT image.* FROM {} AS image INNER JOIN {} AS scope ON scope.person_id = image.person_id").format(committed, scope)


def _events_of_encounters(schemas: Schemas, table: CdmTable) -> sql.Composed:
    """The committed rows that name an encounter in scope as their visit_detail."""
    return sql.SQL(
        "SELECT image.* FROM {committed} AS image INNER JOIN {scope} AS scope ON scope.person_id = image.person_id"
        " WHERE NOT scope.is_whole AND image.visit_detail_id IN (SELECT encounters.row_id FROM {encounters} AS seen"
        " INNER JOIN {staged} AS encounters ON encounters.patient = seen.patient AND encounters.id = seen.encounter)"
    ).format(
        committed=name(schemas.cdm, table.name),
        scope=name(schemas.run, scope_name(table.name)),
        encounters=name(schemas.run, encounter_scope_name(table.name)),
        staged=name(schemas.staging, "encounters"),
    )


def _costs_of_encounters(schemas: Schemas) -> sql.Composed:
    """The committed costs of the priced rows of encounters in scope: a cost has the row_id of the row that has the price."""
    priced = sql.SQL(" UNION ALL ").join(
        sql.SQL(
            "SELECT image.row_id, seen.patient FROM {} AS seen INNER JOIN {} AS image ON image.{} = seen.patient AND image.{} = seen.encounter"
        ).format(
            name(schemas.run, encounter_scope_name("cost")),
            name(schemas.staging, table),
            sql.Identifier(str(SOURCE_TABLES[table].patient)),
            sql.Identifier(str(SOURCE_TABLES[table].encounter)),
        )
        for table in PRICED_TABLES
    )
    return sql.SQL(
        "SELECT image.*, scope.person_id FROM ({}) AS priced INNER JOIN {} AS scope ON scope.patient = priced.patient"
        " INNER JOIN {} AS image ON image.cost_id = priced.row_id"
    ).format(priced, name(schemas.run, scope_name("cost")), name(schemas.cdm, "cost"))


def full_path(schemas: Schemas) -> list[str]:
    """The search path of a full load's transforms and views."""
    return [schemas.run, schemas.delta, schemas.next_staging, schemas.next_cdm, schemas.state, schemas.vocabulary]


def prepare_full(connection: Connection, schemas: Schemas, time_zone: str) -> None:
    """Make the schemas of a full load's CDM, and over the whole new image the views that tell which codes are in use."""
    for schema in (schemas.delta, schemas.next_cdm):
        create_schema(connection, schema)
    for table in SOURCE_TABLES.values() if time_zone != UTC else ():
        if has_instants(table):  # along the search path the view comes before the image
            text = sql.SQL("SELECT {} FROM {} AS image").format(local_columns(table, "image", time_zone), name(schemas.next_staging, table.name))
            create_view(connection, name(schemas.delta, table.name), text)
    create_views(connection, schemas.delta, code_views(), full_path(schemas))


def prepare_full_views(connection: Connection, schemas: Schemas) -> None:
    """Make the other shared views; they join the look-ups, which must be there.

    The routed view becomes a table with a partition for each CDM table, to be filled by `route_full`: seven transforms read it,
    and each would work out all of it again (15 of 74 CPU seconds at 1 GB).
    """
    others = [views()[n] for n in view_order() if views()[n] not in code_views() and n != ROUTED_VIEW]
    create_views(connection, schemas.delta, others, full_path(schemas))
    create_views(connection, schemas.delta, [views()[ROUTED_VIEW]], full_path(schemas))
    routed = name(schemas.run, ROUTED_VIEW)  # found before the view
    statement = sql.SQL("CREATE TABLE {} (LIKE {}) PARTITION BY LIST (target_table)")
    execute(connection, statement.format(routed, name(schemas.delta, ROUTED_VIEW)))
    for target in routed_targets():
        part = sql.SQL("CREATE UNLOGGED TABLE {} PARTITION OF {} FOR VALUES IN ({})")
        execute(connection, part.format(name(schemas.run, f"routed_{target}"), routed, sql.Literal(target)))


def keep_view(database: Database, schemas: Schemas, view: str) -> int:
    """Make a table of one of KEPT_VIEWS, which the transforms of a full load find before the view.

    Returns:
        Its rows.
    """
    kept = name(schemas.run, view)
    with database.connection() as connection:
        execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(kept))
        rows = execute(connection, sql.SQL("CREATE UNLOGGED TABLE {} AS SELECT * FROM {}").format(kept, name(schemas.delta, view))).rowcount
        analyze_roughly(connection, kept)
    return rows


def routed_targets() -> list[str]:
    """The transforms that read the routed view."""
    return [n for n, transform in transforms().items() if ROUTED_VIEW in transform.view_reads]


def routed_sources() -> frozenset[str]:
    """The source tables whose rows are routed."""
    return frozenset(views()[EVENT_VIEW].source_reads)


def route_full(database: Database, schemas: Schemas, source_table: str) -> int:
    """Route the rows of one source table of a full load.

    Returns:
        The number of routed rows.
    """
    # The condition on a constant column leaves one branch of the view to the planner.
    statement = sql.SQL("INSERT INTO {} SELECT * FROM {} WHERE source_table = {}")
    with database.connection() as connection:
        routed, whole = name(schemas.run, ROUTED_VIEW), name(schemas.delta, ROUTED_VIEW)
        return execute(connection, statement.format(routed, whole, sql.Literal(source_table))).rowcount


def run_full(database: Database, schemas: Schemas, transform: str, path: list[str], *, foreign_keys: bool, index_first: bool = False) -> Result:
    """Run one transform over everything into a table of the CDM built beside, then (or first) index, and analyze it.

    The table is made in the transaction that fills it: where `wal_level` is `minimal` its rows are then written once.
    """
    table = cdm_tables()[transform]
    target = name(schemas.next_cdm, transform)
    with database.connection() as connection:
        execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(target))
        execute(connection, create_table(table, schemas.next_cdm))
        if transform in PERSON_BESIDE:
            execute(connection, sql.SQL("ALTER TABLE {} ADD COLUMN person_id bigint").format(target))
        if transform in routed_targets():
            analyze_roughly(connection, name(schemas.run, f"routed_{transform}"))
        if index_first:
            _index(connection, schemas, table, foreign_keys=foreign_keys)
        _number_further_targets(connection, transforms()[transform], path)
        execute_transform(connection, transforms()[transform], path)
        if transform in PERSON_BESIDE:
            _build_beside(connection, schemas, transform)
        if not index_first:
            _index(connection, schemas, table, foreign_keys=foreign_keys)
        execute(connection, sql.SQL("ANALYZE {}").format(target))
        rows = int(fetch_value(connection, sql.SQL("SELECT count(*) FROM {}").format(target)))
    return Result(persons=0, rows=rows, gone=0, added=rows)


def _index(connection: Connection, schemas: Schemas, table: CdmTable, *, foreign_keys: bool) -> None:
    key = primary_key_statement(table, schemas.next_cdm)
    for statement in ([key] if key else []) + list(index_statements(table, schemas.next_cdm, foreign_keys=foreign_keys)):
        execute(connection, statement)


def beside_name(transform: str) -> str:
    """The table that holds the person of each row of a CDM table without a person column."""
    return f"{transform}_person"


def beside_columns(transform: str) -> tuple[str, ...]:
    """Its columns: the person and what tells the rows apart."""
    own = ("cost_id",) if transform == "cost" else cdm_tables()[transform].columns
    return ("person_id", *own)


def _build_beside(connection: Connection, schemas: Schemas, transform: str) -> None:
    """Move the persons out of a table built beside into a table of their own, indexed as sql/ddl/state.sql does."""
    target, built = name(schemas.run, beside_name(transform)), name(schemas.next_cdm, transform)
    listed = columns(beside_columns(transform))
    execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(target))
    execute(connection, sql.SQL("CREATE TABLE {} (LIKE {})").format(target, name(schemas.state, beside_name(transform))))
    execute(connection, sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2}").format(target, listed, built))
    if transform == "cost":
        execute(connection, sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (cost_id)").format(target))
    execute(connection, sql.SQL("CREATE INDEX ON {} (person_id)").format(target))
    execute(connection, sql.SQL("ANALYZE {}").format(target))
    execute(connection, sql.SQL("ALTER TABLE {} DROP COLUMN person_id").format(built))
