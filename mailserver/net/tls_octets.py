"""The octets of a TLS connection: handshake, records and close_notify, by way of the socket or of memory.

On the socket of a TCP or Unix transport OpenSSL itself reads and writes, without a copy of the octets and without a turn of the
reactor for each write: `doRead` and `doWrite` of the transport become ours, so that any reactor calls us. In memory, over any
other transport, the octets of TLS pass through `dataReceived` and `write`.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import IFileDescriptor, INegotiated, ISSLTransport, ISystemHandle
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.tls.certificate_store import ISocketConnectionCreator

RECORD = 2**14
"""Octets of the largest record: no read leaves a part of one in OpenSSL, where no event of the socket would tell of it."""

FLIGHT = 2**17
"""Octets that leave OpenSSL's memory at once, at most."""


class Creator(Protocol):
    """What makes pyOpenSSL's connections; TLSFactory is one."""

    on_socket: ISocketConnectionCreator | None

    def connection(self, tls: Any) -> SSL.Connection:
        """Make a connection in memory."""


@implementer(ISSLTransport, ISystemHandle, INegotiated, IFileDescriptor)
class TLSOctets(ProtocolWrapper):
    """OpenSSL's side of a connection. A subclass gives `shaken`, `settle` and `client_done`."""

    __slots__ = (  # all attributes, so that an idle session has no dict
        "_bye",
        "_ended",
        "_eof",
        "_lost",
        "_on_socket",
        "_reason",
        "_shaken",
        "_stuck",
        "_tls",
        "_unsent",
        "connected",
        "disconnecting",
        "factory",
        "transport",
        "wrappedProtocol",
    )

    factory: Any  # a Creator
    transport: Any
    wrappedProtocol: Any  # noqa: N815 - Twisted's name

    def __init__(self, factory: Creator, protocol: Any) -> None:
        self.factory = factory
        self.wrappedProtocol = protocol
        self.transport = None
        self.connected = self.disconnecting = 0
        self._tls: Any = None  # an SSL.Connection between the start and the end
        self._on_socket = False
        self._unsent: bytes | memoryview = b""  # what OpenSSL has not taken; it wants the same octets again
        self._reason: Failure | None = None
        self._shaken = False  # the handshake is done
        self._stuck = False  # a read waits until the socket can be written to
        self._ended = False  # the client has ended its half of TLS
        self._eof = False  # the client has ended its half of TCP
        self._bye = False  # our close_notify is said
        self._lost = False  # nothing more is read or written

    def shaken(self) -> None:
        """The handshake is done."""
        raise NotImplementedError

    def settle(self) -> None:
        """Something was sent, or has to wait."""
        raise NotImplementedError

    def client_done(self) -> None:
        """The client has ended its half of TLS."""
        raise NotImplementedError

    # What is known of the connection.

    def fileno(self) -> int:
        """The descriptor of the transport, or -1 if it has none."""
        return int(self.transport.fileno()) if IFileDescriptor.providedBy(self.transport) else -1

    def getHandle(self) -> Any:
        """Return pyOpenSSL's connection; None after its end. Nobody but us may read or write with it."""
        return self._tls

    def getPeerCertificate(self) -> Any:
        """The client's certificate, or None."""
        return self._tls.get_peer_certificate()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The protocol that was agreed on by ALPN, or None."""
        return None if self._tls is None else (self._tls.get_alpn_proto_negotiated() or None)

    # The two ways.

    def start(self, transport: Any, *, untouched: bool = True) -> None:
        """Begin to wait for a handshake; `untouched` tells that nothing waits to be sent by the transport."""
        self.transport = transport
        self.connected = 1
        creator = self.factory.on_socket
        if not untouched or creator is None or not isinstance(transport, tcp.Connection) or transport.TLS:
            self._tls = self.factory.connection(self)
            return
        if transport.socket.family != socket.AF_UNIX:
            # Each record is a write: Nagle's algorithm would hold the second one back for a delayed ACK, 40 ms.
            transport.setTcpNoDelay(True)
        self._on_socket = True
        self._tls = creator.connection_on(transport.socket)
        self._tls.set_accept_state()
        transport.doRead = self._go_on  # type: ignore[method-assign]  # as Twisted's abortConnection replaces it
        transport.doWrite = self._writable  # type: ignore[method-assign]

    def dataReceived(self, data: bytes) -> None:
        """Take octets that the transport has read."""
        if self._lost or self._ended:
            return
        if self._on_socket:
            self._leave_socket()
        self._tls.bio_write(data)
        self._go_on()

    def _leave_socket(self) -> None:
        """Go on in memory: another protocol, such as the reader of a PROXY header, has read the first octets already."""
        self._give_back()
        self._on_socket = False
        self._tls = self.factory.connection(self)

    def _give_back(self) -> None:
        """Let the transport use its socket itself; what it reads is dropped."""
        if not self._ended:
            del self.transport.doRead
        del self.transport.doWrite

    def _flush(self) -> None:
        """In memory, write what OpenSSL has to say."""
        if self._on_socket or self._tls is None:
            return
        try:
            while True:
                self.transport.write(self._tls.bio_read(FLIGHT))
        except SSL.WantReadError:
            pass

    def _writable(self) -> None:
        """The socket takes octets again."""
        self.transport.stopWriting()
        if self._stuck or not self._shaken:
            self._go_on()
        else:
            self._send_rest()

    # The machine.

    def _go_on(self) -> None:
        """Do what new octets from the client make possible."""
        self._stuck = False
        if not self._shaken:
            self._shake_hands()
            if self._on_socket or not self._shaken:
                return  # what the client sent behind its handshake is another event of the socket
        elif self._unsent:
            self._send_rest()
        self._receive()

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
        except SSL.WantWriteError:
            self.transport.startWriting()
        except SSL.Error:
            self._fail(Failure())
        else:
            self._shaken = True
            self._flush()
            self.shaken()
            self._send_rest()

    def _receive(self) -> None:
        """Deliver what has come; on the socket one record an event, so that a client that sends much delays nobody."""
        while (data := self._read()) is not None:
            self.wrappedProtocol.dataReceived(data)
            if self._on_socket:
                return
        self._flush()

    def _read(self) -> bytes | None:
        """The octets of the next record; None if there is none."""
        if self._lost or self._ended:
            return None
        try:
            data: bytes = self._tls.recv(RECORD)
        except SSL.WantReadError:
            pass
        except SSL.WantWriteError:
            self._stuck = True
            self.transport.startWriting()
        except SSL.ZeroReturnError:
            self._end_reading()
        except SSL.Error:
            self._fail(Failure())
        else:
            return data
        return None

    def _end_reading(self) -> None:
        if not self._ended:
            self._ended = True
            if self._on_socket:
                del self.transport.doRead  # the transport notices the end of TCP, and what comes before that is dropped
            self.client_done()

    def _send(self, data: bytes | memoryview) -> None:
        """Let OpenSSL write record by record, and keep what the socket does not take."""
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[self._tls.send(rest) :]
                self._flush()
        except SSL.WantReadError:
            pass
        except SSL.WantWriteError:
            self.transport.startWriting()
        except SSL.Error:
            self._fail(Failure())
            return
        self._unsent = rest or b""

    def _send_rest(self) -> None:
        if self._unsent:
            self._send(self._unsent)
        self.settle()

    def _say_bye(self) -> None:
        """Say close_notify, once; close when the client has said its own, or cannot."""
        if not self._bye:
            try:
                self._tls.shutdown()
            except SSL.WantWriteError:
                self.transport.startWriting()
                return
            except SSL.Error:
                self._fail(Failure())
                return
            self._bye = True
            self._flush()
        if self._ended or self._eof:
            self._hang_up()

    # The end.

    def _abort(self) -> None:
        """Close at once. The client hears close_notify if all that was written is on its way, else it has not got everything."""
        if self._shaken and not (self._lost or self._unsent or self._bye):
            with suppress(SSL.Error):
                self._tls.shutdown()
            self._flush()
        self._lost, self._unsent = True, b""
        self.transport.abortConnection()

    def _hang_up(self) -> None:
        """Close the transport: both sides have said all."""
        self._lost = True
        if self._on_socket:
            self.transport.connectionLost(connectionDone)  # nothing is unsent: no need to wait for a reactor turn
        else:
            self.transport.loseConnection()

    def _fail(self, reason: Failure) -> None:
        """Close after an error, which the protocol is told. An alert for the client has left, or leaves now."""
        error: Any = reason.value
        if isinstance(error, (SSL.SysCallError, SSL.ZeroReturnError)) or error.args == ([],):
            reason = Failure(CONNECTION_LOST)  # the client has gone, which is no error of TLS
        self._reason = self._reason or reason
        self._lost, self._unsent = True, b""
        self._flush()
        if self._on_socket:
            self._give_back()
            self.transport.doRead()  # unread octets would make the close a reset, which overtakes the alert
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the socket, whose number may soon be another connection's, and tell the protocol."""
        self._tls, self._lost, self._unsent = None, True, b""
        self.connected = 0
        if self._on_socket:
            self.transport.doRead = self.transport.doWrite = _nothing
        protocol, self.wrappedProtocol = self.wrappedProtocol, None
        protocol.connectionLost(self._reason or reason)


def _nothing() -> None:
    """What a transport still does for its socket after its end."""
