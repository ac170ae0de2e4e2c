"""A listener: the policy of a port, its limits, and the factory of its connections."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall, IOpenSSLServerConnectionCreator, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger
from zope.interface import Interface

from mailserver.errors import TemporaryFailure
from mailserver.exchange import IMechanism, VerifierOf
from mailserver.interfaces import BY_SECRET, IOracle
from mailserver.names import Names
from mailserver.net.logins import Logins
from mailserver.net.places import CONNECTIONS, PER_ADDRESS, Places, TurnedAway
from mailserver.net.protocol import POP3Server
from mailserver.net.stamp import make_stamp, stamp_host
from mailserver.net.story import Fetches
from mailserver.net.throttle import Attempt, Throttle
from mailserver.protocol.policy import Policy
from mailserver.protocol.pop3 import Session
from mailserver.protocol.pop3_commands import COMMANDS
from mailserver.sasl import BY_NAME, MECHANISMS
from mailserver.tls.bindings import surroundings

log = Logger()

SWEEP_SECONDS = 5.0
"""How often the timers are looked at: one sweep costs less than a timer per connection, and nobody counts 5 seconds."""

LOOK_SECONDS = 1.0
"""How long what is announced may lag behind what can be served: a look costs microseconds, and each session would pay."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may take of the server. The reasons stand in etc/mailserver.toml."""

    login_seconds: float = 180
    idle_seconds: float = 600
    failure_delay_seconds: float = 2
    failures_per_connection: int = 3
    connections: int = CONNECTIONS
    connections_per_address: int = PER_ADDRESS


