"""MariaDB and MySQL, by PyMySQL."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Sequence
from typing import Any, Final

import pymysql
from pymysql.connections import Connection
from pymysql.constants import CLIENT, CR, ER
from pymysql.cursors import SSCursor

from mailserver.auth.sql.links import (
    GRACE_SECONDS,
    Answer,
    Late,
    Lost,
    Refused,
    Trouble,
    Unreachable,
    encoded,
    too_many,
    words,
)
from mailserver.auth.sql.settings import SqlSettings, trusted
from mailserver.auth.sql.statements import Statement

OF_THE_SETTINGS: Final = frozenset(
    {ER.ACCESS_DENIED_ERROR, ER.DBACCESS_DENIED_ERROR, ER.BAD_DB_ERROR, 1698, CR.CR_SSL_CONNECTION_ERROR}
)
"""Errors at a connection that no waiting mends; 1698 is MariaDB's for a user who needs no password but the right socket."""

BROKEN: Final = frozenset({0, CR.CR_SERVER_GONE_ERROR, CR.CR_SERVER_LOST, ER.SERVER_SHUTDOWN, 1927})
"""Errors of a connection that is gone; 0 is PyMySQL's for one that it has closed, 1927 MariaDB's for one that was killed."""

TOO_SLOW: Final = frozenset({ER.LOCK_WAIT_TIMEOUT, 1969, 3024})
"""Of a statement; the others are MariaDB's and MySQL's for the limit that `open` sets."""

FOR_NOW: Final = frozenset({ER.CON_COUNT_ERROR, ER.LOCK_DEADLOCK, ER.OUT_OF_RESOURCES, 1203, 1226})
"""Errors that are not the statement's; the last are of limits for connections and users."""

NONSENSE: Final = (LookupError, ValueError, TypeError, AttributeError, AssertionError, struct.error)
"""What PyMySQL raises where a server does not speak its protocol: it reads packets without looking at their lengths."""


class MySQLLink:
    """A connection that reads only. A socket's own time-out begins anew with each octet; `abort` ends what trickles."""

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self._handle: socket.socket | None = None
        self._aborted = False
        self._connection: Any = None

    def open(self) -> None:
        """Over a socket of ours, because PyMySQL leaves its own open where it cannot connect."""
        settings = self._settings
        context = ssl.create_default_context(cafile=trusted(settings)) if settings.verified else None
        self._connection = _Connection(
            host=settings.host or "localhost",
            user=settings.user or None,
            password=settings.password,
            database=settings.database,
            charset="utf8mb4",
            use_unicode=False,
            conv={},
            autocommit=True,
            read_timeout=settings.query_seconds + GRACE_SECONDS,
            write_timeout=settings.query_seconds,
            ssl=context,
            ssl_disabled=context is None,
            local_infile=False,
            defer_connect=True,
        )
        try:
            self._connection.connect(self._way())
            with self._connection.cursor() as cursor:
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.execute(_limit(self._connection.get_server_info(), settings.query_seconds))
        except (pymysql.MySQLError, OSError) as error:
            raise _unreachable(error) from None
        except NONSENSE as error:
            raise Unreachable(_nonsense(error)) from None

    def _way(self) -> socket.socket:
        """A connected socket. Errors: OSError."""
        settings = self._settings
        way = _over_unix(settings) if settings.socket else _over_tcp(settings)
        try:
            self._handle = way.dup()  # TLS would take the descriptor out of `way`
        except BaseException:
            way.close()
            raise
        if self._aborted:  # while there was nothing to shut down
            self.abort()
        return way

    def columns(self, statement: Statement) -> tuple[str, ...]:
        """Those of the answer for a name that nobody has."""
        return self.ask(statement, [""] * len(statement.parameters), MANY).columns

    def ask(self, statement: Statement, values: Sequence[str], most: int) -> Answer:
        """Errors: Trouble."""
        try:
            with self._connection.cursor(SSCursor) as cursor:
                cursor.execute(statement.text, [encoded(value) for value in values])
                columns = tuple(each[0] for each in cursor.description or ())
                rows = cursor.fetchmany(most + 1) if columns else []
                if len(rows) > most:
                    self.abort()  # the cursor would read the others to their end
        except pymysql.MySQLError as error:
            raise _trouble(error) from None
        except NONSENSE as error:
            raise Trouble(_nonsense(error)) from None
        if len(rows) > most:
            raise too_many(most)
        return Answer(columns, rows)

    def abort(self) -> None:
        """Shut the socket down, which wakes whoever waits for it."""
        self._aborted = True
        handle = self._handle  # the link's own thread may close it meanwhile
        if handle is not None:
            try:
                handle.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it is no longer connected

    def close(self) -> None:
        """Say goodbye, which fits into any socket's buffer, and close both descriptors."""
        connection, self._connection = self._connection, None
        handle, self._handle = self._handle, None
        if connection is not None and connection.open:
            connection.close()
        if handle is not None:
            handle.close()


