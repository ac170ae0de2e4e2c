"""Ports and connections of a `Hub`: Twisted's, with an accept and a close that cost no more than they must.

Beside public names of Twisted's they use `_buildAddr`, `_addressType`, `_shouldShutdown` and `_fromListeningDescriptor`, and
`_accept` of Python's sockets; tests/net/test_ports.py fails where one is missing.
"""

from __future__ import annotations

import socket
from typing import Any, Final, cast

from twisted.internet import abstract, tcp
from twisted.internet.address import IPv6Address
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

log = Logger()

ACCEPTS: Final = 16
"""Connections that are accepted at once, each with its greeting: less than a millisecond."""

STRANGER_OCTETS: Final = 16 * 1024
"""Octets of replies that may wait for a client before the login: no client needs half of it."""

_NUMERIC: Final = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV


class Transport(tcp.Server):
    """A connection over TCP. It costs no more than it must to make and to close; the rest is Twisted's."""

    bufferSize = STRANGER_OCTETS
    _shouldShutdown = False  # close(2) does the same while the socket is ours alone; a system call less

    reactor: Any
    server: Any

    def __init__(  # Twisted's own also formats two texts for its log
        self, skt: Any, protocol: IProtocol, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        abstract.FileDescriptor.__init__(self, reactor)
        skt.setblocking(False)
        self.socket = skt
        self.fileno = skt.fileno
        self.protocol = protocol
        self.client = client
        self.hostname = client[0]
        self.server = server
        self.sessionno = sessionno
        if len(client) > 2:  # noqa: PLR2004 - an IPv6 address has a flow and a scope, too
            self._addressType = IPv6Address
        self.connected = 1
        reactor.addReader(self)

    def connectionLost(self, reason: Failure) -> None:
        """Close the socket, and tell the protocol."""
        if self.reactor.shared:
            self._shouldShutdown = True  # a child that has the socket, too, would keep it open and in the epoll
        elif self.connected:
            self.reactor.forget(self.fileno())
        super().connectionLost(reason)

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return f"{self.server.logPrefix()},{self.sessionno},{self.hostname}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.logPrefix()}>"


class Port(tcp.Port):
    """A listening socket. It accepts several connections at once, each with fewer look-ups than Twisted's port."""

    transport: Any = Transport
    factory: Any
    reactor: Any
    restrains = False
    """Whether connections are born with a bound of STRANGER_OCTETS on what waits, unsent, in the kernel."""
    _pace = 1.0
    _turn = 0

    def createInternetSocket(self) -> socket.socket:
        """Make the socket to listen with: what it is told here, all accepted sockets inherit, for no system call."""
        skt: socket.socket = super().createInternetSocket()
        if self.addressFamily != socket.AF_UNIX:
            skt.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, STRANGER_OCTETS)
        return skt

    def startListening(self) -> None:
        """Listen. A worker adopts a socket that has the bound; one of systemd's, with connections that wait, has none."""
        super().startListening()
        if self.addressFamily != socket.AF_UNIX:
            bound = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            self.restrains = bound == STRANGER_OCTETS

    def leave(self) -> None:
        """Leave the socket to another process, which has it, too: the end of this port is not its end."""
        self._shouldShutdown = False

    def doRead(self) -> None:
        """Accept connections, up to a bound that grows while each turn reaches it: a vain accept costs as much as a send."""
        before, self._turn = self._turn, self.reactor.turns
        accept = cast(Any, self.socket)._accept  # the public `accept` looks up enumerations for 4 us
        for count in range(int(self._pace)):
            try:
                fd, client = accept()
            except BlockingIOError:
                self._pace = max(1.0, count)
                return
            except OSError:  # too many open files, for which Twisted has a descriptor in reserve
                super().doRead()
                return
            self._begin(socket.SocketType(self.addressFamily, self.socketType, 0, fd), client)
        if self._turn == before + 1:  # one that came alone was served in turns between
            self._pace = min(self._pace * 1.25, ACCEPTS)

    def _begin(self, skt: Any, client: Any) -> None:
        """Make the connection of an accepted socket; a fault ends it, and no other."""
        transport = None
        try:
            client = self._named(client)
            protocol = self.factory.buildProtocol(self._buildAddr(client))
            if protocol is not None:
                self.sessionno += 1
                transport = self.transport(skt, protocol, client, self, self.sessionno - 1, self.reactor)
                protocol.makeConnection(transport)
                return
        except BaseException:  # noqa: BLE001 - as in `Hub.doRead`
            log.failure("fault in a new connection", event="fault")
        if transport is None:
            skt.close()
        else:
            transport.abortConnection()

    def _named(self, client: Any) -> Any:
        """The client's address; to one that is valid on one interface only, its name belongs (RFC 4007 section 11)."""
        if self.addressFamily == socket.AF_INET6 and client[3]:
            return (socket.getnameinfo(client, _NUMERIC)[0], *client[1:])
        return client
