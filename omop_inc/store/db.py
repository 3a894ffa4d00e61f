"""Connections, transactions and locks; a driver's errors become ours here and nowhere else.

Belongs here: the pool, the engine, session settings, the translation of errors. Does not: any table of ours.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy
from psycopg import sql
from psycopg_pool import ConnectionPool, NullConnectionPool, PoolTimeout

from omop_inc.errors import DatabaseError, OmopIncError, SettingsError
from omop_inc.settings import Settings
from omop_inc.store.ablation import connection_class, plain_options
from omop_inc.store.sizing import session_sizes

Connection = psycopg.Connection[Any]
Statement = sql.Composed | sql.SQL | str

SUPPORTED_MAJORS = range(14, 19)

# A killed client's backend ends within this time; measured: without it an INSERT went on for 3 s and then committed.
CLIENT_CHECK_MS = 200
SESSION_OPTIONS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "lock_timeout": "60s",
    "idle_in_transaction_session_timeout": "15min",
    "client_min_messages": "warning",
    # Scattered persons read by index are near in memory; at the default 4 the planner scans whole tables (1.1 s for 0.2 s).
    "random_page_cost": "1.1",
    "jit": "off",
}

# Of the pool's connections alone. They write the run's own tables, which nobody misses after a crash: waiting for the disk
# at each of some sixty commits is waste. What the publishing transaction commits is on disk, with all that came before it.
# Tables and transforms already keep each core busy; a statement that takes a second one takes it from another and works more: the
# grouping of 1.4 million transactions took 4.2 s of two cores, and 2.3 s of one.
WORK_OPTIONS = {
    "synchronous_commit": "off",
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # Rows that come out of a window or a union have no statistics, so that the planner fears one bucket of a hash holds them all, and sorts
    # both sides of a join instead: costs took 0.6 s longer of 6, a check of all events 0.3 s.
    "enable_mergejoin": "off",
}

# Rows sampled by ANALYZE are 300 times this. Runs join by keys, whose number of values 9,000 rows tell well enough.
ROUGH_STATISTICS = 30

# Serialisation, deadlock, lock not available, admin shutdown, crash, cannot connect now, connection failures.
TRANSIENT_STATES = frozenset({"40001", "40P01", "55P03", "57P01", "57P02", "57P03", "08000", "08001", "08003", "08004", "08006"})


@dataclass(frozen=True, kw_only=True)
class Database:
    """One PostgreSQL: a pool for COPY and transforms, an engine for the rest."""

    url: str  # libpq URL, holds a password
    pool: ConnectionPool[Connection]
    engine: sqlalchemy.Engine
    server_version: int  # as PostgreSQL counts: 150018

    @contextlib.contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a pooled connection inside a transaction that commits at the end."""
        with translated(), self.pool.connection() as connection:
            yield connection

    @contextlib.contextmanager
    def autocommit(self) -> Iterator[Connection]:
        """Lend a pooled connection whose statements are transactions of their own, as VACUUM wants it."""
        with translated(), self.pool.connection() as connection:
            connection.autocommit = True
            try:
                yield connection
            finally:
                connection.autocommit = False

    def close(self) -> None:
        """Close every connection."""
        self.pool.close()
        self.engine.dispose()


