"""What the sessions of POP3 and LMTP have in common: input that waits, replies that leave, a state, and at most one open effect.

`effects` says how the network runs them. What a protocol reads, and what it answers, is its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from mailserver.errors import Refusal
from mailserver.protocol.commands import Command, Commands
from mailserver.protocol.effects import Turn
from mailserver.protocol.wire import LineBuffer

T = TypeVar("T")
"""The protocol's states."""
E = TypeVar("E")
"""Its effects."""


class Machine(Generic[T, E]):
    """The base of a session. Its subclass sets all of this when it is made: a second `__init__` would be one more call for each."""

    __slots__ = (
        "_bad_commands",
        "_buffer",
        "_commands",
        "_open",
        "_out",
        "_pending",
        "_verbs",
        "_work",
        "closed_by",
        "remark",
        "state",
        "tls",
    )

    _moves: Mapping[T, set[T]]
    """From each state, the states that may follow."""

    _bad_commands: int  # in a row
    _buffer: LineBuffer
    _commands: Commands[Any, T, E]
    _open: object | None  # the effect that was returned, and is not answered yet
    _out: list[bytes]
    _pending: E | None  # what `next` returns next
    _verbs: dict[bytes, Command[Any, E]]  # of the state: the only ones that can be reached
    _work: int  # since the last turn, as `weights` counts it
    closed_by: Refusal | None
    """The refusal that ended the session; None where QUIT did."""
    remark: Refusal | None
    """The last refusal of which the operator is to be told."""
    state: T
    tls: bool

    def feed(self, data: bytes) -> None:
        """Buffer what arrived; `next` reads it."""
        self._buffer.feed(data)

    @property
    def unread(self) -> int:
        """Octets that wait in the buffer."""
        return self._buffer.unread

    def take(self) -> list[bytes]:
        """Give away the replies so far, to be written now."""
        out, self._out = self._out, []
        return out

    def turned(self) -> None:
        """Go on: others had their turn."""
        self._answers(Turn)

    def _answers(self, *effects: type[object]) -> None:
        """Close the open effect, which is of one of these kinds."""
        if not isinstance(self._open, effects):
            raise RuntimeError(f"{effects} answered while {self._open!r} is open")  # noqa: TRY004 - a bug in the caller
        self._open = None

    def _move(self, state: T) -> None:
        if state not in self._moves[self.state]:
            raise RuntimeError(f"{self.state} does not lead to {state}")
        self.state = state
        self._verbs = self._commands.tables[state]
