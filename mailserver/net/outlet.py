"""The output of a connection: writes, notices progress, and closes without losing the last octets."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper

from mailserver.net.ports import STRANGER_OCTETS, Transport
from mailserver.net.transfer import unsent_octets

CLOSING_SECONDS = 60
"""How long a connection that we closed may last without an octet leaving it: only the last replies still have to be sent."""

FAREWELL_SECONDS = 1
"""How long a TLS client may take to answer close_notify when the server stops: an idle client reads nothing."""

CLOSING_OCTETS = 2 * 1024 * 1024
"""Octets that a client may still send, unread, after we closed: pipelining alone does not explain more."""


class Outlet(Protocol):
    """The transport's side of a connection."""

    __slots__ = (  # a quarter of an idle session's memory: a dict of more than 30 keys shares none with its class
        "_closing",
        "_direct",
        "_dropped",
        "_progress",
        "_widens",
        "active",
        "clock",
        "octets_in",
        "octets_out",
        "peer",
        "plain",
        "since",
        "tls",
        "transport",
    )

    transport: Any  # ITCPTransport, ISSLTransport or a test's; `probe` finds the differences once

    def __init__(self, clock: IReactorTime, peer: str) -> None:
        self.clock = clock
        self.peer = peer
        self.active = self.since = clock.seconds()
        self.octets_in = self.octets_out = 0
        self.tls = False
        self.plain = False  # whether writes go to the socket without TLS: then sendfile may be used
        self._direct = False  # plain, and the transport's own buffer is empty
        self._widens = False  # whether the bound of `restrain` goes when it matters
        self._closing = False
        self._dropped = 0
        self._progress = (0, 0)

    def probe(self) -> bool:
        """Look at the transport; tell whether it is TLS from its first byte."""
        self.tls = ISSLTransport.providedBy(self.transport)
        self.plain = self._direct = not self.tls and isinstance(self.transport, tcp.Connection)
        return self.tls

    def restrain(self, octets: int = STRANGER_OCTETS) -> None:
        """Bound the octets that wait for the client, in our memory and, unsent, in the kernel's; 0: no bound.

        Otherwise an unauthenticated client's replies could fill the kernel's buffers (2.4 MB measured). A fixed SO_SNDBUF
        would end the kernel's tuning for the rest of the session; this bound can be removed. Connections of our own ports are
        born with it.
        """
        raw = self.transport
        while isinstance(raw, ProtocolWrapper):  # TLS
            raw = raw.transport
        if not isinstance(raw, tcp.Connection) or (octets and isinstance(raw, Transport) and raw.server.restrains):
            return
        if raw.socket.family != socket.AF_UNIX:  # a Unix socket's buffer does not grow
            raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, octets)
        raw.bufferSize = octets or tcp.Connection.bufferSize

    def trust(self) -> None:
        """End the bound. Of a direct connection it goes when it matters, which in a short session it never does."""
        if self._direct:
            self._widens = True
        else:
            self.restrain(0)

    def widen(self) -> None:
        """Remove the bound that matters now, if it may go."""
        if self._widens:
            self._widens = False
            self.restrain(0)

    def write(self, data: bytes) -> None:
        """Write directly to the socket while the transport's buffer is empty.

        The transport's own write takes two more system calls and a reactor turn: a fifth of a session's CPU, measured.
        """
        if self._direct:
            try:
                sent = self.transport.getHandle().send(data)
            except OSError:
                sent = 0  # full or broken: the transport will find out
            if sent == len(data):
                return
            data = data[sent:]
            if self._widens:
                self.widen()
                self.write(data)
                return
            self._direct = False
        self.transport.write(data)

    def notice_progress(self, sending: int, now: float) -> None:
        """Count it as activity when octets left since the last look; `sending` are those of a sendfile under way."""
        written = self.octets_out + sending
        if self._progress == (written, 0):
            return  # everything was sent before, and nothing written since: no need to ask the kernel
        progress = written, unsent_octets(self.transport)
        if progress != self._progress:
            self._progress, self.active = progress, now

    def hang_up(self, *, talking: bool) -> None:
        """Close after the written octets. A client that still sends (`talking`) may finish, over a half-closed connection.

        Closing a socket with unread octets resets the connection, and the reset overtakes the last reply.
        """
        self.transport.unregisterProducer()  # TLS shuts down only without one
        if self.plain and talking:
            self.transport.loseWriteConnection()
        elif self._direct:  # nothing is unsent: no need to wait for a reactor turn
            self.transport.connectionLost(connectionDone)
        else:
            self.transport.loseConnection()

    def discard(self, octets: int) -> None:
        """Count the octets that a client sends after the close; too many end the connection at once."""
        self._dropped += octets
        if self._dropped > CLOSING_OCTETS:
            self.abort()

    def abandon(self) -> None:
        """Drop the connection if the client has received everything."""
        if not unsent_octets(self.transport):
            self.abort()

    def abort(self) -> None:
        """Drop the connection with its unsent octets. Nothing runs or is written afterwards."""
        self._closing = True
        self.transport.abortConnection()