def translate(error: psycopg.Error | sqlalchemy.exc.SQLAlchemyError) -> DatabaseError:
    """Make our error of a driver's; its text is dropped because PostgreSQL quotes cell values in it."""
    origin = getattr(error, "orig", None) or error
    sqlstate = getattr(origin, "sqlstate", None)
    diagnostics = getattr(origin, "diag", None)
    where = [str(v) for k in ("schema_name", "table_name", "column_name", "constraint_name") if (v := getattr(diagnostics, k, None))]
    is_transient = sqlstate in TRANSIENT_STATES or (sqlstate is None and isinstance(origin, psycopg.OperationalError))
    place = f" at {'.'.join(where)}" if where else ""
    text = f"PostgreSQL answered {sqlstate or 'nothing'} ({type(origin).__name__}){place}"
    if sqlstate and sqlstate[:2] == "42" and diagnostics is not None:  # names of objects only, never values
        text += f": {diagnostics.message_primary}"
    return DatabaseError(text, sqlstate=sqlstate, is_transient=is_transient)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise ours for any error of the driver inside."""
    try:
        yield
    except OmopIncError:
        raise
    except PoolTimeout as error:
        raise DatabaseError("No connection to PostgreSQL within the time allowed; is it running?", is_transient=True) from error
    except (psycopg.Error, sqlalchemy.exc.SQLAlchemyError) as error:
        raise translate(error) from error


def execute(connection: Connection, statement: Statement, parameters: Any = None) -> psycopg.Cursor[Any]:
    """Run one statement whose text is ours."""
    query: Any = statement  # psycopg wants to see literals; all our texts are files or constants of ours
    return connection.execute(query, parameters)


def analyze_roughly(connection: Connection, table: sql.Identifier) -> None:
    """ANALYZE a table that only runs read, from a third of the usual sample; all staged tables of 1 GB take 1.5 s so instead of 4."""
    execute(connection, sql.SQL("SET LOCAL default_statistics_target TO {}").format(sql.Literal(ROUGH_STATISTICS)))
    execute(connection, sql.SQL("ANALYZE {}").format(table))
    execute(connection, "SET LOCAL default_statistics_target TO DEFAULT")


def fetch_value(connection: Connection, statement: Statement, parameters: Any = None) -> Any:
    """The single value of a statement that gives one row of one column, or None without a row."""
    row = execute(connection, statement, parameters).fetchone()
    return row[0] if row else None


def open_database(settings: Settings) -> Database:
    """Connect to the database of the settings, starting the embedded one when none is named.

    Raises:
        SettingsError: If the URL does not lead to a PostgreSQL that we support.
    """
    url = find_url(settings)
    version, cache_bytes = _check_server(url)
    # The transforms of a wave, and one for the run's own work beside them.
    sessions = settings.workers + 1
    arguments = _arguments({}, settings.without)
    at_work = _arguments(WORK_OPTIONS | session_sizes(cache_bytes, sessions), settings.without)
    made = connection_class(settings.without)
    kind = NullConnectionPool if "pool" in settings.without else ConnectionPool
    pool: ConnectionPool[Connection] = kind(url, connection_class=made, kwargs=at_work, min_size=0, max_size=sessions, timeout=30, open=True)
    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: made.connect(url, **arguments), poolclass=sqlalchemy.pool.NullPool)
    return Database(url=url, pool=pool, engine=engine, server_version=version)


def find_url(settings: Settings) -> str:
    """The libpq URL of the settings' database; the embedded one is started if need be."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
    else:
        from omop_inc.store import embedded  # a user of an external server needs no launcher

        url = embedded.start(settings).url
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


@contextlib.contextmanager
def connect_for_work(url: str, without: frozenset[str] = frozenset()) -> Iterator[Connection]:
    """A connection like the pool's, outside of it (another process has no pool), in a transaction that commits at the end."""
    with translated(), connection_class(without).connect(url, **_arguments(WORK_OPTIONS, without)) as connection:
        yield connection


def _arguments(options: dict[str, str], without: frozenset[str]) -> dict[str, Any]:
    """What a connection is opened with: our session settings, and more of them."""
    session = dict(SESSION_OPTIONS, client_connection_check_interval=str(CLIENT_CHECK_MS))
    return {"options": _as_options(plain_options(session | options, without)), **_keepalives()}


def _as_options(settings: dict[str, str]) -> str:
    """Settings as libpq's `options` hold them; a space in a value is escaped."""
    return " ".join("-c {}={}".format(key, value.replace(" ", "\\ ")) for key, value in settings.items())


def _keepalives() -> dict[str, Any]:
    return {
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "connect_timeout": 10,
        "application_name": "omop_inc",
    }


def _check_server(url: str) -> tuple[int, int]:
    """The server's version, and how many bytes it believes to be cached."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            version = connection.info.server_version
            cache_bytes = int(fetch_value(connection, "SELECT pg_size_bytes(current_setting('effective_cache_size'))"))
    except psycopg.Error as error:
        raise SettingsError(
            f"The database of OMOP_INC_DATABASE_URL cannot be reached ({type(error).__name__}); expected a libpq URL such as "
            "postgresql://user@host:5432/name of a running PostgreSQL. Check it with psql."
        ) from None
    if version // 10000 not in SUPPORTED_MAJORS:
        raise SettingsError(f"PostgreSQL {version // 10000} is not supported; expected {SUPPORTED_MAJORS[0]} to {SUPPORTED_MAJORS[-1]}.")
    return version, cache_bytes
