"""KPOP: a POP3 connection that begins with a Kerberos ticket."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from twisted.cred.portal import Portal
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.asker import asked_by
from mailserver.credentials import IKerberosIdentity
from mailserver.errors import TicketRefused
from mailserver.interfaces import Accepted, IAcceptor
from mailserver.net.core import Core
from mailserver.net.failures import translate
from mailserver.net.pop3 import POP3Server
from mailserver.net.pop3_listener import POP3ServerFactory
from mailserver.net.throttle import network
from mailserver.protocol.kpop import Accept, Preamble, TurnAway
from mailserver.protocol.krb_error import GENERIC
from mailserver.protocol.pop3 import Session
from mailserver.protocol.pop3_commands import COMMANDS

PREAMBLE_SECONDS: Final = 30
"""The time from the connection to the acceptance. A client has its ticket already, so only two round trips are needed."""

UNKNOWN_REALM: Final = b""
"""The realm in a KRB-ERROR. The client's ticket names the real one, and no client looks at this one."""

log = Logger()


class KPOPServer(POP3Server):
    """One KPOP connection: the preamble, and after it the session.

    A refused ticket does not count as a wrong password does: nobody can guess a ticket, and one cron job with an expired
    ticket would slow down every user behind the same address.
    """

    __slots__ = ("_preamble", "_tls")

    factory: KPOPServerFactory

    def begin(self, *, tls: bool) -> Core:
        """Return the preamble; the session follows when its principal is known."""
        self._tls = tls
        self._preamble = Preamble()
        return self._preamble

    def stranger_seconds(self) -> float:
        """The time until the acceptance, which is shorter than the time until the login."""
        return PREAMBLE_SECONDS if self.core is self._preamble else super().stranger_seconds()

    def expire(self) -> None:
        """Close; in the preamble, a client that has sent nothing gets a reply."""
        if self.core is self._preamble:
            self._preamble.expire()
        super().expire()

    # The preamble's effects.

    def _accept(self, effect: Accept) -> None:
        asked = asked_by(network(self.peer), None, self.factory.acceptor.accept, effect.ap_req)
        self.wait(asked, self._accepted, self._ticket_refused, revocable=True)

    def _accepted(self, accepted: Accepted) -> None:
        if self.lost:
            return
        rest = self._preamble.accepted(accepted.ap_rep)
        self.session = self.factory.session_of(accepted.principal, tls=self._tls)
        self.change(self.session)
        self.session.feed(rest)

    def _ticket_refused(self, failure: Failure) -> None:
        translate(failure, self.facts())
        code = failure.value.error_code if isinstance(failure.value, TicketRefused) else GENERIC
        self._preamble.refused(code, self.factory.now(), UNKNOWN_REALM, self.factory.name)

    def _turn_away(self, effect: TurnAway) -> None:
        log.info(
            "no client of KPOP at {peer}: {reason}", event="kpop.turned_away", reason=effect.reason, **self.facts()
        )
        self.close()

    performers: ClassVar[Mapping[type, Callable[[Any, Any], None]]] = {
        **POP3Server.performers,
        Accept: _accept,
        TurnAway: _turn_away,
    }


class KPOPServerFactory(POP3ServerFactory):
    """Builds the connections of a KPOP listener: `acceptor` verifies tickets, `portal` decides which maildrop they open.

    The `options` are those of `POP3ServerFactory` without those for passwords and SASL. With `require_tls`, USER needs STLS
    first. `now` tells the time of day for KRB-ERRORs, since `clock` may count from any start.
    """

    def __init__(
        self,
        portal: Portal,
        acceptor: IAcceptor,
        *,
        require_tls: bool = False,
        listener: str = "kpop",
        now: Callable[[], float] = time.time,
        **options: Any,
    ) -> None:
        super().__init__(portal, listener=listener, **options)
        if not self._can_take(IKerberosIdentity):
            raise ValueError("KPOP needs a portal with a checker for principals")
        if require_tls and self.tls is None:
            raise ValueError("KPOP that requires TLS needs a certificate")
        self.acceptor = acceptor
        self.now = now
        self.name = b"pop", self._stamp_host
        self._kpop_policy = replace(self._policy, cleartext=not require_tls, user=True, mechanisms=())

    def connection(self, peer: str) -> POP3Server:
        """Build a connection that begins with the preamble."""
        return KPOPServer(self, peer)

    def session_of(self, principal: str, *, tls: bool) -> Session:
        """Return the session that follows a ticket of `principal`; its greeting has no stamp, since it has no APOP."""
        return Session(self._kpop_policy, COMMANDS, tls=tls, principal=principal)
