"""TLS in which a client may close its half and still read: Twisted's own TLS closes both halves at once.

gnutls-cli and programs at the end of a pipe send close_notify right after their commands. By RFC 8446 section 6.1 the other
direction goes on, so the replies must still be sent.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

RECORD = 2**15
"""Octets of one read from OpenSSL, which gives one record of at most 2**14."""


@implementer(IHalfCloseableProtocol)
class TLSTransport(TLSMemoryBIOProtocol):
    """The TLS of one connection. It writes at once, since our writes are batches; Twisted's default would collect them."""

    transport: Any
    _ended: bool = False  # the client has ended its half of TLS
    _eof: bool = False  # the client has ended its half of TCP

    def readConnectionLost(self) -> None:
        """The client closed its half of TCP, with or without close_notify: its complete commands still count."""
        self._eof = True
        if self.disconnecting:
            self.transport.loseConnection()  # everything was written, and no answer to our close_notify can come
        elif self._handshakeDone:
            self._client_done()
        else:
            self.abortConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing: the connection is closed after it."""

    def _client_done(self) -> None:
        if self._ended:
            return
        self._ended = True
        half: Any = IHalfCloseableProtocol(self.wrappedProtocol, None)
        if half is None or self.disconnecting:
            self._shutdownTLS()
            self._tlsShutdownFinished(None)
        else:
            half.readConnectionLost()

    def _shutdownTLS(self) -> None:
        """As Twisted's, but without waiting for the answer of a client that cannot send one."""
        super()._shutdownTLS()
        if self._eof:
            self.transport.loseConnection()

    def _flushReceiveBIO(self) -> None:
        """As Twisted's, but the client's close_notify ends only the client's half."""
        while not (self._lostTLSConnection or self._ended):
            try:
                data = self._tlsConnection.recv(RECORD)
            except SSL.WantReadError:
                break
            except SSL.ZeroReturnError:
                self._client_done()
            except SSL.Error:
                self._tlsShutdownFinished(Failure())
            else:
                if not self._aborted:
                    self.wrappedProtocol.dataReceived(data)
        self._flushSendBIO()


class TLSFactory(TLSMemoryBIOFactory):
    """TLS from the first octet, in front of a factory."""

    protocol = TLSTransport

    def buildProtocol(self, addr: IAddress | None) -> TLSTransport:
        """Build the wrapped factory's protocol, with TLS in front."""
        return TLSTransport(self, self.wrappedFactory.buildProtocol(addr))


def start_tls(transport: Any, protocol: Any, creator: IOpenSSLServerConnectionCreator) -> TLSTransport:
    """Begin TLS on an open connection (STLS) whose producer is `protocol`; answers its new transport."""
    transport.unregisterProducer()
    tls = TLSTransport(TLSFactory(creator, False, cast(IProtocolFactory, None)), protocol, False)
    transport.protocol = tls
    tls.makeConnection(transport)
    tls.registerProducer(protocol, True)
    return tls
