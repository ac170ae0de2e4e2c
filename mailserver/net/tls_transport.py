"""TLS over a connection, of which a client may close its half and still read: Twisted's own ends both at once.

gnutls-cli and programs at the end of a pipe say close_notify right behind their commands. RFC 8446 section 6.1 lets the
other direction go on, and what was asked for is still owed.
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
"""Octets asked of OpenSSL at once; it gives one record of at most 2**14."""


@implementer(IHalfCloseableProtocol)
class TLSTransport(TLSMemoryBIOProtocol):
    """The TLS of one connection. It writes at once, as our writes are batches already; Twisted's default gathers them."""

    transport: Any
    _ended: bool = False  # the client writes no more
    _eof: bool = False  # and has said so to TCP

    def readConnectionLost(self) -> None:
        """The client closed its half of TCP, with or without a word to TLS: every whole command of it still counts."""
        self._eof = True
        if self.disconnecting:
            self.transport.loseConnection()  # all was written; no answer to our close_notify can come
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
        """As Twisted's, but wait for no answer of a client who cannot give one."""
        super()._shutdownTLS()
        if self._eof:
            self.transport.loseConnection()

    def _flushReceiveBIO(self) -> None:
        """As Twisted's, but the client's close_notify ends its own half alone."""
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
        """Build what the wrapped factory does, behind TLS."""
        return TLSTransport(self, self.wrappedFactory.buildProtocol(addr))


def start_tls(transport: Any, protocol: Any, creator: IOpenSSLServerConnectionCreator) -> TLSTransport:
    """Begin TLS on a connection in use (STLS), whose producer is `protocol`; its transport from now on."""
    transport.unregisterProducer()
    tls = TLSTransport(TLSFactory(creator, False, cast(IProtocolFactory, None)), protocol, False)
    transport.protocol = tls
    tls.makeConnection(transport)
    tls.registerProducer(protocol, True)
    return tls
