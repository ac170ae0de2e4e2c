"""PostgreSQL, by psycopg's libpq, whose calls never wait: all waiting is done here, with a deadline.

psycopg's own cursors wait without one, and convert values by their types; a login needs octets and an end.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from psycopg import OperationalError, pq
from psycopg.conninfo import make_conninfo

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

NOWHERE: Final = "/nonexistent/pgpass"
"""libpq would look for passwords in root's home; of a file that is none, such as /dev/null, it complains on standard error."""

BYTEA: Final = 17
"""The type whose text is hexadecimal."""

FOR_NOW: Final = ("starting up", "shutting down", "recovery", "too many", "remaining connection slots", "terminating")
"""What a server that will serve later says; all else that it says at a connection is about the settings."""

_GOOD: Final = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK)


class PostgreSQLLink:
    """A connection that reads only."""

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self._pq: Any = None

    def open(self) -> None:
        """PostgreSQL's library says what it waits for; only its look-up of the host's name waits in itself."""
        seconds = self._settings.connect_seconds
        deadline = time.monotonic() + seconds
        self._pq = pq.PGconn.connect_start(conninfo(self._settings).encode("utf-8"))
        try:
            while (step := self._step()) != pq.PollingStatus.OK:
                self._wait(select.POLLIN if step == pq.PollingStatus.READING else select.POLLOUT, deadline)
            self._pq.nonblocking = 1
        except Late:
            raise Unreachable(f"there is no connection within {seconds:g} s") from None

    def _step(self) -> pq.PollingStatus:
        """One more step of the connection. Errors: Unreachable."""
        failed = self._pq.status == pq.ConnStatus.BAD
        step = pq.PollingStatus.FAILED if failed else pq.PollingStatus(self._pq.connect_poll())
        if step == pq.PollingStatus.FAILED:
            raise _unreachable(words(self._pq.get_error_message()))
        return step

    def columns(self, statement: Statement) -> tuple[str, ...]:
        """By a statement that is prepared on the server, described, and closed."""
        name = b"mailserver"
        text = statement.text.encode("utf-8")
        self._results(lambda: self._pq.send_prepare(name, text))
        described = self._results(lambda: self._pq.send_describe_prepared(name))[-1]
        self._results(lambda: self._pq.send_query(b"DEALLOCATE mailserver"))
        return _columns(described)

    def ask(self, statement: Statement, values: Sequence[str], most: int) -> Answer:
        """The values are sent beside the statement, which is text of its own.

        Rows come one by one: libpq would else keep all of an answer, before we see that there are more than `most`.
        """
        text, octets = statement.text.encode("utf-8"), [encoded(value) for value in values]
        *found, last = self._results(lambda: self._send(text, octets), most)
        columns = _columns(last)
        hexadecimal = [last.ftype(column) == BYTEA for column in range(len(columns))]
        return Answer(
            columns,
            [tuple(_value(row.get_value(0, at), each) for at, each in enumerate(hexadecimal)) for row in found],
        )

    def _send(self, text: bytes, values: Sequence[bytes]) -> None:
        self._pq.send_query_params(text, values)
        self._pq.set_single_row_mode()

    def abort(self) -> None:
        """Do nothing: each method ends by its deadline."""

    def close(self) -> None:
        """Say goodbye without waiting."""
        if self._pq is not None:
            self._pq.finish()

    def _results(self, send: Callable[[], None], most: int = 0) -> list[Any]:
        """What the server answers to what `send` sends: at most `most` rows, and the end. Errors: Trouble."""
        try:
            send()
            found = self._received(time.monotonic() + self._settings.query_seconds + GRACE_SECONDS, most)
        except OperationalError as error:
            raise Lost(words(error)) from None
        if not found or self._pq.status == pq.ConnStatus.BAD:
            raise Lost(words(self._pq.get_error_message()))
        if found[-1].status not in _GOOD:
            raise _trouble(found[-1])
        return found

    def _received(self, deadline: float, most: int) -> list[Any]:
        while self._pq.flush():
            self._wait(select.POLLIN | select.POLLOUT, deadline)
            self._pq.consume_input()
        found: list[Any] = []
        while True:
            while self._pq.is_busy():
                self._wait(select.POLLIN, deadline)
                self._pq.consume_input()
            result = self._pq.get_result()
            if result is None:
                return found
            found.append(result)
            if len(found) > most + 1:
                raise too_many(most)

    def _wait(self, events: int, deadline: float) -> None:
        poll = select.poll()
        poll.register(self._pq.socket, events)
        left = deadline - time.monotonic()
        if left <= 0 or not poll.poll(left * 1000):  # there always is something from a server that never stops
            raise Late("it does not answer in time")


def conninfo(settings: SqlSettings) -> str:
    """The connection string of libpq."""
    milliseconds = max(int(settings.query_seconds * 1000), 1)
    given: dict[str, str | int | None] = {
        "host": settings.socket or settings.host,
        "port": settings.port or 5432,
        "dbname": settings.database,
        "user": settings.user or None,
        "password": settings.password or None,
        "passfile": NOWHERE,
        "application_name": "mailserver",
        "client_encoding": "UTF8",
        "gssencmode": "disable",
        "options": f"-c statement_timeout={milliseconds} -c default_transaction_read_only=on",
        "tcp_user_timeout": milliseconds,
        "sslmode": "verify-full" if settings.verified else "disable",
        "sslrootcert": trusted(settings) if settings.verified else None,
        "sslcertmode": "disable" if settings.verified else None,  # else it wants to look into root's home
        # In the open a server that asks for the password itself may be anybody.
        "require_auth": None if settings.private or settings.verified else "!password",
    }
    return make_conninfo("", **{name: value for name, value in given.items() if value is not None})


def _unreachable(said: str) -> Unreachable:
    answered = "FATAL:" in said or "certificate" in said or "SSL" in said
    return Unreachable(said, wrong=answered and not any(each in said for each in FOR_NOW))


def _trouble(result: Any) -> Trouble:
    """The error of a result, by its code (appendix A of PostgreSQL's manual)."""
    code = (result.error_field(pq.DiagnosticField.SQLSTATE) or b"").decode("ascii")
    said = words(result.get_error_message())
    if code == "57014":  # statement_timeout
        return Late(said)
    if code.startswith("57P"):  # it is shutting down
        return Lost(said)
    return Trouble(said) if code[:2] in {"40", "53", "55", "58", "XX"} else Refused(said)


def _columns(result: Any) -> tuple[str, ...]:
    return tuple((result.fname(column) or b"").decode("utf-8", "replace") for column in range(result.nfields))


def _value(octets: bytes | None, hexadecimal: bool) -> bytes | None:
    if octets is None or not hexadecimal or not octets.startswith(b"\\x"):
        return octets
    return bytes.fromhex(octets[2:].decode("ascii"))


link = PostgreSQLLink
