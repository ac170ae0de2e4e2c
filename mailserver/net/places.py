"""How many may be connected to a process: one count for all its listeners, and what becomes of those over it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final
from typing import Protocol as Shape

from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.errors import Refusal
from mailserver.net.tally import Tally
from mailserver.net.throttle import network

TURNED_AWAY: Final = 100
"""Clients over the limits who are told so at the same time; the others are dropped. Who reads hears it in a round trip."""

TURNED_AWAY_SECONDS: Final = 10
"""How long a client over the limits may take to hear so: over TLS the line waits for a handshake that may never come."""

CONNECTIONS: Final = 10_000
PER_ADDRESS: Final = 200

log = Logger()


class Places:
    """The connections of a process. Listeners that are given the same one share its limits.

    Whoever comes over a Unix socket counts as one address, "": else one program of this machine could take every place.
    """

    def __init__(self, connections: int = CONNECTIONS, per_address: int = PER_ADDRESS) -> None:
        self.taken = 0
        self.turned_away = 0
        self.tally = Tally(tell_turned_away)
        """Of those who got no place."""
        self.by_address: Counter[str] = Counter()
        self._connections = connections
        self._per_address = per_address

    def take(self, peer: str | None) -> str:
        """Take a place for a client, None while a proxy has not said who he is; "" or the limit that does not allow it."""
        if self.taken >= self._connections:
            return "limits.connections"
        if peer is not None:
            address = network(peer)
            if self.by_address.get(address, 0) >= self._per_address:
                return "limits.connections_per_address"
            self.by_address[address] += 1
        self.taken += 1
        return ""

    def give_back(self, peer: str | None) -> None:
        """Give back a place that was taken."""
        self.taken -= 1
        if peer is not None:
            address = network(peer)
            self.by_address[address] -= 1
            if not self.by_address[address]:
                del self.by_address[address]

    def turn_away(self, lobby: Lobby, refusal: Refusal, now: float) -> Protocol:
        """Return what becomes of a client who gets no place: told so, or dropped where too many are being told."""
        if self.turned_away >= TURNED_AWAY:
            return Dropped()
        return TurnedAway(self, lobby, refusal, now)


def tell_turned_away(*, listener: str, peer: str, reason: str, others: int, remarks: str) -> None:
    """Tell of a client who got no place, and of the `others` before him."""
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
    """Who looks after the clients that are turned away."""

    @property
    def words(self) -> Callable[[Refusal], bytes]:
        """What a refusal is in the words of its protocol, to a client who has said nothing."""

    def turned_away(self, stranger: TurnedAway, *, gone: bool) -> None:
        """Remember him, or forget him."""


class TurnedAway(Protocol):
    """A connection over the limits: one line, and the end."""

    transport: Any  # whatever the listener has

    def __init__(self, places: Places, lobby: Lobby, refusal: Refusal, now: float) -> None:
        self._places = places
        self._lobby = lobby
        self._refusal = refusal
        self.since = now

    def connectionMade(self) -> None:
        """Say so, and close."""
        self._places.turned_away += 1
        self._lobby.turned_away(self, gone=False)
        self.transport.write(self._lobby.words(self._refusal))
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        """Be forgotten."""
        self._places.turned_away -= 1
        self._lobby.turned_away(self, gone=True)

    def check(self, now: float) -> None:
        """Wait no longer than is fair."""
        if now - self.since >= TURNED_AWAY_SECONDS:
            self.transport.abortConnection()


class Dropped(Protocol):
    """A connection that ends at once, without a word. TLS may stand in front of it, so it cannot be none."""

    transport: Any

    def connectionMade(self) -> None:
        """End."""
        self.transport.abortConnection()
