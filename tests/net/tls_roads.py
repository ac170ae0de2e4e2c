"""TLS over a socket whose reactor turns when a test tells it to: everything happens in an order that the test knows."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import Any

from OpenSSL import SSL
from twisted.internet import posixbase, tcp
from twisted.internet.interfaces import IHalfCloseableProtocol, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from zope.interface import implementer

from mailserver.net.tls_transport import TLSFactory
from mailserver.tls.certificate_store import CertificateStore
from tests.tls.handshakes import standard_context

WAYS = ["socket", "memory"]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
NEWEST = ssl.TLSVersion.TLSv1_3
MANY_TURNS = 20_000


class Reactor(Clock, posixbase._DisconnectSelectableMixin):
    """Looks at its descriptors once a turn, as Twisted's reactors do, and counts what it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.asked_to_write = 0
        self.reads = 0

    def addReader(self, each: Any) -> None:
        self.readers.add(each)

    def addWriter(self, each: Any) -> None:
        self.asked_to_write += each not in self.writers
        self.writers.add(each)

    def removeReader(self, each: Any) -> None:
        self.readers.discard(each)

    def removeWriter(self, each: Any) -> None:
        self.writers.discard(each)

    def turn(self) -> bool:
        """Call what is ready; whether anything was."""
        readable, writable, _ = select.select(self.readers, self.writers, (), 0)
        for each in readable:
            if each in self.readers:
                self.reads += 1
                self._told(each, each.doRead(), reading=True)
        for each in writable:
            if each in self.writers:
                self._told(each, each.doWrite(), reading=False)
        due = any(call.getTime() <= self.seconds() for call in self.getDelayedCalls())
        self.advance(0)
        return bool(readable or writable or due)

    def _told(self, each: Any, why: Any, *, reading: bool) -> None:
        if why is not None:
            self._disconnectSelectable(each, why, reading)

    def settle(self) -> None:
        """Turn until nothing is ready."""
        for _ in range(MANY_TURNS):
            if not self.turn():
                return
        raise AssertionError("the reactor turns for ever")


@implementer(IOpenSSLServerConnectionCreator)
class Foreign:
    """An embedder's creator, whose connections are in memory."""

    def __init__(self, store: CertificateStore) -> None:
        self.store = store

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return self.store.serverConnectionForTLS(protocol)


@implementer(IHalfCloseableProtocol)
class Recorder(Protocol):
    """A protocol that remembers, and that a test can make write."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.lost: list[Any] = []
        self.told: list[str] = []

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)

    def readConnectionLost(self) -> None:
        self.told.append("client done")

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Any) -> None:
        self.lost.append(reason.value)

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Single:
    """A factory of one protocol."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self.protocol


class Line:
    """A server's transport, in TLS from the first octet unless `plain`, and a client's end of the socket."""

    def __init__(  # noqa: PLR0913 - a test names what it changes
        self,
        store: CertificateStore,
        protocol: Any = None,
        *,
        way: str = "socket",
        family: int = socket.AF_UNIX,
        buffer: int = 0,
        plain: bool = False,
    ) -> None:
        self.reactor = Reactor()
        self.protocol: Any = protocol or Recorder()
        creator: Any = store if way == "socket" else Foreign(store)
        self.client, server = sockets(family)
        if buffer:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        self.tls: Any = None if plain else TLSFactory(creator, Single(self.protocol)).buildProtocol(None)
        served = self.tls or self.protocol
        self.transport = tcp.Server(server, served, ("127.0.0.1", 1), None, 0, self.reactor)
        self.transport._shouldShutdown = False  # as in a hub, where unread octets make the close a reset
        served.makeConnection(self.transport)

    def close(self) -> None:
        self.client.close()
        if not self.gone:
            self.transport.abortConnection()
            self.reactor.advance(0)

    def turn(self) -> None:
        self.reactor.settle()

    @property
    def gone(self) -> bool:
        """Whether the server has closed its socket."""
        return not hasattr(self.transport, "socket")

    def send(self, data: bytes, step: int = 0) -> None:
        """Send octets of the client's, `step` at a time."""
        for start in range(0, len(data), step or len(data) or 1):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.client.sendall(data[start : start + (step or len(data))])
            self.turn()

    def take(self) -> tuple[bytes, str]:
        """All octets for the client so far, and how they end: "open", "end" or "reset"."""
        data = []
        while True:
            self.turn()
            try:
                data.append(self.client.recv(1 << 16))
            except BlockingIOError:
                return b"".join(data), "open"
            except ConnectionResetError:
                return b"".join(data), "reset"
            if not data[-1]:
                return b"".join(data), "end"


def sockets(family: int) -> tuple[socket.socket, socket.socket]:
    """Both ends of a connection."""
    if family == socket.AF_UNIX:
        client, server = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            server = listening.accept()[0]
    client.setblocking(False)
    return client, server


class Client:
    """A client of TLS on a line."""

    def __init__(
        self,
        line: Line,
        version: ssl.TLSVersion = NEWEST,
        context: ssl.SSLContext | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.line = line
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or standard_context(version)
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname="localhost", session=session)
        self.end = "open"

    def shake(self, step: int = 0) -> Client:
        for _ in range(4):
            with contextlib.suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.carry(step)
        return self

    def carry(self, step: int = 0) -> None:
        self.line.send(self.outgoing.read(), step)
        data, self.end = self.line.take()
        self.incoming.write(data)

    def say(self, data: bytes) -> None:
        self.tls.write(data)
        self.carry()

    def say_close_notify(self) -> None:
        with contextlib.suppress(ssl.SSLError):  # it has not read everything
            self.tls.unwrap()
        self.carry()

    def say_fin(self) -> None:
        self.line.client.shutdown(socket.SHUT_WR)
        self.carry()

    def heard(self) -> tuple[bytes, bool]:
        """What came, and whether the server has said its close_notify behind it."""
        self.carry()
        data = []
        while True:
            try:
                data.append(self.tls.read(1 << 16))
            except ssl.SSLWantReadError:
                return b"".join(data), False
            except ssl.SSLZeroReturnError:
                return b"".join(data), True
            if not data[-1]:
                return b"".join(data), True
