"""KPOP for tests without a KDC: an acceptor that knows its tickets by their names, and a portal that lets principals in."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.credentials import IKerberosIdentity
from mailserver.errors import TemporaryFailure, TicketRefused
from mailserver.interfaces import Accepted, IAcceptor
from mailserver.net.kpop import KPOPServerFactory
from tests.net.sessions import Maildrop, Realm

HELLO = b"\0\0\0\x13KRB5_SENDAUTH_V1.0\0\0\0\0\x09KPOPV1.0\0"
GREETING = b"+OK h POP3 server ready\r\n"
ACCEPTED = b"\0\0\0\0"
AP_REP = b"\0\0\0\x06AP-REP"
DETAIL = "pop/localhost is not in /etc/pop.keytab"


def piece(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


TICKET = piece(b"alice@KPOP.TEST")
MUTUAL = piece(b"mutual alice@KPOP.TEST")


@implementer(IAcceptor)
class Acceptor:
    """A ticket is the name of its principal, with "mutual " before it for an AP-REP, or one of `REFUSALS`."""

    REFUSALS: dict[bytes, Exception] = {  # noqa: RUF012 - nobody changes it
        b"replay": TicketRefused(34, DETAIL),
        b"busy": TemporaryFailure(),
        b"fault": RuntimeError("a fault of ours"),
    }

    def __init__(self) -> None:
        self.waiting: Deferred[Any] | None = None
        """Set to a Deferred, the next verification waits for it."""

    def accept(self, ap_req: bytes) -> Deferred[Accepted]:
        if ap_req in self.REFUSALS:
            return fail(self.REFUSALS[ap_req])
        mutual = ap_req.startswith(b"mutual ")
        accepted = Accepted(ap_req.removeprefix(b"mutual ").decode(), b"AP-REP" if mutual else None)
        return succeed(accepted) if self.waiting is None else self.waiting.addCallback(lambda _: accepted)


@implementer(ICredentialsChecker)
class Checker:
    """Lets a principal into the maildrop of its own name; nobody gets in by a password."""

    credentialInterfaces = (IKerberosIdentity, IUsernamePassword)  # noqa: N815 - its interface names it so

    def __init__(self) -> None:
        self.seen: list[object] = []

    def requestAvatarId(self, credentials: Any) -> bytes:
        self.seen.append(credentials)
        own = credentials.principal.partition("@")[0].encode()
        if credentials.username not in (b"", own):
            raise UnauthorizedLogin
        return own


def kpop_factory(maildrop: Any = None, **options: Any) -> KPOPServerFactory:
    checker = Checker()
    portal = Portal(Realm(maildrop or Maildrop(())), [checker])
    factory = KPOPServerFactory(portal, Acceptor(), **{"clock": Clock(), "hostname": "h", **options})
    factory.checker = checker
    return factory
