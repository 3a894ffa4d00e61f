"""The time zone of the CDM's dates and times: the transforms see the source's instants as a clock in that zone shows them.

Belongs here: that change of a staged row, and whether the server knows the zone. Does not: which rows a transform sees (world.py, results.py).
The staged image stays in UTC, so another zone needs no file to be read again.
"""

from psycopg import sql

from omop_inc.errors import SettingsError
from omop_inc.source.tables import Column, SourceTable
from omop_inc.store.db import Connection, fetch_value
from omop_inc.store.staging import all_columns

UTC = "UTC"


def check_time_zone(connection: Connection, zone: str) -> None:
    """Refuse a zone that the server does not know.

    Raises:
        SettingsError: Naming the setting.
    """
    if zone == UTC:
        return
    if not fetch_value(connection, "SELECT EXISTS (SELECT FROM pg_timezone_names WHERE name = %s)", (zone,)):
        raise SettingsError(f"OMOP_INC_TIME_ZONE: the server knows no zone '{zone}'. Expected a name of pg_timezone_names, such as America/New_York.")


def has_instants(table: SourceTable) -> bool:
    """Whether a staged table holds times of day."""
    return any(column.type == "timestamp" for column in table.significant)


def local_columns(table: SourceTable, alias: str, zone: str) -> sql.Composed:
    """The columns of a staged table for a SELECT, its instants in the zone; dates are days already and stay."""
    instants = {column.staged: column for column in table.significant if column.type == "timestamp"} if zone != UTC else {}
    listed = [_local(instants[name], alias, zone) if name in instants else sql.Identifier(alias, name) for name in all_columns(table)]
    return sql.SQL(", ").join(listed)


def local_instant(value: sql.Composable, zone: sql.Composable, *, is_period: bool = False) -> sql.Composed:
    """An instant as a clock in the zone shows it.

    Midnight stands for a day without a time, and so does the last second where a year was written (a period's): neither moves.
    """
    days = ["00:00:00", "23:59:59"] if is_period else ["00:00:00"]
    return sql.SQL("CASE WHEN {0}::time IN ({1}) THEN {0} ELSE {0} AT TIME ZONE 'UTC' AT TIME ZONE {2} END").format(
        value, sql.SQL(", ").join(map(sql.Literal, days)), zone
    )


def _local(column: Column, alias: str, zone: str) -> sql.Composable:
    instant = local_instant(sql.Identifier(alias, column.staged), sql.Literal(zone), is_period=column.fold in ("period_start", "period_end"))
    return sql.SQL("{} AS {}").format(instant, sql.Identifier(column.staged))
