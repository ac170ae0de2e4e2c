"""Deliveries for the tests of LMTP's port: they keep what comes in memory, and answer when the test says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.incoming import IDeliveries, IDelivery, Sender
from mailserver.limits import Delivery
from mailserver.net.lmtp_listener import LMTPServerFactory
from mailserver.smtp_errors import UnknownRecipient
from tests.net.sessions import Talk

HELLO = b"LHLO client.example.org\r\n"
ENVELOPE = b"MAIL FROM:<bob@example.net>\r\nRCPT TO:<alice>\r\n"
MESSAGE = b"Subject: hello\r\n\r\nworld\r\n"
NOBODY = b"nobody"


@implementer(IDelivery)
class Kept:
    """One transaction."""

    def __init__(self, owner: Deliveries, sender: Sender) -> None:
        self.owner = owner
        self.sender = sender
        self.recipients: list[tuple[bytes, bytes]] = []
        self.written: list[bytes] = []
        self.ended = ""

    @property
    def text(self) -> bytes:
        return b"".join(self.written)

    def recipient(self, address: bytes, original: bytes = b"") -> Deferred[None]:
        answer = self.owner.lookups(address)
        return answer.addCallback(lambda _: self.recipients.append((address, original)))

    def write(self, data: bytes) -> Deferred[None] | None:
        self.written.append(data)
        return self.owner.writes(data)

    def commit(self) -> Deferred[Sequence[Exception | None]]:
        assert self.ended == ""
        self.ended = "commit"
        return self.owner.commits(self)

    def abort(self) -> None:
        self.ended = self.ended or "abort"


@implementer(IDeliveries)
class Deliveries:
    """All transactions, in the order of their beginnings."""

    def __init__(self) -> None:
        self.begun: list[Kept] = []
        self.lookups: Callable[[bytes], Deferred[None]] = known
        self.writes: Callable[[bytes], Deferred[None] | None] = lambda _: None
        self.commits: Callable[[Kept], Deferred[Any]] = lambda kept: succeed([None] * len(kept.recipients))

    def begin(self, sender: Sender) -> Kept:
        self.begun.append(Kept(self, sender))
        return self.begun[-1]


def known(address: bytes) -> Deferred[None]:
    """Everybody is known but one."""
    return fail(UnknownRecipient()) if address == NOBODY else succeed(None)


def make_lmtp(deliveries: Any = None, *, clock: Clock | None = None, **options: Any) -> LMTPServerFactory:
    rules = options.pop("rules", {})
    return LMTPServerFactory(
        deliveries or Deliveries(), clock=clock or Clock(), hostname="h", rules=Delivery(**rules), **options
    )


class Delivering(Talk):
    """A session of LMTP on a `Wire`, greeted."""

    def __init__(self, factory: Any, peer: IAddress | None = None, *, hello: bool = True) -> None:
        super().__init__(factory, peer, logged_in=False)
        self.deliveries: Deliveries = factory.deliveries
        if hello:
            self.say(HELLO)
            self.heard()

    def codes(self) -> list[bytes]:
        """The codes of the replies since the last time."""
        return [line[:3] for line in self.heard().splitlines() if line[3:4] == b" "]
