"""What a store needs where it is a database server and no file: waiting that ends, and turns where they matter."""

import threading
import time
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

_CONNECT_S = 10  # seconds that a server may take to answer at all
_PAUSE_S = 0.5  # between attempts to reach a server that went away
_TURN = 7_302_118  # the advisory lock's number; any will do that nothing else in this database uses
_LIBPQ = ("psycopg", "psycopg2")


def server_engine(url: URL, busy_s: float) -> Engine:
    """An engine whose connections are tried before they are used, so that one survives its server's restart.

    Args:
        busy_s: seconds that a statement waits for a lock, or for an answer from a host that is gone (PostgreSQL).
    """
    limits: dict[str, Any] = {}
    if url.get_backend_name() == "postgresql" and url.get_driver_name() in _LIBPQ:
        limits = {"connect_timeout": _CONNECT_S, "tcp_user_timeout": round(1000 * busy_s)}
    engine = create_engine(
        url, pool_pre_ping=True, connect_args={name: value for name, value in limits.items() if name not in url.query}
    )
    if engine.dialect.name == "postgresql":

        def limit_locks(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute(f"SET lock_timeout = {round(1000 * busy_s)}")
            cursor.close()
            connection.commit()

        event.listen(engine, "connect", limit_locks)
    return engine


def be_patient(engine: Engine, seconds: float) -> None:
    """From now on wait so long for a server that is gone, as for a file that is locked; once for each time it goes."""
    given_up = threading.Event()

    def connect(dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        until = time.monotonic() + seconds
        while True:
            try:
                connection = dialect.connect(*arguments, **named)
            except dialect.loaded_dbapi.OperationalError:
                if given_up.is_set() or time.monotonic() >= until:
                    given_up.set()
                    raise
                time.sleep(_PAUSE_S)
            else:
                given_up.clear()
                return connection

    event.listen(engine, "do_connect", connect)


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction is past this line, for what reads first and then writes; until this one's end.

    A writer to SQLite is alone anyway; of two that make PostgreSQL's tables at once, one would fail.
    """
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")


def reason(error: BaseException) -> str:
    """The first line of a database's own words."""
    words = str(error.orig if isinstance(error, DBAPIError) and error.orig else error).strip()
    return words.splitlines()[0] if words else type(error).__name__


def without_account(where: str) -> str:
    """A store as messages may name it: of a URL neither user and password nor its parameters, which may hold them."""
    if "://" not in where:
        return where
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # a port that is no number
        return where.partition("://")[0] + "://..."
    host = url.host and url.host.rpartition("@")[2]  # a password's own @, not written as %40, ends up here
    return URL.create(url.drivername, host=host, port=url.port, database=url.database).render_as_string()
