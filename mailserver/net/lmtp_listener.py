"""The LMTP listener: its policy, and the factory of its connections."""

from __future__ import annotations

import socket
from collections.abc import Collection
from ipaddress import ip_address

from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime

from mailserver.incoming import IDeliveries
from mailserver.limits import Delivery
from mailserver.net.listener import Listener
from mailserver.net.lmtp import LMTPServer
from mailserver.net.lmtp_story import tell_turned_away
from mailserver.net.places import Places
from mailserver.protocol.lmtp import Session
from mailserver.protocol.lmtp_commands import COMMANDS
from mailserver.protocol.lmtp_policy import LmtpPolicy
from mailserver.protocol.lmtp_wire import farewell
from mailserver.toml import Network


def lmtp_places(rules: Delivery) -> Places:
    """The places of LMTP's connections: one mail server may take all of them, and none of POP3's."""
    return Places(rules.connections, rules.connections, tell=tell_turned_away, setting="delivery.connections")


class LMTPServerFactory(Listener):
    """Builds the connections of one listener over `deliveries`; everything else has a default.

    With `tls`, STARTTLS is offered to clients over TCP; a Unix socket needs none. `rules` are the limits, and whose XCLIENT is
    trusted. Listeners with the same `places` share the limit of connections.
    """

    def __init__(  # noqa: PLR0913 - settings, named where they are given, each with a default
        self,
        deliveries: IDeliveries,
        *,
        clock: IReactorTime | None = None,
        hostname: str | None = None,
        tls: IOpenSSLServerConnectionCreator | None = None,
        rules: Delivery | None = None,
        listener: str = "lmtp",
        places: Places | None = None,
    ) -> None:
        self.rules = rules or Delivery()
        super().__init__(listener, farewell, clock=clock, places=places or lmtp_places(self.rules))
        self.deliveries = deliveries
        self.tls = tls
        self._hostname = (hostname or socket.getfqdn()).encode("ascii", "replace")

    def connection(self, peer: str) -> LMTPServer:
        """Build a connection."""
        return LMTPServer(self, peer)

    def session(self, peer: str, *, tls: bool) -> Session:
        """Return a session with the greeting for this client."""
        policy = LmtpPolicy(
            hostname=self._hostname,
            max_octets=self.rules.max_octets,
            max_recipients=self.rules.max_recipients,
            stls=self.tls is not None and bool(peer),
            xclient=speaks_for_others(peer, self.rules.xclients),
        )
        return Session(policy, COMMANDS, tls=tls)


def speaks_for_others(peer: str, networks: Collection[Network]) -> bool:
    """Whether a client's XCLIENT is trusted. One over a Unix socket is on this machine, as one of 127.0.0.1 is."""
    if not networks:
        return False
    address = ip_address(peer or "127.0.0.1")
    return any(address in network for network in networks)
