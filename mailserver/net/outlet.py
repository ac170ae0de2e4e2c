"""The way out of a connection: writing, seeing that bytes leave, and closing without losing the last of them."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp
from twisted.internet.interfaces import IReactorTime, ISSLTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.policies import ProtocolWrapper

from mailserver.net.transfer import unsent_octets

CLOSING_SECONDS = 60
"""How long a connection that we closed may last without a byte leaving it: only the last replies are still owed."""

FAREWELL_SECONDS = 1
"""How long a TLS client may take to answer the end of TLS when the server stops: an idle one reads nothing."""

STRANGER_OCTETS = 16 * 1024
"""Octets of replies that may wait for a client before the login: nobody needs half of it."""

CLOSING_OCTETS = 2 * 1024 * 1024
"""Octets that a client may still send after we closed, and nobody reads: more is no accident of pipelining."""


class Outlet(Protocol):
    """The transport's side of a connection."""

    __slots__ = (  # a quarter of an idle session's memory: a dict of more than 30 keys shares none with its class
        "_closing",
        "_direct",
        "_dropped",
        "_progress",
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

    transport: Any  # ITCPTransport, ISSLTransport or a test's: what differs is probed once

    def __init__(self, clock: IReactorTime, peer: str) -> None:
        self.clock = clock
        self.peer = peer
        self.active = self.since = clock.seconds()
        self.octets_in = self.octets_out = 0
        self.tls = False
        self.plain = False  # whether nothing stands between us and the socket: then sendfile may be used
        self._direct = False  # plain, and the transport's own buffer is empty
        self._closing = False
        self._dropped = 0
        self._progress = (0, 0)

    def probe(self) -> bool:
        """Look at the transport; tell whether it is TLS from its first byte."""
        self.tls = ISSLTransport.providedBy(self.transport)
        self.plain = self._direct = not self.tls and isinstance(self.transport, tcp.Connection)
        return self.tls

    def restrain(self, octets: int) -> None:
        """Let no more than about so much wait for the client, in our memory and unsent in the kernel's each; 0: no bound.

        A stranger's replies would else fill the kernel's buffers, 2.4 MB measured. A fixed SO_SNDBUF would end the kernel's
        own tuning of it for the rest of the session; this can be taken back.
        """
        raw = self.transport
        while isinstance(raw, ProtocolWrapper):  # TLS
            raw = raw.transport
        if not isinstance(raw, tcp.Connection):
            return
        if raw.socket.family != socket.AF_UNIX:  # whose buffer does not grow
            raw.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, octets)
        raw.bufferSize = octets or tcp.Connection.bufferSize

    def write(self, data: bytes) -> None:
        """Write to the socket itself while the transport holds nothing back.

        Its own way takes two more system calls and a turn of the reactor: a fifth of a session's CPU, measured.
        """
        if self._direct:
            try:
                sent = self.transport.getHandle().send(data)
            except OSError:
                sent = 0  # full, or broken: the transport finds out, and tells us
            if sent == len(data):
                return
            self._direct = False
            data = data[sent:]
        self.transport.write(data)

    def notice_progress(self, sending: int, now: float) -> None:
        """Count it as activity when octets left since the last look; `sending` are those of a sendfile under way."""
        written = self.octets_out + sending
        if self._progress == (written, 0):
            return  # all had left, and nothing was written since: no need to ask the kernel
        progress = written, unsent_octets(self.transport)
        if progress != self._progress:
            self._progress, self.active = progress, now

    def hang_up(self, *, talking: bool) -> None:
        """Close after what was written. A client that is still `talking` is let finish, over a half-closed connection.

        A socket closed over octets that nobody read resets the connection, and a reset overtakes the last reply.
        """
        self.transport.unregisterProducer()  # TLS shuts down only without one
        if self.plain and talking:
            self.transport.loseWriteConnection()
        elif self._direct:  # nothing is unsent: no need to wait for a turn of the reactor
            self.transport.connectionLost(connectionDone)
        else:
            self.transport.loseConnection()

    def discard(self, octets: int) -> None:
        """Count what a client sends after the close; too much of it ends the connection at once."""
        self._dropped += octets
        if self._dropped > CLOSING_OCTETS:
            self.abort()

    def abandon(self) -> None:
        """Drop the connection if the client has all that was written."""
        if not unsent_octets(self.transport):
            self.abort()

    def abort(self) -> None:
        """Drop the connection, and with it what is unsent. Nothing runs, and nothing is written, after it."""
        self._closing = True
        self.transport.abortConnection()
