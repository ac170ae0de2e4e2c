"""The connection limits of one process: one count for all its listeners, and the handling of clients over the limits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final
from typing import Protocol as Shape

from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.errors import Refusal
from mailserver.limits import Limits
from mailserver.net.tally import Tally
from mailserver.net.throttle import network

TURNED_AWAY: Final = 100
"""Clients over the limits that get a reply at the same time, which takes a round trip; further ones are dropped."""

TURNED_AWAY_SECONDS: Final = 10
"""How long a client over the limits may take to read its reply: in TLS, that waits for a handshake that may never end."""

CHANGES: Final = 20
"""Connections that came or went until the memory is tidied: enough to leave half a megabyte unused, if they were TLS."""

PER_ADDRESS: Final = "limits.connections_per_address"

DEFAULT: Final = Limits()

log = Logger()


class Places:
    """The connections of a process. Listeners with the same `Places` share its limits.

    All clients over Unix sockets count as one address, "": otherwise one program of this machine could take every place.
    `tidy` is called at the end of a sweep if many connections came or went since the last time, to give memory back. `tell`
    logs who is turned away, as `tell_turned_away`, and `setting` is the name of the first limit there.
    """

    def __init__(
        self,
        connections: int = DEFAULT.connections,
        per_address: int = DEFAULT.connections_per_address,
        tidy: Callable[[], object] = lambda: None,
        *,
        tell: Callable[..., object] | None = None,
        setting: str = "limits.connections",
    ) -> None:
        self.taken = 0
        self.turned_away = 0
        self.tally = Tally(tell or tell_turned_away)
        """The tally of clients that got no place."""
        self.by_address: Counter[str] = Counter()
        self.most = connections
        """The most connections of all."""
        self.per_address = per_address
        """The most connections of an address."""
        self._changes = 0
        self._tidy = tidy
        self._setting = setting

    def adjust(self, connections: int, per_address: int) -> None:
        """Set other limits. Who has a place keeps it."""
        self.most = connections
        self.per_address = per_address

    def take(self, peer: str | None) -> str:
        """Take a place for a client (None: a proxy has not named it yet); answers "", or the limit that is exceeded."""
        if self.taken >= self.most:
            return self._setting
        if peer is not None:
            address = network(peer)
            if self.by_address.get(address, 0) >= self.per_address:
                return PER_ADDRESS
            self.by_address[address] += 1
        self.taken += 1
        self._changes += 1
        return ""

    def give_back(self, peer: str | None) -> None:
        """Release a place."""
        self.taken -= 1
        self._changes += 1
        if peer is not None:
            address = network(peer)
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]

    @property
    def all_taken(self) -> int:
        """The connections that count against `most`."""
        return self.taken

    def full(self, peer: str) -> str:
        """The limit that one more client would exceed; "": there is a place."""
        if self.all_taken >= self.most:
            return self._setting
        return PER_ADDRESS if self.connections_of(network(peer)) >= self.per_address else ""

    def connections_of(self, address: str) -> int:
        """The connections of an address, as `network` names it."""
        return self.by_address.get(address, 0)

    def swept(self) -> None:
        """All connections of a listener were looked at."""
        if self._changes >= CHANGES:
            self._changes = 0
            self._tidy()

    def turn_away(self, lobby: Lobby, refusal: Refusal, now: float) -> Protocol:
        """Return a protocol for a client without a place: it gets a reply, or is dropped if too many get one already."""
        if self.turned_away >= TURNED_AWAY:
            return Dropped()
        return TurnedAway(self, lobby, refusal, now)


def tell_turned_away(*, listener: str, peer: str, reason: str, others: int, remarks: str) -> None:
    """Log a client that got no place, and the number of `others` before it."""
    log.info(
        "turned away {peer}: {reason}{remarks}",
        event="pop3.turned_away",
        listener=listener,
        peer=peer,
        reason=reason,
        others=others,
        remarks=remarks,
    )


class Lobby(Shape):
    """The listener's methods for clients that are turned away."""

    @property
    def words(self) -> Callable[[Refusal], bytes]:
        """Converts a refusal to a reply in the listener's protocol, for a client that has sent nothing."""

    def turned_away(self, stranger: TurnedAway, *, gone: bool) -> None:
        """Add the client, or remove it when it is `gone`."""


class TurnedAway(Protocol):
    """A connection over the limits: one line, and the end."""

    transport: Any  # any transport of the listener

    def __init__(self, places: Places, lobby: Lobby, refusal: Refusal, now: float) -> None:
        self._places = places
        self._lobby = lobby
        self._refusal = refusal
        self.since = now

    def connectionMade(self) -> None:
        """Write the reply, and close."""
        self._places.turned_away += 1
        self._lobby.turned_away(self, gone=False)
        self.transport.write(self._lobby.words(self._refusal))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Remove it from the listener."""
        self._places.turned_away -= 1
        self._lobby.turned_away(self, gone=True)

    def check(self, now: float) -> None:
        """Drop the connection if its time is up."""
        if now - self.since >= TURNED_AWAY_SECONDS:
            self.transport.abortConnection()


class Dropped(Protocol):
    """A connection that ends at once, without a reply. It must exist, since TLS may be in front of it."""

    transport: Any

    def connectionMade(self) -> None:
        """End."""
        self.transport.abortConnection()
