"""Put a table that was built beside in the place of the committed one.

Belongs here: the exchange of one table, whatever it holds. Does not: which tables (apply.py, cdm/publish.py).
"""

from collections.abc import Iterable

from psycopg import sql

from omop_inc.store.db import Connection, execute, fetch_value
from omop_inc.store.schemas import columns, name


def lock_tables(connection: Connection, schema: str, tables: Iterable[str]) -> None:
    """Lock what is about to be replaced, those that exist, all at once.

    Autovacuum gives way to a lock after `deadlock_timeout`, a second, and goes on to the next table: locked one by one as they were
    dropped, five tables of a reload waited for it five times.
    """
    query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind IN ('r', 'p') AND relname = ANY(%s) ORDER BY relname"
    found = execute(connection, query, (sql.Identifier(schema).as_string(connection), list(tables))).fetchall()
    if found:
        listed = sql.SQL(", ").join(name(schema, table) for (table,) in found)
        execute(connection, sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(listed))


def replace_table(connection: Connection, source_schema: str, target_schema: str, table: str) -> None:
    """Put a table in the place of another of the same columns; grants on it stay, and so do views that others made."""
    source, target = name(source_schema, table), name(target_schema, table)
    old = fetch_value(connection, "SELECT to_regclass(%s)::oid", (f"{target_schema}.{table}",))
    if old is not None and _has_dependents(connection, old):
        execute(connection, sql.SQL("DELETE FROM {}").format(target))
        names = columns(_read_columns(connection, old))  # the two may hold them in another order
        execute(connection, sql.SQL("INSERT INTO {0} ({2}) SELECT {2} FROM {1}").format(target, source, names))
        execute(connection, sql.SQL("DROP TABLE {} CASCADE").format(source))  # with the run's own views on it
        return
    grants = _read_grants(connection, old) if old is not None else []
    execute(connection, sql.SQL("DROP TABLE IF EXISTS {}").format(target))
    execute(connection, sql.SQL("ALTER TABLE {} SET SCHEMA {}").format(source, sql.Identifier(target_schema)))
    for privilege, grantee in grants:
        role = sql.Identifier(grantee) if grantee else sql.SQL("PUBLIC")
        execute(connection, sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(privilege), target, role))


def _has_dependents(connection: Connection, table: int) -> bool:
    """Whether a view or a rule of somebody else stands on a table."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_depend INNER JOIN pg_rewrite ON pg_rewrite.oid = pg_depend.objid"
        " WHERE pg_depend.classid = 'pg_rewrite'::regclass AND pg_depend.refobjid = %s AND pg_rewrite.ev_class <> %s)"
    )
    return bool(fetch_value(connection, query, (table, table)))


def _read_columns(connection: Connection, table: int) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped ORDER BY attnum"
    return [row[0] for row in execute(connection, query, (table,))]


def _read_grants(connection: Connection, table: int) -> list[tuple[str, str]]:
    query = (
        "SELECT acl.privilege_type, coalesce(role.rolname, '') FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) AS acl"
        " LEFT JOIN pg_roles AS role ON role.oid = acl.grantee WHERE pg_class.oid = %s AND acl.grantee <> pg_class.relowner"
    )
    return [(row[0], row[1]) for row in execute(connection, query, (table,))]
