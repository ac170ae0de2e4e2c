"""An LMTP connection, which performs the session's effects: it hands over to an `IDeliveries` what the client sends.

There is no login, so nobody is a stranger, and nothing but the limits of `Delivery` ends a connection. What the server itself takes
for its work is never the client's idleness: it waits for a disk, and so does the client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, ClassVar, Protocol, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from mailserver.answers import ask
from mailserver.counts import Traffic
from mailserver.errors import Refusal
from mailserver.incoming import IDeliveries, IDelivery, Sender
from mailserver.limits import Delivery
from mailserver.net.connection import Connection
from mailserver.net.core import Core
from mailserver.net.failures import end_of, printable, translate
from mailserver.net.lmtp_story import (
    Envelope,
    outcome_of,
    tell_delivered,
    tell_given_up,
    tell_remark,
    tell_session,
    tell_tls_failure,
)
from mailserver.protocol.effects import Close, StartTLS, Turn
from mailserver.protocol.lmtp import Session
from mailserver.protocol.lmtp_effects import Deliver, Forget, Recipient, Write
from mailserver.refusals import refusal_for
from mailserver.smtp_errors import TimedOut
from mailserver.tls.bindings import is_tls


class LMTPPort(Protocol):
    """The methods that an LMTP connection calls on its listener."""

    clock: IReactorTime
    deliveries: IDeliveries
    rules: Delivery
    listener: str
    tls: IOpenSSLServerConnectionCreator | None
    traffic: Traffic | None

    def number(self) -> int:
        """Return a new session's number."""

    def name_of(self, number: int) -> str:
        """Return a session's name for the log."""

    def session(self, peer: str, *, tls: bool) -> Session:
        """Return a session with the greeting for this client."""

    def ended(self, connection: Connection) -> None:
        """Forget a connection that was lost."""


