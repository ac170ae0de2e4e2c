"""A session over a Twisted transport: runs it, writes once per batch of pipelined commands, and enforces the timeouts.

`Connection` knows no protocol. It pumps a core, such as a session, with `feed`, `next`, `take`, `busy` and `unread`, and
needs a subclass that performs the core's effects.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.errors import MessageTruncated, TemporaryFailure
from mailserver.net.core import Core
from mailserver.net.failures import report
from mailserver.net.outlet import CLOSING_SECONDS, FAREWELL_SECONDS
from mailserver.net.sending import Sending
from mailserver.net.tls_transport import start_tls

UNREAD_LIMIT = 64 * 1024
"""Octets of input that may wait while an effect is open or the client does not read; above it, the connection stops reading."""


@implementer(IHalfCloseableProtocol, IPushProducer)
class Connection(Sending):
    """One connection; a subclass gives `begin`, `performers`, `allowed_seconds`, `stranger_seconds`, `leave`, `facts`, `sent`."""

    __slots__ = ("_half_closed", "_pumping", "_stopped", "draining")

    def __init__(self, clock: IReactorTime, peer: str) -> None:
        super().__init__(clock, peer)
        self.ended = ""
        self.draining = False
        self._transfer = self._sender = None
        self._batch = []
        self._turn_octets = 0
        self._pumping = self._paused = self._stopped = self._half_closed = False

    # What a subclass gives.

    def begin(self, *, tls: bool) -> Core:
        """Return the first core; `tls` tells whether the transport is TLS from its first octet."""
        raise NotImplementedError

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {}
    """What begins to perform an effect, by its class."""

    def allowed_seconds(self) -> float:
        """The seconds that the session may be inactive in its state."""
        raise NotImplementedError

    def stranger_seconds(self) -> float:
        """The seconds that the connection may last in total, including its close, unless a user logs in."""
        raise NotImplementedError

    def leave(self) -> None:
        """Release what the session holds; called once, when the connection is lost."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """Return the fields of the connection for each of its log events, at least `peer` and `user`."""
        raise NotImplementedError

    takes_mail: ClassVar[bool] = False
    """Whether messages come in here."""

    @property
    def recipients(self) -> Sequence[bytes] | None:
        """The addresses that a message under way has been accepted for; None: none is under way."""
        return None

    @property
    def is_known(self) -> bool:
        """Whether its user is known for good."""
        return False

    # What Twisted calls.

    def connectionMade(self) -> None:
        """Greet."""
        self.restrain()
        self.core = self.begin(tls=self.probe())
        self.transport.registerProducer(self, True)
        self.pump()

    def dataReceived(self, data: bytes) -> None:
        """Feed the session. Only a line's end counts as activity: single octets do not keep a connection alive."""
        self.octets_in += len(data)
        if self._closing:
            self.discard(len(data))
            return
        if b"\n" in data and not (self._paused or self.core.busy):
            self.active = self.clock.seconds()
        self.core.feed(data)
        self.pump()

    def pauseProducing(self) -> None:
        """Run no more commands: the client reads more slowly than we write."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on: the written octets have left."""
        self._paused = False
        self._direct = self.plain
        self.active = self.clock.seconds()
        self.pump()

    def stopProducing(self) -> None:
        """Do nothing: connectionLost follows."""

    def readConnectionLost(self) -> None:
        """Answer all that the client sent before it half-closed, then close."""
        self._half_closed = True
        if self._closing:
            self.transport.loseConnection()
        else:
            self.pump()

    def writeConnectionLost(self) -> None:
        """Do nothing: the client will close, or the connection is dropped."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Release everything, and cancel the pending answer; one that still arrives is released then."""
        self.lost = True
        self.cancel_moment()
        if self._sender is not None:
            self.octets_out += self._sender.octets
        try:
            for body in (self._transfer, self._sender):
                if body is not None:
                    body.close()
        finally:
            self.leave()
            self.cancel_answer()

    # What the factory calls.

    def check(self, now: float) -> None:
        """Close a session whose time is up. A session is not idle while octets leave."""
        self.notice_progress(0 if self._sender is None else self._sender.octets, now)
        allowed = CLOSING_SECONDS if self._closing else self.allowed_seconds()
        if now - self.active < allowed and now - self.since < self.stranger_seconds():
            return
        self.end("idle timeout")
        if self._closing or self.core.busy or self.tls:  # TLS closes only with the client's help
            self.abort()
        else:
            self.expire()

    def expire(self) -> None:
        """Close without a reply (RFC 1939 section 3)."""
        self.close()

    def standing(self) -> dict[str, Any]:
        """Return what an operator sees of the connection now: its facts, the seconds since its beginning and its last activity, its octets."""
        now = self.clock.seconds()
        return {
            **self.facts(),
            "seconds": round(now - self.since, 1),
            "idle": round(now - self.active, 1),
            "octets_in": self.octets_in,
            "octets_out": self.octets_out,
        }

    def kick(self) -> None:
        """End the session as an operator wants it: with a reply where none is under way. Deletions that have begun are still finished."""
        self.end("operator")
        if self.core.busy or self._closing:
            self.abort()
        else:
            self._part(b"an operator has ended this session")

    def at_rest(self) -> bool:
        """Whether a drain may close the connection when no effect is open."""
        return True

    def drain(self) -> None:
        """Close now, or as soon as nothing is under way."""
        self.draining = True
        if self.at_rest() and not (self.core.busy or self._closing):
            self.end("server stop")
            self._part(b"the server is stopping")

    def _part(self, why: bytes) -> None:
        """Tell the client why, and close."""
        self._batch += self.core.last_words(TemporaryFailure(why))
        self.close()
        if self.tls:
            self.after(FAREWELL_SECONDS, self.abandon)

    # The pump.

    def pump(self) -> None:
        """Run the session until it waits for octets, for the answer to an effect, or for the client to read."""
        if self._pumping:
            return  # an effect was answered at once; the loop below goes on
        self._pumping = True
        try:
            self._run()
        except Exception:  # noqa: BLE001 - the one place where a fault ends the connection
            self.fault(Failure())
        finally:
            self._pumping = False

    def _run(self) -> None:
        self._turn_octets = 0
        while not (self._paused or self._waiting or self._closing or self.lost):
            if self._transfer is not None:
                self._read_on(self._transfer)
            elif (effect := self.core.next()) is not None:
                self.performers[type(effect)](self, effect)
            else:
                break
        if self._closing or self.lost:
            return
        # Only then more than the beginning of a line can be unread. After a long message `_waiting` gives way between two commands.
        held = self._paused or self._waiting or self.core.busy
        if not held:
            if self.draining and self.at_rest():
                self.drain()
                return
            if self._half_closed:
                self.close()
                return
        self.flush()
        if held or self._stopped:
            self._limit_reading()

    def encrypt(self, creator: IOpenSSLServerConnectionCreator) -> None:
        """Write the batch, the last one in plain text, then begin TLS."""
        self.flush()
        self.transport = start_tls(self.transport, self, creator, untouched=self._direct, clock=self.clock)
        self.tls, self.plain, self._direct = True, False, False

    def _limit_reading(self) -> None:
        much = self.core.unread > UNREAD_LIMIT
        if much is not self._stopped:
            self._stopped = much
            (self.transport.pauseProducing if much else self.transport.resumeProducing)()

    def close(self) -> None:
        """Write the batch, then close."""
        self.flush()
        self._closing = True
        self.active = self.clock.seconds()
        if self._stopped:
            self.transport.resumeProducing()  # the client's own close must still be read
        self.hang_up(talking=bool(self.core.unread) and not self._half_closed)

    # Failures.

    def fault(self, failure: Failure) -> None:
        """End the connection after a fault; within a message without a reply, so that no client takes it for complete."""
        self.end("message cut short" if failure.check(MessageTruncated) else "fault")
        report(failure, self.facts())
        if self.lost:
            return
        if self._transfer is None and self._sender is None and not self._closing:
            self._batch += self.core.last_words(TemporaryFailure())
            self.close()
        else:
            self.abort()
