"""KPOP's preamble: the ticket that a client shows before POP3 begins.

It is MIT Kerberos' sendauth with the application version ``KPOPV1.0``. No RFC describes it; docs/protocols.md does. The
client speaks first, in pieces: four octets of length, the highest first, then so many octets.

    client: "KRB5_SENDAUTH_V1.0" NUL, "KPOPV1.0" NUL      two pieces
    server: one octet                                     0: go on; 1: other sendauth; 2: other application
    client: AP-REQ                                        a piece, RFC 4120 section 5.5.1
    server: an empty piece: accepted                      or a KRB-ERROR as a piece, and the end
    server: AP-REP                                        a piece, if the client asked for mutual authentication
    server: POP3's greeting

`Preamble` has the same calls as the session that follows it: `feed`, `next`, `take`, and one answer for each effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from mailserver.errors import Refusal
from mailserver.protocol.effects import Close
from mailserver.protocol.krb_error import krb_error
from mailserver.protocol.wire import err

SENDAUTH_VERSION: Final = b"KRB5_SENDAUTH_V1.0\0"
KPOP_VERSION: Final = b"KPOPV1.0\0"

VERSION_LIMIT: Final = 64
"""Octets of a version's name: enough for any that was ever used, and no letter, so that text is told from a length."""

AP_REQ_LIMIT: Final = 128 * 1024
"""Octets of an AP-REQ: Active Directory writes a user's groups into the ticket, and allows 64 KiB for them."""

WITHOUT_KERBEROS: Final = err(Refusal(b"this port needs Kerberos 5 (KPOP)"))
"""What a POP3 client shows its user, and so does a client of Kerberos 4, whose KPOP had no framing for errors."""

_WORD: Final = 4


@dataclass(frozen=True, slots=True)
class Accept:
    """Verify an AP-REQ. Answers: `accepted`, `refused`."""

    ap_req: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class TurnAway:
    """Write the replies, then close: this is no client of KPOP. `reason` is for the log. It has no answer."""

    reason: str


Effect = Accept | TurnAway | Close


class Preamble:
    """What comes before the session, from the first octet to the acceptance; nothing else is read after that."""

    __slots__ = ("_buffer", "_open", "_out", "_pending", "_sendauth", "_stage", "_starved")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._out: list[bytes] = []
        self._stage = 0  # of _STAGES: which piece comes next
        self._sendauth = False  # whether the first piece was right
        self._starved = True  # the piece under way is not whole, so all that is buffered belongs to it
        self._pending: Effect | None = None
        self._open = False

    def feed(self, data: bytes) -> None:
        """Buffer what arrived; `next` reads it."""
        self._buffer += data

    @property
    def unread(self) -> int:
        """Octets that wait in the buffer, those of an unfinished piece aside: only more of them can end their wait."""
        return 0 if self._starved else len(self._buffer)

    @property
    def busy(self) -> bool:
        """Whether an AP-REQ is being verified."""
        return self._open

    def take(self) -> list[bytes]:
        """Give away the replies so far, to be written now."""
        out, self._out = self._out, []
        return out

    def last_words(self, refusal: Refusal) -> list[bytes]:  # noqa: ARG002 - as the session's
        """Give away the replies so far. There is no room for others: only a KRB-ERROR, which answers an AP-REQ."""
        return self.take()

    def expire(self) -> None:
        """Tell a client that said nothing until its time was up what it may be missing: POP3's wait for a greeting."""
        if not self._stage and not self._buffer:
            self._out.append(WITHOUT_KERBEROS)

    def next(self) -> Effect | None:
        """Read pieces until one needs the world. None: it waits for octets, or the preamble is over."""
        while self._pending is None and self._stage < len(self._STAGES):
            limit, read = self._STAGES[self._stage]
            piece = self._piece(limit)
            self._starved = piece is None
            if piece is None:
                return None
            self._stage += 1
            self._pending = read(self, piece)
        effect, self._pending = self._pending, None
        if effect is not None:
            self._stage = len(self._STAGES)
            self._open = isinstance(effect, Accept)
        return effect

    # The answers to Accept: exactly one.

    def accepted(self, ap_rep: bytes | None) -> bytes:
        """Let the client in; the octets that came behind the AP-REQ, which are POP3's already."""
        self._answers()
        self._send(b"")
        if ap_rep is not None:
            self._send(ap_rep)
        return bytes(self._buffer)

    def refused(self, code: int, seconds: float, realm: bytes, server: Sequence[bytes]) -> None:
        """Refuse the ticket; the arguments are `krb_error`'s."""
        self._answers()
        self._send(krb_error(code, seconds, realm, server))
        self._pending = Close()

    # Inside.

    def _answers(self) -> None:
        if not self._open:
            raise RuntimeError("no AP-REQ is being verified")
        self._open = False

    def _send(self, piece: bytes) -> None:
        self._out.append(len(piece).to_bytes(_WORD, "big") + piece)

    def _piece(self, limit: int) -> bytes | None:
        """Take the next piece; None when it is not whole yet, b"" when its length does not fit, and then it stays."""
        if len(self._buffer) < _WORD:
            return None
        octets = int.from_bytes(self._buffer[:_WORD], "big")
        if not 0 < octets <= limit:
            return b""
        end = _WORD + octets
        if len(self._buffer) < end:
            return None
        piece = bytes(self._buffer[_WORD:end])
        del self._buffer[:end]
        return piece

    def _sendauth_version(self, piece: bytes) -> Effect | None:
        """Be silent, as MIT's server is, until both versions have come."""
        if not piece:
            self._out.append(WITHOUT_KERBEROS)
            return TurnAway(f"no sendauth, it began with {bytes(self._buffer[:_WORD])!r}")
        self._sendauth = piece == SENDAUTH_VERSION
        return None

    def _kpop_version(self, piece: bytes) -> Effect | None:
        if not self._sendauth:
            self._out.append(b"\1")
            return TurnAway("another version of sendauth")
        if piece != KPOP_VERSION:
            self._out.append(b"\2")
            return TurnAway("sendauth for another application")
        self._out.append(b"\0")
        return None

    def _ap_req(self, piece: bytes) -> Effect:
        if not piece:
            return TurnAway(f"no AP-REQ has {int.from_bytes(self._buffer[:_WORD], 'big')} octets")
        return Accept(piece)

    _STAGES: ClassVar[tuple[tuple[int, Callable[[Preamble, bytes], Effect | None]], ...]] = (
        (VERSION_LIMIT, _sendauth_version),
        (VERSION_LIMIT, _kpop_version),
        (AP_REQ_LIMIT, _ap_req),
    )
    """The pieces in their order: the most octets of each, and what reads it."""
