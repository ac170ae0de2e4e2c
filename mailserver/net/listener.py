"""The factory of any port's connections: accepts or turns away clients, names sessions, enforces timeouts, and drains.

It knows no protocol: a subclass builds the connections and words the refusals.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection
from itertools import count

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.logger import Logger

from mailserver.counts import Traffic
from mailserver.errors import Refusal, TemporaryFailure
from mailserver.limits import Limits
from mailserver.net.connection import Connection
from mailserver.net.haproxy import Network, ProxyFactory
from mailserver.net.places import Places, TurnedAway
from mailserver.net.rounds import Rounds
from mailserver.net.tls_transport import TLSFactory

log = Logger()

SWEEP_SECONDS = 5.0
"""The interval of the timeout sweep: one sweep costs less than a timer per connection, and 5 seconds more do not matter."""

PAUSE_SECONDS = 0.01
"""The pause after a slice of the sweep, in which others have their turns: 10,000 connections take half a second."""


class Listener(ServerFactory):
    """The factory of a port's connections; a subclass gives `connection`.

    `listener` is its name in the log, and `words` converts a refusal to the reply for a client that is turned away. Listeners
    with the same `places` share the connection limits. The default `clock` is the running reactor.
    """

    noisy = False
    traffic: Traffic | None = None
    """What is counted of the connections; None: nothing is."""

    def __init__(
        self,
        listener: str,
        words: Callable[[Refusal], bytes],
        *,
        clock: IReactorTime | None = None,
        limits: Limits | None = None,
        places: Places | None = None,
    ) -> None:
        self.listener = listener
        self.words = words
        self.clock = clock if clock is not None else _running_reactor()
        self.limits = limits or Limits()
        self.places = places or Places(self.limits.connections, self.limits.connections_per_address)
        self._mark = secrets.token_hex(3)
        self._numbers = count(1)
        self._connections = Rounds[Connection]()
        self._turned_away: set[TurnedAway] = set()
        self._sweeping: IDelayedCall | None = None
        self._drains: list[Deferred[None]] = []
        self._empty: list[Deferred[None]] = []

    def connection(self, peer: str) -> Connection:
        """Build a connection for the client at `peer`; the connection calls `ended` when it is lost."""
        raise NotImplementedError

    def behind(
        self, *, tls: IOpenSSLServerConnectionCreator | None = None, proxies: Collection[Network] | None = None
    ) -> IProtocolFactory:
        """Return the factory for a port: this one, with TLS from the first octet, and with PROXY headers from `proxies`."""
        factory: IProtocolFactory = self if tls is None else TLSFactory(tls, self, self.clock)
        return factory if proxies is None else ProxyFactory(factory, proxies, self.clock, places=self.places)

    # What Twisted calls.

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
            return self._turn_away(b"the server is stopping")
        reason = self.places.take(peer)
        traffic = self.traffic
        if reason:
            if traffic is not None:
                traffic.turned_away += 1
            self.places.tally.count(self.clock.seconds(), listener=self.listener, peer=peer, reason=reason)
            return self._turn_away(b"too many connections")
        if traffic is not None:
            traffic.connections += 1
        connection = self.connection(peer)
        self._connections.add(connection)
        self._wake()
        return connection

    def _turn_away(self, reason: bytes) -> Protocol:
        return self.places.turn_away(self, TemporaryFailure(reason), self.clock.seconds())

    @property
    def connections(self) -> Collection[Connection]:
        """Those that are open."""
        return self._connections.keys()

    # What its connections call.

    def number(self) -> int:
        """Return a new session's number."""
        return next(self._numbers)

    def name_of(self, number: int) -> str:
        """Return a session's name for the log. A mark of the listener and the process makes it unique."""
        return f"{self._mark}-{number:x}"

    def ended(self, connection: Connection) -> None:
        """Forget a connection that was lost."""
        traffic = self.traffic
        if traffic is not None:
            traffic.octets_in += connection.octets_in
            traffic.octets_out += connection.octets_out
        self._connections.pop(connection, None)
        self.places.give_back(connection.peer)
        if not self._connections:
            waiting, self._drains, self._empty = [*self._drains, *self._empty], [], []
            for each in waiting:
                if not each.called:  # else who waited for it has given up
                    each.callback(None)
            self._rest()

    def turned_away(self, stranger: TurnedAway, *, gone: bool) -> None:
        """Add or remove a client over the limits, whose time the sweep checks."""
        (self._turned_away.discard if gone else self._turned_away.add)(stranger)
        self._rest() if gone else self._wake()

    # The end.

    def empty(self) -> Deferred[None]:
        """Fires when no connection is left, each of which ends as its client likes."""
        if not self._connections:
            return succeed(None)
        empty = Deferred[None]()
        self._empty.append(empty)
        return empty

    def drain(self) -> Deferred[None]:
        """Close every session as soon as nothing is under way in it; fires when the last is closed.

        Clients that connect before that are turned away.
        """
        if not self._connections:
            return succeed(None)
        drained = Deferred[None]()
        self._drains.append(drained)
        for connection in tuple(self._connections):
            connection.drain()
        return drained

    def abort(self) -> None:
        """Drop every connection. Deletions that have begun are still finished."""
        for connection in tuple(self._connections):
            connection.end("server stop")
            connection.abort()
        for stranger in tuple(self._turned_away):
            stranger.transport.abortConnection()

    # The timers.

    def _wake(self) -> None:
        if self._sweeping is None:
            self._sweeping = self.clock.callLater(SWEEP_SECONDS, self._begin_sweep)

    def _rest(self) -> None:
        """Cancel the timer, unless a port listens: keeping it for the next client costs less than a new one."""
        if self._sweeping is None or not self._sweeping.active():  # the sweep under way decides when it ends
            return
        if not (self.numPorts or self._connections or self._turned_away):
            self._sweeping.cancel()
            self._sweeping = None

    def _begin_sweep(self) -> None:
        now = self.clock.seconds()
        self.places.tally.catch_up(now)
        if self.traffic is not None:
            self.traffic.tidy()
        for stranger in tuple(self._turned_away):  # at most TURNED_AWAY
            self._look_at(stranger, now)
        self._connections.begin()
        self._sweep(now)

    def _sweep(self, began: float) -> None:
        """Look at some connections, and leave the others to a later turn of the reactor."""
        now = self.clock.seconds()
        for connection in self._connections.slice():
            self._look_at(connection, now)
        if not self._connections.over:
            self._sweeping = self.clock.callLater(PAUSE_SECONDS, self._sweep, began)
            return
        self.places.swept()
        if self._connections or self._turned_away:
            self._sweeping = self.clock.callLater(max(0.0, began + SWEEP_SECONDS - now), self._begin_sweep)
        else:
            self._sweeping = None

    def _look_at(self, each: Connection | TurnedAway, now: float) -> None:
        try:
            each.check(now)
        except Exception:  # noqa: BLE001 - a fault ends only this connection, as in `pump`
            log.failure("fault in a look at a connection's time", event="fault")
            each.transport.abortConnection()


def peer_host(addr: IAddress | None) -> str:
    """Return a client's address without its port; a.b.c.d for ::ffff:a.b.c.d; "" over a Unix socket."""
    host = getattr(addr, "host", "")  # IAddress need not have one, and UNIXAddress has none
    return host[7:] if host.startswith("::ffff:") and "." in host else host


def is_loopback(peer: str) -> bool:
    """Tell whether a client is on this machine, as every client over a Unix socket is."""
    return not peer or peer.startswith("127.") or peer == "::1"


def _running_reactor() -> IReactorTime:
    from twisted.internet import reactor  # an embedder without a clock has installed its reactor by now

    return IReactorTime(reactor)
