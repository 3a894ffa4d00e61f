"""Carry a run's source rows into the durable image: staging, quarantine, tombstones and content ids.

Belongs here: the statements of the publishing transaction on our own schemas. Does not: the CDM (cdm/publish.py).
"""

from psycopg import sql

from omop_inc.source.tables import SOURCE_TABLES, SourceTable
from omop_inc.store.db import Connection, analyze_roughly, execute
from omop_inc.store.exchange import lock_tables, replace_table
from omop_inc.store.pairing import key_expression
from omop_inc.store.schemas import Schemas, name
from omop_inc.store.staging import FATE_COLUMNS, all_columns, index_staged


def apply_delta(connection: Connection, schemas: Schemas, table: SourceTable) -> int:
    """Apply the settled delta of a source table.

    Returns:
        The number of rows written to staging.
    """
    names = sql.SQL(", ").join(map(sql.Identifier, all_columns(table)))
    fates = sql.SQL(", ").join(map(sql.Identifier, FATE_COLUMNS))
    parts = {
        "staging": name(schemas.staging, table.name),
        "held": name(schemas.quarantine, table.name),
        "into": name(schemas.run, table.name + "_in"),
        "out": name(schemas.run, table.name + "_out"),
        "held_in": name(schemas.run, table.name + "_held_in"),
        "held_out": name(schemas.run, table.name + "_held_out"),
        "names": names,
        "fates": fates,
    }
    execute(connection, sql.SQL("DELETE FROM {held} AS held USING {held_out} AS gone WHERE held.row_id = gone.row_id").format(**parts))
    delete = "DELETE FROM {staging} AS image USING {out} AS gone WHERE image.row_hash = gone.row_hash AND image.row_id = gone.row_id"
    execute(connection, sql.SQL(delete).format(**parts))
    written = execute(connection, sql.SQL("INSERT INTO {staging} ({names}) SELECT {names} FROM {into}").format(**parts)).rowcount
    execute(connection, sql.SQL("INSERT INTO {held} ({names}, {fates}) SELECT {names}, {fates} FROM {held_in}").format(**parts))
    _bury(connection, schemas, table)
    return written


def _bury(connection: Connection, schemas: Schemas, table: SourceTable) -> None:
    """Make tombstones of the rows that left for good, and open those of the rows that came back."""
    candidate, leave = name(schemas.run, table.name + "_candidate"), name(schemas.run, table.name + "_leave")
    back = sql.SQL("DELETE FROM {} AS tombstone USING {} AS candidate WHERE tombstone.source_table = {} AND tombstone.row_id = candidate.row_id")
    execute(connection, back.format(name(schemas.state, "tombstone"), candidate, sql.Literal(table.name)))
    bury = sql.SQL(
        "INSERT INTO {} SELECT {}, leave.row_id, leave.row_hash, {} FROM {} AS leave"
        " WHERE NOT EXISTS (SELECT FROM {} AS candidate WHERE candidate.row_id = leave.row_id) ON CONFLICT DO NOTHING"
    )
    key = key_expression(table, "leave", schemas)
    execute(connection, bury.format(name(schemas.state, "tombstone"), sql.Literal(table.name), key, leave, candidate))


def apply_bad_records(connection: Connection, schemas: Schemas, run_id: str, *, replace: bool) -> None:
    """Carry the run's bad records into quarantine.

    Args:
        replace: Whether they are all there are (a full load), instead of what came and went.
    """
    bad = name(schemas.quarantine, "bad_record")
    if replace:
        execute(connection, sql.SQL("DELETE FROM {}").format(bad))
    else:
        gone = "DELETE FROM {} AS bad USING {} AS gone WHERE bad.record_id = gone.record_id"
        execute(connection, sql.SQL(gone).format(bad, name(schemas.run, "bad_leave")))
    listed = sql.SQL("source_table, row_hash, line, column_name, rule")
    statement = sql.SQL("INSERT INTO {0} ({1}, run_id, record) SELECT {1}, %s, record FROM {2}")
    execute(connection, statement.format(bad, listed, name(schemas.run, "bad_record")), (run_id,))


def apply_content_ids(connection: Connection, schemas: Schemas, *, renumber: bool = False) -> None:
    """Keep the ids that this run gave to content; a renumbered CDM uses none of the old ones."""
    if renumber:
        execute(connection, sql.SQL("DELETE FROM {}").format(name(schemas.state, "content_id")))
    statement = sql.SQL("INSERT INTO {} (id_key, id) SELECT id_key, id FROM {} ON CONFLICT DO NOTHING")
    execute(connection, statement.format(name(schemas.state, "content_id"), name(schemas.run, "new_content_id")))


def exchange_image(connection: Connection, schemas: Schemas, *, renumber: bool) -> None:
    """Put the staging image built beside in the place of the committed one, with its held rows and tombstones."""
    lock_tables(connection, schemas.staging, SOURCE_TABLES)
    for table in SOURCE_TABLES.values():
        held, built_held = name(schemas.quarantine, table.name), name(schemas.run, table.name + "_held")
        _bury_exchanged(connection, schemas, table, renumber=renumber)
        replace_table(connection, schemas.next_staging, schemas.staging, table.name)
        execute(connection, sql.SQL("DELETE FROM {}").format(held))
        names = sql.SQL(", ").join(map(sql.Identifier, (*all_columns(table), *FATE_COLUMNS)))
        execute(connection, sql.SQL("INSERT INTO {0} ({1}) SELECT {1} FROM {2}").format(held, names, built_held))
        execute(connection, sql.SQL("ANALYZE {}").format(held))


def _bury_exchanged(connection: Connection, schemas: Schemas, table: SourceTable, *, renumber: bool) -> None:
    """Tombstones of a full reload: rows of the old image whose ids the new one does not hold."""
    tombstone = name(schemas.state, "tombstone")
    if renumber:
        execute(connection, sql.SQL("DELETE FROM {} WHERE source_table = %s").format(tombstone), (table.name,))
        return
    living = (name(schemas.next_staging, table.name), name(schemas.run, table.name + "_held"))
    for built in living:
        back = "DELETE FROM {} AS tombstone USING {} AS built WHERE source_table = {} AND built.row_id = tombstone.row_id"
        execute(connection, sql.SQL(back).format(tombstone, built, sql.Literal(table.name)))
    absent = sql.SQL(" AND ").join(
        sql.SQL("NOT EXISTS (SELECT FROM {} AS built WHERE built.row_id = leave.row_id)").format(built) for built in living
    )
    for source in (name(schemas.staging, table.name), name(schemas.quarantine, table.name)):
        bury = "INSERT INTO {} SELECT {}, leave.row_id, leave.row_hash, {} FROM {} AS leave WHERE {} ON CONFLICT DO NOTHING"
        key = key_expression(table, "leave", schemas)
        execute(connection, sql.SQL(bury).format(tombstone, sql.Literal(table.name), key, source, absent))


def index_image(connection: Connection, schemas: Schemas, table: SourceTable, *, is_indexed: bool = False) -> None:
    """Index a staging table built beside, unless it is, and analyze it."""
    if not is_indexed:
        index_staged(connection, schemas.next_staging, table)
    analyze_roughly(connection, name(schemas.next_staging, table.name))
