"""The session machine: its states, what it asks of the world, and who answers.

A session is a function of bytes. It never waits, reads a clock or touches a file; the network runs it:

    feed(octets)   the network hands over what arrived; the session only buffers it
    next()         the session runs commands until one needs the world: it returns an effect; None means "more octets"
    take()         the network takes the replies so far and writes them
    one answer     the network performs the effect and calls the method that its class names; then `next` again

States. They follow one another by MOVES, and `Session._move` alone changes them:

    AUTHORIZATION --Login answered by login_ok--> TRANSACTION --QUIT--> UPDATE --Commit answered--> CLOSED
    AUTHORIZATION, TRANSACTION --QUIT before the login, a fatal refusal, too many refusals--> CLOSED

Only the verbs of the current state's table can be reached, so no command checks the state.

Effects. At most one is open. While it is, `next` returns None and no further line is read: that keeps pipelined commands in
order. Each is answered exactly once, by a method that its class names; a wrong answer, or one without an open effect, is a bug
and raises RuntimeError. "refused" stands for `Session.refused`, which writes -ERR; where it does not end the session the client
may try again.

    effect     from                          state afterwards
    StartTLS   STLS                          AUTHORIZATION; what was buffered before TLS is dropped
    Sasl       AUTH, a SASL response         AUTHORIZATION; the exchange goes on, or is over if refused
    Login      PASS, APOP, AUTH              TRANSACTION; AUTHORIZATION if refused
    Retrieve   RETR, TOP                     TRANSACTION; between `opened` and `sent` nothing can be refused any more
    Envelope   *ENV                          TRANSACTION; CLOSED if refused
    Commit     QUIT                          CLOSED
    Turn       many commands in a row        as before; other sessions ran meanwhile
    Close      QUIT, refusals                CLOSED; it has no answer, and nothing follows it

A lost connection answers nothing: the network drops the session, and gives the maildrop back. Only a Commit goes on, because
QUIT was read. KPOP's preamble (`kpop`) is such a machine, too, with effects of its own.
"""

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

    __hash__ = object.__hash__  # Enum's own is a function in Python, and a session looks its states up ten times


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

    download: int = 0
    """The message-number, if the message goes at QUIT once it was sent (EXPIRE 0); 0: it stays."""


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
