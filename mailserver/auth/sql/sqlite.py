"""SQLite: a file, read by the standard library."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from mailserver.auth.sql.links import Answer, Late, Lost, Refused, Trouble, Unreachable, encoded, too_many, words
from mailserver.auth.sql.settings import SqlSettings
from mailserver.auth.sql.statements import Statement

STEPS: Final = 10_000
"""Of SQLite's machine between two looks at the clock: about a millisecond."""

WAITING: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_INTERRUPT})
"""Errors of a statement that had to wait for too long: a writer has the lock."""


class SQLiteLink:
    """A connection that reads only. A file that was put in the place of another is opened anew."""

    def __init__(self, settings: SqlSettings) -> None:
        self._settings = settings
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] = (0, 0)
        self._deadline = 0.0

    def open(self) -> None:
        """Also read the file's head, for SQLite opens it only when it is asked."""
        path, seconds = self._settings.database, self._settings.query_seconds
        try:
            self._file = _identity(path)
            self._connection = sqlite3.connect(
                f"file:{quote(path)}?mode=ro", uri=True, timeout=seconds, check_same_thread=False, isolation_level=None
            )
            self._connection.text_factory = bytes
            self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, STEPS)
            self._run("PRAGMA schema_version", ())
        except OSError as error:
            raise Unreachable(f"{path}: {error.strerror}", wrong=True) from None
        except sqlite3.Error as error:
            raise Unreachable(words(f"{path}: {error}"), wrong=_code(error) not in WAITING) from None

    def columns(self, statement: Statement) -> tuple[str, ...]:
        """Those of the answer for a name that nobody has, of which no row is read."""
        try:
            cursor = self._run(statement.text, [""] * len(statement.parameters))
            columns = _columns(cursor)
            cursor.close()
        except sqlite3.Error as error:
            raise _trouble(error) from None
        return columns

    def ask(self, statement: Statement, values: Sequence[str], most: int) -> Answer:
        """The values are bound by SQLite."""
        try:
            if _identity(self._settings.database) != self._file:
                raise Lost("the file was replaced")
            cursor = self._run(statement.text, values)
            rows = cursor.fetchmany(most + 1)
            columns = _columns(cursor)
            cursor.close()  # ends the statement, and with it SQLite's lock
        except OSError as error:
            raise Lost(f"{self._settings.database}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise _trouble(error) from None
        if len(rows) > most:
            raise too_many(most)
        return Answer(columns, [tuple(map(_octets, row)) for row in rows])

    def _run(self, statement: str, values: Sequence[str]) -> sqlite3.Cursor:
        if self._connection is None:
            raise Lost("the file is closed")
        self._deadline = time.monotonic() + self._settings.query_seconds
        return self._connection.execute(statement, [_bound(value) for value in values])

    def abort(self) -> None:
        """Interrupt a statement."""
        self._deadline = 0.0

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _identity(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _bound(value: str) -> str | bytes:
    """Text; what is no UTF-8 can only be bound as octets, which the statement must make text of."""
    return value if value.isprintable() else encoded(value)


def _columns(cursor: sqlite3.Cursor) -> tuple[str, ...]:
    return tuple(each[0] for each in cursor.description or ())


def _octets(value: Any) -> bytes | None:
    """A value as text: SQLite's columns may hold any type, whatever they are declared as."""
    return value if value is None or isinstance(value, bytes) else str(value).encode("utf-8")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF  # of the extended codes the kind


def _trouble(error: sqlite3.Error) -> Trouble:
    code, said = _code(error), words(error)
    if code in WAITING:
        return Late(said)
    return Refused(said) if code in {0, sqlite3.SQLITE_ERROR} else Trouble(said)


link = SQLiteLink
