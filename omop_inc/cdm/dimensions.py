"""Transforms without a person that need not look at everything: their rows follow from one Id of a dimension, or from one place.

Belongs here: the table of the Ids or places that they look at, how the source rows are narrowed to these, and the committed rows
that the result replaces. Does not: transforms of persons (scope.py), the views themselves (world.py).

A header says `-- unit: organizations` (a source table: its rows of one Id make the CDM's) or `-- unit: place` (the rows of one key of
sql/view/place.sql). The table `scope_<transform>` then holds the Ids or keys, or one row that stands for all of them.
"""

from psycopg import sql

from omop_inc.cdm.delta import Delta, scope_name
from omop_inc.cdm.spec import cdm_tables, identity
from omop_inc.cdm.transforms import PLACE_VIEW, SqlFile, transforms
from omop_inc.store.db import Connection, execute
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import place_start


def by_unit() -> list[SqlFile]:
    """The transforms without a person that look at single Ids or places."""
    return [file for file in transforms().values() if file.dimension]


def is_of_places(file: SqlFile) -> bool:
    """Whether a transform looks at places."""
    return file.dimension == PLACE_VIEW


def seen_schema(schemas: Schemas, transform: str) -> str:
    """The schema in which the view of places shows the rows that came and went, and no others."""
    return schemas.world(f"{transform}_seen")


def create_unit_tables(connection: Connection, schemas: Schemas) -> None:
    """Make the tables of Ids and places. `near`: how the address of the place begins, by which its rows are found."""
    for file in by_unit():
        statement = sql.SQL("CREATE UNLOGGED TABLE {} (key uuid, near text, is_whole boolean NOT NULL)")
        execute(connection, statement.format(name(schemas.run, scope_name(file.name))))


def narrowings(schemas: Schemas, file: SqlFile, table: str) -> list[sql.Composed] | None:
    """The joins that leave those rows `image` of a source table that a transform looks at, each its own; None where it sees all."""
    scope = name(schemas.run, scope_name(file.name))
    whole = sql.SQL(" INNER JOIN {} AS scope ON scope.is_whole").format(scope)
    if table == file.dimension:
        return [sql.SQL(" INNER JOIN {} AS scope ON scope.key = image.id").format(scope), whole]
    if not is_of_places(file):
        return None
    near = sql.SQL(" INNER JOIN (SELECT DISTINCT near FROM {} WHERE NOT is_whole) AS scope ON {}")
    start = place_start("image")
    return [
        near.format(scope, sql.SQL("{} = scope.near").format(start)),
        near.format(scope, sql.SQL("scope.near IS NULL AND {} IS NULL").format(start)),
        whole,
    ]


def committed_rows(schemas: Schemas, file: SqlFile) -> sql.Composed:
    """The committed rows of a CDM table that the Ids or places in scope have made."""
    if is_of_places(file):
        query = "SELECT known.id FROM {} AS known INNER JOIN {} AS scope ON scope.key = known.id_key"
        made = sql.SQL(query).format(name(schemas.run, "content_id"), name(schemas.run, scope_name(file.name)))
    else:
        query = "SELECT staged.row_id FROM {} AS staged INNER JOIN {} AS scope ON scope.key = staged.id"
        made = sql.SQL(query).format(name(schemas.staging, str(file.dimension)), name(schemas.run, scope_name(file.name)))
    return sql.SQL(
        "SELECT image.* FROM {committed} AS image WHERE image.{key} IN ({made})"
        " UNION ALL SELECT image.* FROM {committed} AS image INNER JOIN {scope} AS scope ON scope.is_whole"
    ).format(
        committed=name(schemas.cdm, file.name),
        key=sql.Identifier(identity(cdm_tables()[file.name])[0]),
        made=made,
        scope=name(schemas.run, scope_name(file.name)),
    )


def build_units(connection: Connection, delta: Delta, file: SqlFile, ids: list[sql.Composed]) -> int:
    """Fill the table of Ids or places, of which a row came or went, or which all are to be looked at.

    Args:
        ids: Queries for the Ids of the dimension that are to be looked at; of places there is a view.

    Returns:
        How many; 1 for all.
    """
    schemas = delta.schemas
    scope = name(schemas.run, scope_name(file.name))
    if file.name in delta.whole:
        return execute(connection, sql.SQL("INSERT INTO {} VALUES (NULL, NULL, true)").format(scope)).rowcount
    if is_of_places(file):
        return _build_places(connection, schemas, file, scope)
    if not ids:
        return 0
    statement = sql.SQL("INSERT INTO {} SELECT DISTINCT id, NULL, false FROM ({}) AS seen")
    count = execute(connection, statement.format(scope, sql.SQL(" UNION ALL ").join(ids))).rowcount
    execute(connection, sql.SQL("ANALYZE {}").format(scope))
    return count


def _build_places(connection: Connection, schemas: Schemas, file: SqlFile, scope: sql.Identifier) -> int:
    """The places of rows that came and went, then all others of an address that begins alike: the transform sees their rows too."""
    statement = sql.SQL(
        "INSERT INTO {scope} SELECT DISTINCT id_key, address_1, false FROM {places} AS place WHERE id_key IS NOT NULL"
        " AND NOT EXISTS (SELECT FROM {scope} AS known WHERE known.key = place.id_key)"
    )
    count = 0
    for schema in (seen_schema(schemas, file.name), schemas.world(file.name)):
        count += execute(connection, statement.format(scope=scope, places=name(schema, PLACE_VIEW))).rowcount
        execute(connection, sql.SQL("ANALYZE {}").format(scope))
        if not count:
            break
    return count
