"""What an LMTP session (`lmtp`) asks of the world: `effects` says how effects work; these have a world of their own.

    effect       from                           answers
    StartTLS     STARTTLS                       tls_started
    Recipient    RCPT                           accepted; or refused
    Write        DATA's text, BDAT's chunks     written
    Deliver      the end of DATA, BDAT LAST     delivered; or refused, which is then told of every recipient
    Forget       RSET, LHLO, what ends a transaction before its time      none, as Close
    Turn         many commands in a row         turned
    Close        QUIT, refusals                 none: the session is over

`Recipient` comes for one address after the other. The first opens the transaction in the world: its sender is in
`Session.transaction` and the client in `Session.client`. `Forget` comes only after a first `Recipient` was asked. `Close` forgets, too,
and so does a lost connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from mailserver.protocol.effects import Close, StartTLS, Turn


@dataclass(frozen=True, slots=True)
class Recipient:
    """Look up a recipient. Answers: `accepted`, `refused`."""

    address: bytes
    """Bare: without angle brackets and source route."""
    original: bytes = b""
    """ORCPT's address, decoded from xtext (RFC 3461 section 4.2); b"" where none was given."""


@dataclass(frozen=True, slots=True)
class Write:
    """Store octets of the message, unstuffed. Answer: `written`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Deliver:
    """All octets were written: deliver. Answers: `delivered`, with a refusal or None for each accepted recipient; `refused`."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Give the transaction up. It has no answer: the session goes on at once."""


Effect = StartTLS | Recipient | Write | Deliver | Forget | Turn | Close