class POP3ServerFactory(ServerFactory):
    """Builds the connections of one listener over `portal`, any cred portal; everything else has a default.

    `tls` lets STLS be offered. `cleartext` is "tls", "loopback" or "always": where a password may cross an unencrypted
    line. `mechanisms` names SASL mechanisms in their order; empty means all that the portal's checkers can serve, and the
    `oracle` answer. `client_name` says where in a client's certificate its name is, "email" or "cn"; "" for nowhere.
    Listeners of one service share a `throttle`, so that a guesser gains nothing by changing ports, and `places`, so that the
    limits are those of all together; a factory alone has counters of its own. `names` reads the names
    that clients give, before the portal sees them; without it they are what was typed. Where it has accounts (SDPS), `*ENV`
    is served, for every maildrop. `greeting` is what the greeting says first: ASCII, 200 octets at most. Listeners that share
    `fetches` notice together the clients that fetch again what they had.
    """

    noisy = False

    def __init__(  # noqa: PLR0913 - settings, named where they are given, each with a default
        self,
        portal: Portal,
        *,
        clock: IReactorTime | None = None,
        hostname: str | None = None,
        tls: IOpenSSLServerConnectionCreator | None = None,
        cleartext: str = "tls",
        limits: Limits | None = None,
        mechanisms: Sequence[str] = (),
        listener: str = "pop3",
        throttle: Throttle | None = None,
        oracle: IOracle | None = None,
        client_name: str = "",
        names: Names | None = None,
        greeting: str = "",
        fetches: Fetches | None = None,
        places: Places | None = None,
    ) -> None:
        self.portal = portal
        self.logins = Logins(portal)
        self._mark = secrets.token_hex(3)
        self._numbers = count(1)
        self.clock = clock if clock is not None else _running_reactor()
        self.tls = tls
        self.limits = limits or Limits()
        self.listener = listener
        self.throttle = throttle or Throttle(self.clock, self.limits.failure_delay_seconds)
        self.fetches = fetches or Fetches()
        self.places = places or Places(self.limits.connections, self.limits.connections_per_address)
        self.oracle = oracle
        self.names = names
        self._client_name = client_name
        self._stamp_host = stamp_host(hostname or socket.getfqdn())
        self._chosen = chosen(mechanisms)
        self._named = frozenset(name.upper().encode("ascii") for name in mechanisms)
        self._stamps = False
        self._policy = Policy(
            hostname=self._stamp_host,
            stls=tls is not None,
            cleartext=cleartext == "always",
            failures=self.limits.failures_per_connection,
            sdps=names is not None and bool(names.accounts),
            greeting=greeting.encode("ascii"),
        )
        self._loopback_policy = self._policy if cleartext == "tls" else replace(self._policy, cleartext=True)
        self._look()
        self._connections: set[POP3Server] = set()
        self._turned_away: set[TurnedAway] = set()
        self._sweeping: IDelayedCall | None = None
        self._drains: list[Deferred[None]] = []

    def logPrefix(self) -> str:
        """Name the listener in Twisted's own log lines."""
        return self.listener

    def stopFactory(self) -> None:
        """Stop the timer, unless connections outlive the last port."""
        self._rest()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """Build a connection for the client at `addr`, or one that turns it away."""
        peer = peer_host(addr)
        if self._drains:
            return self.places.turn_away(self, b"the server is stopping", self.clock.seconds())
        reason = self.places.take(peer)
        if reason:
            self.places.tally.count(self.clock.seconds(), listener=self.listener, peer=peer, reason=reason)
            return self.places.turn_away(self, b"too many connections", self.clock.seconds())
        connection = self.connection(peer)
        self._connections.add(connection)
        self._wake()
        return connection

    def connection(self, peer: str) -> POP3Server:
        """Build a connection of this listener's kind."""
        return POP3Server(self, peer)

    def session(self, peer: str, connection: Protocol, *, tls: bool) -> Session:
        """Return a session, with the greeting that this client is due."""
        if self.clock.seconds() - self._looked >= LOOK_SECONDS:
            try:
                self._look()
            except Exception:  # noqa: BLE001 - a checker of somebody else's may raise what it likes; its port must go on
                log.failure("fault in a look at what can be announced; it stays as it was", event="fault")
        return Session(
            self._loopback_policy if is_loopback(peer) else self._policy,
            COMMANDS,
            make_stamp(self._stamp_host) if self._stamps else b"",
            tls=tls,
            surroundings=lambda: surroundings(
                self._stamp_host, self._client_name, connection.transport
            ),  # STLS changes it
        )

    def _look(self) -> None:
        """Look at what the checkers can serve, and announce that: what all users can use, and what the operator names.

        A client takes the first mechanism that it knows, and asks for no other when its user cannot use it.
        """
        self._looked = self.clock.seconds()
        answered = frozenset() if self.oracle is None else self.oracle.mechanisms()
        everybodys = BY_SECRET if self.oracle is None else self.oracle.census().everybodys
        shown = everybodys | self._named
        able = tuple(
            m
            for m in self._chosen
            if self._can_take(m.credentials)
            and (not m.asks or m.asks in answered)
            and (m.name in shown or (m.asks or m.name) not in BY_SECRET - everybodys)
        )
        self._stamps = b"APOP" in shown and self._can_take(IUsernameHashedPassword)
        user = self._can_take(IUsernamePassword)
        if (able, user) != (self._policy.mechanisms, self._policy.user):
            self._policy = replace(self._policy, mechanisms=able, user=user)
            self._loopback_policy = replace(self._loopback_policy, mechanisms=able, user=user)

    def number(self) -> int:
        """Return a new session's number."""
        return next(self._numbers)

    def name_of(self, number: int) -> str:
        """Return what the log calls a session: by a mark of this listener and process, so that no two share a name."""
        return f"{self._mark}-{number:x}"

    def ask(self, request: object) -> Deferred[object]:
        """Carry a SASL exchange's question to the oracle."""
        if self.names is not None and isinstance(request, VerifierOf):
            name = self.names.read(request.username)
            if name is not None:  # else the oracle finds that it is nobody's, and takes its time
                request = replace(request, username=name.encode("utf-8"), typed=request.typed or request.username)
        return fail(TemporaryFailure()) if self.oracle is None else self.oracle.ask(request)

    def attempt(self, peer: str, user: str) -> Attempt:
        """Ask for a turn to verify what a client gave as `user`'s secret. An account has one for all of its users."""
        return self.throttle.attempt(peer, user, user if self.names is None else self.names.owner(user).maildrop)

    def ended(self, connection: POP3Server) -> None:
        """Forget a connection that was lost."""
        self._connections.discard(connection)
        self.places.give_back(connection.peer)
        if not self._connections:
            drains, self._drains = self._drains, []
            for drained in drains:
                drained.callback(None)
            self._rest()

    def drain(self) -> Deferred[None]:
        """Close every session as soon as nothing is under way in it; fires when the last has gone.

        Who comes before that is turned away.
        """
        if not self._connections:
            return succeed(None)
        drained = Deferred[None]()
        self._drains.append(drained)
        for connection in tuple(self._connections):
            connection.drain()
        return drained

    def abort(self) -> None:
        """Drop every connection. What QUIT has begun to remove is still removed."""
        for connection in tuple(self._connections):
            connection.end("server stop")
            connection.abort()
        for stranger in tuple(self._turned_away):
            stranger.transport.abortConnection()

    def turned_away(self, stranger: TurnedAway, *, gone: bool) -> None:
        """Remember, or forget, a client over the limits who may take his time."""
        (self._turned_away.discard if gone else self._turned_away.add)(stranger)
        self._rest() if gone else self._wake()

    def _wake(self) -> None:
        if self._sweeping is None:
            self._sweeping = self.clock.callLater(SWEEP_SECONDS, self._sweep)

    def _rest(self) -> None:
        """Leave no timer behind. While a port listens it waits for the next client: that costs less than a new one."""
        if self._sweeping is not None and not (self.numPorts or self._connections or self._turned_away):
            self._sweeping.cancel()
            self._sweeping = None

    def _sweep(self) -> None:
        self._sweeping = None
        if self._connections or self._turned_away:
            self._wake()
        now = self.clock.seconds()
        self.places.tally.catch_up(now)
        for connection in tuple(self._connections):
            self._look_at(connection, now)
        for stranger in tuple(self._turned_away):
            self._look_at(stranger, now)

    def _look_at(self, each: POP3Server | TurnedAway, now: float) -> None:
        try:
            each.check(now)
        except Exception:  # noqa: BLE001 - a fault ends the one connection, as in `pump`, and the others are looked at
            log.failure("fault in a look at a connection's time", event="fault")
            each.transport.abortConnection()

    def _can_take(self, credentials: type[Interface]) -> bool:
        """Tell whether some checker takes such credentials now: a chain of checkers may change its mind."""
        checker = self.portal.checkers.get(credentials)
        return checker is not None and credentials in checker.credentialInterfaces


def peer_host(addr: IAddress | None) -> str:
    """Return a client's address without its port; a.b.c.d for ::ffff:a.b.c.d; "" over a Unix socket."""
    host = getattr(addr, "host", "")  # IAddress promises none, and UNIXAddress has none
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def is_loopback(peer: str) -> bool:
    """Tell whether a client is on this machine; over a Unix socket it is."""
    return not peer or peer.startswith("127.") or peer == "::1"


def chosen(names: Sequence[str]) -> list[IMechanism]:
    """The mechanisms of these names, in any case; all but the outdated for none. Errors: ValueError, for the operator."""
    known = {mechanism.name.decode("ascii"): mechanism for mechanism in (*MECHANISMS, *BY_NAME)}
    names = [name for name in names if name.upper() != "APOP"]  # no mechanism: it stands there for its stamp alone
    unknown = [name for name in names if name.upper() not in known]
    if unknown:
        raise ValueError(f"unknown SASL mechanism {unknown[0]!r}; known are {', '.join(known)}")
    return [known[name.upper()] for name in names] or list(MECHANISMS)


def _running_reactor() -> IReactorTime:
    from twisted.internet import reactor  # an embedder that names no clock has installed its reactor by now

    return IReactorTime(reactor)
