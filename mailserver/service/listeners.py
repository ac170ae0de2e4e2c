"""The listeners of a process: makes a factory for each bound port from the settings, and stops all of them together."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, cast

from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from zope.interface import implementer

from mailserver.config.kinds import KINDS, Kind
from mailserver.config.problems import Problems
from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.incoming import IDeliveries
from mailserver.interfaces import IAcceptor, IOracle, IPart
from mailserver.net.haproxy import HEADER_SECONDS
from mailserver.net.kpop import KPOPServerFactory
from mailserver.net.listener import Listener
from mailserver.net.lmtp_listener import LMTPServerFactory
from mailserver.net.pop3_listener import POP3ServerFactory, chosen
from mailserver.net.stamp import MAX_GREETING, greeting_octets
from mailserver.service.certificates import Certificates
from mailserver.service.memories import Memories

DRAIN_SECONDS: Final = 10.0
"""How long a stop waits for transfers and commits; service managers kill after 30 to 90 s."""

CUT_SECONDS: Final = 1.0
"""How long a stop waits until the sessions that it has cut are gone, which takes a turn of the reactor: what they let go, such as
the file of a message that has not come whole, is removed by parts that stop after them."""

_CLEARTEXT_ONLY = (
    "pop3 is served without TLS and cleartext is tls: it refuses passwords, and lets in by APOP and the like alone; "
    "give a certificate, or cleartext = loopback"
)

log = Logger()


@dataclass(frozen=True, slots=True)
class Entrance:
    """What ports lead to: the parts of the login, and the way in for mail."""

    portal: Portal
    oracle: IOracle
    acceptor: IAcceptor | None
    """The acceptor of Kerberos tickets; None without a keytab, and then there is no port for tickets."""
    deliveries: IDeliveries | None = None
    """None: no port takes mail."""


@implementer(IPart)
class Listeners:
    """Those of POP3 and KPOP share one count of connections, one throttle, and what is known of clients that fetch again what they had.
    Those of LMTP have a count of their own: a flood of clients keeps no mail out, nor mail the clients.

    What they could not announce is added to the `problems`: the greeting, and names of mechanisms.
    """

    def __init__(
        self, config: Config, certificates: Certificates, problems: Problems, reactor: Any, memories: Memories
    ) -> None:
        self._config = config
        self._certificates = certificates
        self._reactor = reactor
        hostname = config.hostname or socket.getfqdn()
        if problems.sound("hostname", "sdps.greeting"):
            with problems.collect("sdps.greeting", ValueError):
                _check_greeting(greeting_octets(hostname, config.sdps.greeting))
        for key, names in config.auth.mechanism_lists.items():
            with problems.collect(".".join(map(str, key)), ValueError):
                chosen(names)
        self._any = {"clock": reactor, "hostname": hostname}
        self._pop3s = {
            **self._any,
            "limits": config.limits,
            "throttle": memories.throttle,
            "places": memories.places,
            "greeting": config.sdps.greeting,
            "fetches": memories.fetches,
            "login_delay": config.retention.login_delay_seconds,
            "longest_login_delay": config.retention.longest_login_delay_seconds,
            "expire_days": config.retention.expire_days,
            "shortest_expiry": None if (least := config.retention.shortest_expire_days) < 0 else least,
        }
        self._lmtps = {**self._any, "rules": config.delivery, "places": memories.mail_places}
        self._counts = memories.counts if config.listen.shows_pages else None
        memories.throttle.waits = None if self._counts is None else self._counts.waits
        self._made: list[Listener] = []
        self.entries: dict[tuple[str, str], Listener] = {}
        """The listener of each port, by its kind and its endpoint string."""
        self._earlier: Sequence[Listener] = ()
        self._later: Listeners | None = None

    def start(self, _reactor: object) -> Deferred[None]:
        """Do nothing: connections come when a port is opened for a `factory`."""
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Do nothing: a listener itself updates what it announces."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """End idle sessions, wait for the others, and cut those that take longer than DRAIN_SECONDS."""
        return Deferred.fromCoroutine(self._drain(DRAIN_SECONDS))

    def factory(self, kind: str, endpoint: str, entrance: Entrance) -> IProtocolFactory:
        """What a port of a kind serves with, which was bound by this endpoint string, once all parts have started.

        Errors: ConfigError, where settings that nobody has checked lack what the kind needs.
        """
        row = KINDS[kind]
        if row.tls and self._certificates.store is None:
            raise ConfigError([f"listen.{kind}: TLS needs a certificate and a key"])
        if row.keytab and entrance.acceptor is None:
            raise ConfigError([f"listen.{kind}: {row.protocol} needs a keytab"])
        if not row.login and entrance.deliveries is None:
            raise ConfigError([f"listen.{kind}: {row.protocol} needs users and a store to deliver to"])
        listener = self._makers[row.protocol](self, row, endpoint, entrance)
        listener.traffic = None if self._counts is None else self._counts.of(kind)
        self._made.append(listener)
        self.entries[kind, endpoint] = listener
        return listener.behind(
            tls=self._certificates.store if row.tls else None,
            proxies=self._config.limits.proxies if endpoint.startswith("haproxy:") else None,
        )

    @property
    def hostname(self) -> str:
        """The name of this machine, as clients are told it."""
        return str(self._any["hostname"])

    @property
    def made(self) -> Sequence[Listener]:
        """The listeners of all ports, of now if these were followed by others, and those before that still have sessions."""
        if self._later is not None:
            return self._later.made
        self._earlier = [listener for listener in self._earlier if listener.connections]
        return [*self._made, *self._earlier]

    def follow(self, before: Listeners) -> None:
        """Know of the sessions of those whose ports these have now; who asks them hears of these."""
        self._earlier = before.made
        before._later = self

    async def empty(self) -> None:
        """Wait until no session is left, where no port is open for these any more."""
        made = tuple(self._made)
        await DeferredList([listener.empty() for listener in made], consumeErrors=True)
        if any(endpoint.startswith("haproxy:") for endpoint in self._config.listen.endpoints):
            await deferLater(self._reactor, HEADER_SECONDS)  # one may come whose proxy has not named it yet
            await DeferredList([listener.empty() for listener in made], consumeErrors=True)

    async def _drain(self, seconds: float) -> None:
        listeners, self._made = self._made, []
        if not await self._drained(listeners, seconds):
            log.warn("sessions still under way after {seconds} s are cut", event="service.cut", seconds=seconds)
            for listener in listeners:
                listener.abort()
            await self._drained(listeners, CUT_SECONDS)

    async def _drained(self, listeners: Sequence[Listener], seconds: float) -> bool:
        drains = [listener.drain().addTimeout(seconds, self._reactor) for listener in listeners]
        return all(drained for drained, _ in await DeferredList(drains, consumeErrors=True))

    def _pop3(self, kind: Kind, endpoint: str, entrance: Entrance) -> Listener:
        auth, tls = self._config.auth, self._config.tls
        if not kind.tls and auth.cleartext == "tls" and self._certificates.store is None:
            log.warn(_CLEARTEXT_ONLY, event="service.cleartext")
        return POP3ServerFactory(
            entrance.portal,
            cleartext=auth.cleartext,
            mechanisms=self._config.mechanisms(endpoint),
            client_name=tls.client_name if tls.client_ca else "",
            listener=kind.name,
            oracle=entrance.oracle,
            tls=self._certificates.store,
            names=self._config.naming(endpoint),
            **self._pop3s,
        )

    def _kpop(self, kind: Kind, endpoint: str, entrance: Entrance) -> Listener:
        return KPOPServerFactory(
            entrance.portal,
            cast(IAcceptor, entrance.acceptor),
            require_tls=self._config.kerberos.require_tls,
            listener=kind.name,
            tls=self._certificates.store,
            names=self._config.naming(endpoint),
            **self._pop3s,
        )

    def _lmtp(self, kind: Kind, _endpoint: str, entrance: Entrance) -> Listener:
        return LMTPServerFactory(
            cast(IDeliveries, entrance.deliveries),
            listener=kind.name,
            tls=self._certificates.store,
            **self._lmtps,
        )

    _makers: ClassVar[Mapping[str, Callable[[Listeners, Kind, str, Entrance], Listener]]] = {
        "POP3": _pop3,
        "KPOP": _kpop,
        "LMTP": _lmtp,
    }
    """The method that makes a listener, for each protocol in the table of kinds."""


def _check_greeting(octets: int) -> None:
    if octets > MAX_GREETING:
        raise ValueError(f"with the hostname, the greeting has {octets} octets; RFC 2449 allows {MAX_GREETING}")