class _Connection(Connection):
    """Debian 13's PyMySQL (1.1.1) made as strict as 1.2.4, which does both by itself."""

    server_capabilities: int

    def _get_server_information(self) -> None:
        """Read what the server can; without TLS it is refused here, before a word is said to it, where TLS is wanted."""
        super()._get_server_information()  # type: ignore[misc]  # its types leave out what is private
        if self.ssl and not self.server_capabilities & CLIENT.SSL:
            raise pymysql.OperationalError(
                CR.CR_SSL_CONNECTION_ERROR, "TLS is wanted, and the server does not offer it"
            )

    def escape(self, obj: Any, mapping: Any = None) -> Any:
        """Write octets as hexadecimal digits, in which nothing is a quote, whatever the server's sql_mode."""
        return f"X'{obj.hex()}'" if isinstance(obj, bytes) else super().escape(obj, mapping)


MANY: Final = 1000
"""Rows that a statement may have for a name that nobody has; only ``iterate`` has any."""


def _limit(server: str, seconds: float) -> str:
    """The statement by which the server ends what takes too long."""
    if "MariaDB" in server:
        return f"SET SESSION max_statement_time = {seconds:.3f}"
    return f"SET SESSION max_execution_time = {max(int(seconds * 1000), 1)}"


def _nonsense(error: Exception) -> str:
    return f"it does not speak the protocol of MariaDB and MySQL ({type(error).__name__})"


def _code(error: BaseException) -> int:
    return error.args[0] if error.args and isinstance(error.args[0], int) else -1


def _said(error: BaseException) -> str:
    return words(error.args[1] if len(error.args) > 1 else error)


def _unreachable(error: Exception) -> Unreachable:
    cause = getattr(error, "original_exception", error)
    wrong = isinstance(cause, ssl.SSLError) or _code(error) in OF_THE_SETTINGS
    return Unreachable(_said(error), wrong=wrong)


def _trouble(error: pymysql.MySQLError) -> Trouble:
    code, said = _code(error), _said(error)
    if isinstance(error.__context__, TimeoutError) or code in TOO_SLOW:
        return Late(said)
    if code in BROKEN or isinstance(error, pymysql.InterfaceError):
        return Lost(said)
    return Trouble(said) if code in FOR_NOW else Refused(said)


link = MySQLLink


def _over_unix(settings: SqlSettings) -> socket.socket:
    way = socket.socket(socket.AF_UNIX)
    try:
        way.settimeout(settings.connect_seconds)
        way.connect(settings.socket)
    except BaseException:
        way.close()
        raise
    return way


def _over_tcp(settings: SqlSettings) -> socket.socket:
    way = socket.create_connection((settings.host, settings.port or 3306), settings.connect_seconds)
    try:
        way.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        way.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        way.close()
        raise
    return way
