"""Give each candidate row the id that it had, or a new one.

Belongs here: pairing by row hash with tombstones, by natural key with rows that leave, and what `append` calls changed.
Does not: pairing by row hash with an image (row_ids.py) and whether a candidate is loaded (fates.py).

The order, the same in an increment and in a reload: the image's rows by hash, tombstones by hash, leaving rows by key,
tombstones by key, a new id. Several rows of one key pair in content order.
"""

from psycopg import sql

from omop_inc.source.tables import SourceTable
from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import all_columns


def key_expression(table: SourceTable, alias: str, schemas: Schemas) -> sql.Composed:
    """The hash of a row's natural key; NULL for a table that has none."""
    if not table.key:
        return sql.SQL("NULL::uuid").format()
    parts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(alias, column)) for column in table.key)
    return sql.SQL("{}({})").format(name(schemas.state, "content_key"), parts)


def assign_row_ids(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Fill `row_id` of the candidates that have none."""
    exists = sql.SQL("SELECT EXISTS (SELECT FROM {} WHERE source_table = %s)").format(name(schemas.state, "tombstone"))
    has_tombstones = bool(fetch_value(connection, exists, (table.name,)))
    if has_tombstones:
        _pair(connection, schemas, table, _tombstones(schemas, table, "row_hash"), by_key=False)
    if table.key:
        _pair(connection, schemas, table, _leaving(schemas, table), by_key=True)
    if table.key and has_tombstones:
        _pair(connection, schemas, table, _tombstones(schemas, table, "key_hash"), by_key=True)
    statement = sql.SQL("UPDATE {} SET row_id = nextval({}) WHERE row_id IS NULL").format(
        name(schemas.run, table.name + "_candidate"),
        sql.Literal(name(schemas.state, "row_id_seq").as_string(connection)),
    )
    execute(connection, statement)


def _pair(connection: Connection, schemas: Schemas, table: SourceTable, known: sql.Composed, *, by_key: bool) -> None:
    """Give unnumbered candidates the ids of `known` (match, row_hash, row_id), the nth of a match to the nth."""
    match = key_expression(table, "candidate", schemas) if by_key else sql.SQL("candidate.row_hash").format()
    statement = sql.SQL(
        "WITH known AS ({known}),"
        " ranked_known AS (SELECT match, row_id, row_number() OVER (PARTITION BY match ORDER BY row_hash, row_id) AS nth FROM known),"
        " incoming AS (SELECT candidate.ctid AS place, {match} AS match, candidate.row_hash FROM {target} AS candidate"
        " WHERE candidate.row_id IS NULL),"
        " ranked_incoming AS (SELECT place, match, row_number() OVER (PARTITION BY match ORDER BY row_hash, place) AS nth FROM incoming)"
        " UPDATE {target} AS candidate SET row_id = ranked_known.row_id FROM ranked_incoming INNER JOIN ranked_known"
        " ON ranked_known.match = ranked_incoming.match AND ranked_known.nth = ranked_incoming.nth"
        " WHERE candidate.ctid = ranked_incoming.place"
    )
    execute(connection, statement.format(known=known, match=match, target=name(schemas.run, table.name + "_candidate")))


def _unused(schemas: Schemas, table: SourceTable, alias: str) -> sql.Composed:
    """True where no candidate has the row's id yet."""
    return sql.SQL("NOT EXISTS (SELECT FROM {} AS used WHERE used.row_id = {})").format(
        name(schemas.run, table.name + "_candidate"), sql.Identifier(alias, "row_id")
    )


def _leaving(schemas: Schemas, table: SourceTable) -> sql.Composed:
    return sql.SQL("SELECT {key} AS match, leave.row_hash, leave.row_id FROM {leave} AS leave WHERE {unused}").format(
        key=key_expression(table, "leave", schemas),
        leave=name(schemas.run, table.name + "_leave"),
        unused=_unused(schemas, table, "leave"),
    )


def _tombstones(schemas: Schemas, table: SourceTable, column: str) -> sql.Composed:
    wanted = key_expression(table, "candidate", schemas) if column == "key_hash" else sql.SQL("candidate.row_hash").format()
    return sql.SQL(
        "SELECT tombstone.{column} AS match, tombstone.row_hash, tombstone.row_id FROM {tombstone} AS tombstone"
        " WHERE tombstone.source_table = {table} AND tombstone.{column} IN"
        " (SELECT {wanted} FROM {candidate} AS candidate WHERE candidate.row_id IS NULL) AND {unused}"
    ).format(
        column=sql.Identifier(column),
        tombstone=name(schemas.state, "tombstone"),
        table=sql.Literal(table.name),
        wanted=wanted,
        candidate=name(schemas.run, table.name + "_candidate"),
        unused=_unused(schemas, table, "tombstone"),
    )


def find_replaced(connection: Connection, schemas: Schemas, table: SourceTable) -> int:
    """In append mode: move to the leaving rows each image row that an incoming row replaces.

    A row replaces another if its key is unique among the incoming rows and in the image, and the folder does not
    hold the image's row as well (table `<name>_kept` of the run holds the hashes of the folder's known rows).

    Returns:
        The number of rows replaced.
    """
    if not table.key:
        return 0
    owner = table.patient or "id"
    same = sql.SQL(" AND ").join(sql.SQL("image.{0} IS NOT DISTINCT FROM incoming.{0}").format(sql.Identifier(column)) for column in table.key)
    listed = sql.SQL(", ").join(sql.Identifier("image", column) for column in all_columns(table))
    statement = sql.SQL(
        "WITH incoming AS (SELECT candidate.*, count(*) OVER (PARTITION BY {key}) AS of_key FROM {candidate} AS candidate),"
        " image AS (SELECT {listed}, {origin} AS origin FROM {staging} AS image UNION ALL SELECT {listed}, 'held' FROM {held} AS image),"
        " pair AS (SELECT image.*, count(*) OVER (PARTITION BY incoming.row_hash) AS of_image FROM incoming INNER JOIN image"
        " ON image.{owner} = incoming.{owner} AND {same} WHERE incoming.of_key = 1)"
        " INSERT INTO {leave} ({names}, origin) SELECT {names}, origin FROM pair WHERE of_image = 1"
        " AND NOT EXISTS (SELECT FROM {kept} AS kept WHERE kept.row_hash = pair.row_hash)"
    ).format(
        key=key_expression(table, "candidate", schemas),
        candidate=name(schemas.run, table.name + "_candidate"),
        listed=listed,
        origin=sql.Literal("staging"),
        staging=name(schemas.staging, table.name),
        held=name(schemas.quarantine, table.name),
        owner=sql.Identifier(owner),
        same=same,
        leave=name(schemas.run, table.name + "_leave"),
        names=sql.SQL(", ").join(map(sql.Identifier, all_columns(table))),
        kept=name(schemas.run, table.name + "_kept"),
    )
    return execute(connection, statement).rowcount