class LMTPServer(Connection):
    """One LMTP connection. Its factory, an `LMTPPort`, gives it everything it needs."""

    __slots__ = ("_began", "_delivering", "_delivery", "_envelope", "_seen", "factory", "messages", "number", "session")

    session: Session

    def __init__(self, factory: LMTPPort, peer: str) -> None:
        super().__init__(factory.clock, peer)
        self.factory: LMTPPort = factory
        self.number = factory.number()
        self.messages = 0
        self._delivery: IDelivery | None = None
        self._envelope: Envelope | None = None  # of the transaction, for the log
        self._delivering = False
        self._seen: object = None  # the transaction that the last look at the time has seen
        self._began = self.since  # when a look has seen it first

    @property
    def name(self) -> str:
        """The session's name in the log."""
        return self.factory.name_of(self.number)

    @property
    def client(self) -> str:
        """The address of the client, who may speak for another one (XCLIENT)."""
        claimed = self.session.client.address
        return self.peer if claimed is None else claimed

    @property
    def road(self) -> str:
        """Where messages come from, in words."""
        if self.client:
            return f"from {self.client}"
        return "from an unknown address" if self.peer else "over a Unix socket"

    takes_mail = True

    @property
    def recipients(self) -> Sequence[bytes] | None:
        """The addresses that the transaction under way has been accepted for."""
        if self.session.transaction is None:
            return None
        return () if self._envelope is None else self._envelope.recipients

    def facts(self, user: str = "") -> dict[str, Any]:
        """Return the fields of each of the session's events, as POP3's have them; `user` is the recipient in question."""
        return {
            "session": self.name,
            "listener": self.factory.listener,
            "who": user,
            "user": user,
            "principal": "",
            "peer": self.client,
            "tls": self.tls,
        }

    def begin(self, *, tls: bool) -> Core:
        """Return the session that the listener's policy gives this client."""
        self.restrain(0)  # reads of 64 KiB: a mail server's replies are few, and it is no stranger
        self.session = self.factory.session(self.peer, tls=tls)
        return self.session

    # The time.

    def dataReceived(self, data: bytes) -> None:
        """Feed the session. Within a message each octet counts as activity, since it may have no line ends for long."""
        if not self._closing and self.session.receiving:
            self.active = self.clock.seconds()
        super().dataReceived(data)

    def allowed_seconds(self) -> float:
        """The idle time, while it is the client's turn."""
        return inf if self.core.busy else self.factory.rules.idle_seconds

    def stranger_seconds(self) -> float:
        """The end of a transaction that takes too long, by trickling octets or commands; never one whose octets are all there."""
        if self._seen is None or self._delivering or self._closing:
            return inf
        return self._began - self.since + self.factory.rules.transaction_seconds

    def check(self, now: float) -> None:
        """Close a session whose time is up. A transaction's time is counted from the first look that sees it."""
        seen = self.session.transaction or self.session.receiving or None
        if seen is not self._seen:
            self._seen, self._began = seen, now
        if now - self.since >= self.stranger_seconds():
            self.end("transaction timeout")
        super().check(now)

    def expire(self) -> None:
        """Close with 421 (RFC 5321 section 3.8)."""
        self._batch += self.session.last_words(TimedOut())
        super().expire()

    def at_rest(self) -> bool:
        """Whether no transaction is under way. One that is may end before the server does."""
        return self.session.transaction is None and not self.session.receiving

    # The end.

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Release everything. A delivery that has begun goes on: its client, which heard no answer, will try again (RFC 1047)."""
        self.end(end_of(reason))
        try:
            if isinstance(reason.value, SSL.Error):
                tell_tls_failure(self.facts(), reason.value)
            if self.session.remark is not None:
                tell_remark(self.facts(), self.road, self.session.remark)
            super().connectionLost(reason)
        finally:
            # The last one ends a drain, and then the store, which must have heard of the `abort` before.
            self.factory.ended(self)

    def leave(self) -> None:
        """Give up a transaction that is not being delivered, and log one line about the session."""
        if self._delivering:
            return
        self._give_up(self.ended)
        seconds = self.clock.seconds() - self.since
        if self.factory.traffic is not None:
            self.factory.traffic.session(self.ended, seconds)
        tell_session(
            self.facts(),
            road=self.road,
            ended=self.ended,
            client=printable(self.session.client.host),
            messages=self.messages,
            octets_in=self.octets_in,
            octets_out=self.octets_out,
            seconds=seconds,
        )

    def _give_up(self, why: str) -> None:
        delivery, self._delivery = self._delivery, None
        if delivery is not None:
            delivery.abort()
        envelope, self._envelope = self._envelope, None
        if envelope is not None:
            tell_given_up(self.facts(), envelope, ended=why, now=self.clock.seconds())

    # The effects.

    def _close(self, _: Close) -> None:
        refusal = self.session.closed_by
        self.end("QUIT" if refusal is None else f"refusal: {refusal.said.decode('ascii')}")
        self.close()

    def _turn(self, _: Turn) -> None:
        self.after(0, self.session.turned)

    def _start_tls(self, _: StartTLS) -> None:
        self.encrypt(cast(IOpenSSLServerConnectionCreator, self.factory.tls))
        self.session.tls_started()

    def _recipient(self, effect: Recipient) -> None:
        if self._delivery is None:
            self._delivery = self.factory.deliveries.begin(self._introduced())
            self._envelope = Envelope(self.session.mail.path, self.road, self.clock.seconds())
        refused = partial(self._no_recipient, effect.address)
        accepted = partial(self._accepted, effect.address)
        self.attend(accepted, refused, ask, self._delivery.recipient, effect.address, effect.original)

    def _introduced(self) -> Sender:
        session = self.session
        return Sender(
            path=session.mail.path,
            host=session.client.host,
            peer=self.client,
            protocol=session.protocol,
            tls=tls_of(self.transport),
            session=self.name,
            size=session.mail.size,
        )

    def _accepted(self, address: bytes, _: object) -> None:
        if not self.lost:
            cast(Envelope, self._envelope).recipients.append(address)
            self._answered(self.session.accepted)

    def _no_recipient(self, address: bytes, failure: Failure) -> None:
        refusal = self._refusal(address, failure)
        self._count(refusal)
        if not self.lost:
            cast(Envelope, self._envelope).refused += 1
            self._answered(self.session.refused, refusal)

    def _write(self, effect: Write) -> None:
        delivery, envelope = cast(IDelivery, self._delivery), cast(Envelope, self._envelope)
        envelope.octets += len(effect.data)
        later = delivery.write(effect.data)
        if later is None:
            self.session.written()
        else:
            self.wait(later, lambda _: self._answered(self.session.written), self.fault)

    def _deliver(self, _: Deliver) -> None:
        delivery, self._delivery = cast(IDelivery, self._delivery), None
        self._delivering = True
        self.attend(self._delivered, self._not_delivered, ask, delivery.commit, revocable=False)

    def _delivered(self, outcomes: Sequence[Exception | None]) -> None:
        self._delivering = False
        addresses = cast(Envelope, self._envelope).recipients
        told = zip(addresses, outcomes, strict=True)
        self._conclude([None if error is None else self._refusal(address, Failure(error)) for address, error in told])

    def _not_delivered(self, failure: Failure) -> None:
        self._delivering = False
        self._conclude([translate(failure, self.facts())] * self.session.mail.recipients)

    def _refusal(self, address: bytes, failure: Failure) -> Refusal:
        """What the client hears. Why a maildrop takes nothing, `IDelivery` has logged; a fault it leaves to its caller."""
        return refusal_for(failure.value) or translate(failure, self.facts(printable(address)))

    def _count(self, *outcomes: Refusal | None) -> None:
        traffic = self.factory.traffic
        if traffic is not None:
            traffic.recipients.update(map(outcome_of, outcomes))

    def _conclude(self, refusals: Sequence[Refusal | None]) -> None:
        self.messages += None in refusals
        self._count(*refusals)
        envelope, self._envelope = cast(Envelope, self._envelope), None
        if self.factory.traffic is not None:
            self.factory.traffic.messages += None in refusals
            self.factory.traffic.message.add(self.clock.seconds() - envelope.since)
        ended = "connection lost before the answer" if self.lost else ""
        tell_delivered(self.facts(), envelope, refusals, ended=ended, now=self.clock.seconds())
        if self.lost:
            self.leave()
            return
        self._answered(self.session.delivered, refusals, self.name.encode("ascii"))
        self._finish()

    def _forget(self, _: Forget) -> None:
        failed = self.session.transaction and self.session.transaction.failed
        self._give_up(f"refusal: {failed.said.decode('ascii')}" if failed else "RSET")
        self._finish()

    def _answered(self, answer: Callable[..., None], *values: object) -> None:
        """Answer an effect; from now on it is the client's turn."""
        self.active = self.clock.seconds()
        answer(*values)

    def _finish(self) -> None:
        """Begin no further transaction if the server stops."""
        if self.draining:
            self.drain()

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        Close: _close,
        Turn: _turn,
        StartTLS: _start_tls,
        Recipient: _recipient,
        Write: _write,
        Deliver: _deliver,
        Forget: _forget,
    }


def tls_of(transport: Any) -> str:
    """The version and the cipher of a transport's TLS, "" without TLS: ``TLSv1.3 TLS_AES_256_GCM_SHA384``."""
    if not is_tls(transport):
        return ""
    connection: SSL.Connection = transport.getHandle()
    return f"{connection.get_protocol_version_name()} {connection.get_cipher_name()}"
