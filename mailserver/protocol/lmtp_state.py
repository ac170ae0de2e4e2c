"""The states of an LMTP session, and its transaction.

They follow one another by MOVES, and `Session._move` alone changes them:

    CONNECTED --LHLO--> READY --MAIL--> ENVELOPE --DATA's text, RSET, LHLO--> READY
                                        ENVELOPE --BDAT--> CHUNKS --BDAT LAST, RSET, LHLO--> READY
    CONNECTED, READY --STARTTLS, XCLIENT--> CONNECTED          all --QUIT, a fatal refusal--> CLOSED
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from mailserver.errors import Refusal


class State(enum.Enum):
    """What RFC 5321 section 4.1.4 lets a client say."""

    CONNECTED = enum.auto()
    READY = enum.auto()
    ENVELOPE = enum.auto()
    CHUNKS = enum.auto()
    CLOSED = enum.auto()

    __hash__ = object.__hash__


MOVES = {
    State.CONNECTED: {State.CONNECTED, State.READY, State.CLOSED},
    State.READY: {State.CONNECTED, State.READY, State.ENVELOPE, State.CLOSED},
    State.ENVELOPE: {State.READY, State.CHUNKS, State.CLOSED},
    State.CHUNKS: {State.READY, State.CHUNKS, State.CLOSED},
    State.CLOSED: set(),
}
"""From each state, the states that may follow."""


@dataclass(slots=True)
class Transaction:
    """A mail transaction, from MAIL on (RFC 5321 section 3.3)."""

    path: bytes
    """The reverse-path, bare; b"": the null one."""
    size: int | None = None
    """The octets that SIZE announced."""
    body: bytes = b""
    """BODY's value in upper case, b"" without one (RFC 6152)."""
    utf8: bool = False
    """Whether SMTPUTF8 was asked for (RFC 6531)."""
    recipients: int = 0
    """Those that were accepted."""
    octets: int = 0
    """Of the message so far, unstuffed."""
    held: bool = False
    """Whether the world has heard of it, and would have to forget it."""
    failed: Refusal | None = None
    """Why nothing of it can be delivered any more; what comes is read to its end."""
