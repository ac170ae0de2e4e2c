"""TLS in front of a protocol, in which a client may close its half and still read.

gnutls-cli and programs at the end of a pipe send close_notify right after their commands. By RFC 8446 section 6.1 the other
direction goes on, so the replies must still be sent. Twisted's own TLS closes both halves at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IOpenSSLServerConnectionCreator,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.net.tls_octets import Creator, TLSOctets
from mailserver.tls.certificate_store import ISocketConnectionCreator


@implementer(IPushProducer)
class _Valve:
    """The producer that a transport sees. It is not the TLSTransport itself, whose `pauseProducing` pauses the reading."""

    __slots__ = ("_tls",)

    def __init__(self, tls: TLSTransport) -> None:
        self._tls = tls

    def pauseProducing(self) -> None:
        """The transport has much to send."""
        self._tls.press(True)

    def resumeProducing(self) -> None:
        """The transport has sent everything."""
        self._tls.press(False)

    def stopProducing(self) -> None:
        """Do nothing: connectionLost follows."""


@implementer(IHalfCloseableProtocol)
class TLSTransport(TLSOctets):
    """The server's TLS of one connection: a protocol to its transport, and a transport to its protocol.

    It writes at once, and pauses its producer, which must be a push producer, while anything waits to be sent.
    """

    __slots__ = ("_full", "_paused", "_producer")

    def __init__(self, factory: Creator, protocol: Any) -> None:
        super().__init__(factory, protocol)
        self._producer: Any = None
        self._paused = False  # the producer is paused
        self._full = False  # the transport has much to send

    # What the transport calls.

    def makeConnection(self, transport: Any) -> None:
        """Begin, and tell the protocol that it is connected; what it writes leaves after the handshake."""
        self.start(transport)
        self.wrappedProtocol.makeConnection(self)

    def readConnectionLost(self) -> None:
        """The client closed its half of TCP, with or without close_notify: its complete commands still count."""
        if self._lost:
            return
        self._eof = True
        if not self._shaken:
            self.abortConnection()
        elif self.disconnecting:
            self.settle()
        else:
            self._end_reading()

    def writeConnectionLost(self) -> None:
        """Do nothing: the connection is closed after it."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop the producer, and tell the protocol."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        super().connectionLost(reason)

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        """Send octets. After loseConnection only a producer's are sent."""
        if self._lost or not data or (self.disconnecting and self._producer is None):
            return
        if self._unsent or not self._shaken:
            self._unsent = b"".join((self._unsent, data))
        else:
            self._send(data)
        if self._unsent:
            self.settle()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Send octets that are in several pieces."""
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Pause and resume a push producer."""
        if not streaming:
            raise TypeError("a pull producer cannot write to TLS")
        if self._producer is not None:
            raise RuntimeError("another producer is registered")
        if self._lost:
            producer.stopProducing()
            return
        self._producer, self._paused = producer, False
        if not self._on_socket:
            self.transport.registerProducer(_Valve(self), True)

    def unregisterProducer(self) -> None:
        """Forget the producer; a close that waited for it begins."""
        if self._producer is None:
            return
        self._producer, self._full = None, False
        if not self._on_socket:
            self.transport.unregisterProducer()
        self.settle()

    def loseConnection(self) -> None:
        """Say close_notify after what was written, and close when the client has said its own.

        Before the handshake, with nothing to say to the client, close at once.
        """
        if self.disconnecting or not self.connected:
            return
        if not (self._shaken or self._unsent):
            self.abortConnection()
            return
        self.disconnecting = 1
        self.settle()

    def abortConnection(self) -> None:
        """Close at once, with octets unsent."""
        self.disconnecting = 1
        self._abort()

    def failVerification(self, reason: Failure) -> None:
        """Abort for a `reason` that the connection's creator has found."""
        self._reason = reason
        self.abortConnection()

    # What the octets' side calls.

    def press(self, full: bool) -> None:
        """Note whether the transport has much to send."""
        self._full = full
        self.settle()

    def settle(self) -> None:
        """Pause or resume the producer, or say close_notify, by what is unsent."""
        if self._lost:
            return
        if self._producer is not None:
            full = self._full or bool(self._unsent)
            if full is not self._paused:
                self._paused = full
                (self._producer.pauseProducing if full else self._producer.resumeProducing)()
        elif self.disconnecting and not self._unsent:
            self._say_bye()

    def shaken(self) -> None:
        """Tell a protocol that wants to know that the handshake is done."""
        if IHandshakeListener.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.handshakeCompleted()

    def client_done(self) -> None:
        """The client says nothing more; what it asked for is still owed to it."""
        half: Any = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if self.disconnecting:
            self.settle()
        elif half is not None:
            half.readConnectionLost()
        else:
            self.unregisterProducer()
            self.loseConnection()

    def _leave_socket(self) -> None:
        super()._leave_socket()
        if self._producer is not None:
            self.transport.registerProducer(_Valve(self), True)


class TLSFactory(TLSMemoryBIOFactory):
    """TLS from the first octet, in front of a factory. Without a `clock`, Twisted takes the installed reactor's, or installs one."""

    def __init__(
        self, creator: IOpenSSLServerConnectionCreator, wrapped: Any, clock: IReactorTime | None = None
    ) -> None:
        super().__init__(creator, False, wrapped, clock)
        self._creator = creator
        self.on_socket: ISocketConnectionCreator | None = ISocketConnectionCreator(creator, None)

    def connection(self, protocol: Any) -> SSL.Connection:
        """Make a connection of pyOpenSSL that reads and writes in memory."""
        made = self._creator.serverConnectionForTLS(protocol)
        made.set_accept_state()
        return made

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Build the wrapped factory's protocol, with TLS in front; None if it builds none."""
        protocol = self.wrappedFactory.buildProtocol(addr)
        return None if protocol is None else TLSTransport(self, protocol)


def start_tls(
    transport: Any,
    protocol: Any,
    creator: IOpenSSLServerConnectionCreator,
    *,
    untouched: bool,
    clock: IReactorTime | None = None,
) -> TLSTransport:
    """Begin TLS on an open connection (STLS) whose producer is `protocol`; answers its new transport.

    `untouched` tells that everything written so far has left the transport; `clock` is as of `TLSFactory`.
    """
    transport.unregisterProducer()
    tls = TLSTransport(TLSFactory(creator, None, clock), protocol)
    transport.protocol = tls
    tls.start(transport, untouched=untouched)
    tls.registerProducer(protocol, True)
    return tls
