"""The states of a session, and the handful of things it asks of the world."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from mailserver.credentials import Credentials


class State(enum.Enum):
    """RFC 1939 section 3; CLOSED is our name for what follows."""

    AUTHORIZATION = enum.auto()
    TRANSACTION = enum.auto()
    UPDATE = enum.auto()
    CLOSED = enum.auto()


MOVES = {
    State.AUTHORIZATION: {State.TRANSACTION, State.CLOSED},
    State.TRANSACTION: {State.UPDATE, State.CLOSED},
    State.UPDATE: {State.CLOSED},
    State.CLOSED: set(),
}
"""From each state, the states that may follow."""


@dataclass(frozen=True, slots=True)
class StartTLS:
    """Write the replies, then begin TLS. Answer: `tls_started`."""


@dataclass(frozen=True, slots=True)
class Sasl:
    """Ask the oracle. Answers: `answered`, `refused`."""

    request: object


@dataclass(frozen=True, slots=True)
class Login:
    """Log in at the portal. Answers: `login_ok`, `refused`."""

    credentials: Credentials
    mechanism: bytes


@dataclass(frozen=True, slots=True)
class Retrieve:
    """Send a message: all of it, or its headers and `lines` lines of its body. Answers: `opened`, `sent`; or `refused`."""

    number: int
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class Sending:
    """What `opened` makes of Retrieve, inside the session: +OK has been said, so no refusal can follow."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Tell a message's envelope (SDPS). Answers: `enveloped`; or `refused`, after which the session is over."""

    number: int


@dataclass(frozen=True, slots=True)
class Commit:
    """Remove these messages for good and release the maildrop. Answers: `committed`, `refused`."""

    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Turn:
    """Much was done: write the replies, let other sessions run, come back. Answer: `turned`."""


@dataclass(frozen=True, slots=True)
class Close:
    """Write the replies, then close. It has no answer: the session is over."""


Effect = StartTLS | Sasl | Login | Retrieve | Envelope | Commit | Turn | Close
