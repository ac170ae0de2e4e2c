"""What is common to the connections to all databases: `Link`, what they answer, and how they fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from mailserver.auth.sql.statements import Statement

GRACE_SECONDS: Final = 0.2
"""How much longer than `query_seconds` we wait, so that a server that ends a slow statement itself can say so."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows with the values as the database writes them, in octets; None is NULL."""

    columns: tuple[str, ...]
    rows: Sequence[tuple[bytes | None, ...]] = field(repr=False)


class Trouble(Exception):
    """Why a question has no answer, in words for the log: the database's own, without anything that a client sent."""


class Unreachable(Trouble):
    """No connection. `wrong` tells that the database is there and the settings are wrong."""

    def __init__(self, text: str, *, wrong: bool = False) -> None:
        super().__init__(text)
        self.wrong = wrong


class Lost(Trouble):
    """The connection has broken; another may not."""


class Late(Trouble):
    """There was no answer in time."""


class Refused(Trouble):
    """The database has refused the statement, with its words. The connection still works."""


class Link(Protocol):
    """A connection. Its methods wait, so they are for a thread; `abort` never does, and is for another thread."""

    def open(self) -> None:
        """Connect, within `connect_seconds`. Errors: Unreachable; the caller closes it then, too."""

    def columns(self, statement: Statement) -> tuple[str, ...]:
        """Let the database read a statement that is not for anybody, and return its columns. Errors: Trouble."""

    def ask(self, statement: Statement, values: Sequence[str], most: int) -> Answer:
        """Ask. Errors: Trouble, also where there are more rows than `most`."""

    def abort(self) -> None:
        """Let a method that waits fail at once. The link is of no use after it."""

    def close(self) -> None:
        """End it; idempotent."""


def encoded(value: str) -> bytes:
    """A value in octets; a name that the database has listed may be no UTF-8."""
    return value.encode("utf-8", "surrogateescape")


def too_many(most: int) -> Trouble:
    """The error of an answer with more rows."""
    return Trouble(f"its answer has more than {most} rows")


def words(text: object) -> str:
    """What a database says, on one line and not too long."""
    return " ".join(str(text).split())[:300]
