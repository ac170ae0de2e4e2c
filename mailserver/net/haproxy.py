"""The PROXY protocol, versions 1 and 2: a proxy's header names the client that the proxy serves.

The real protocol is built only after the header was read, and then replaces the one of this module on the transport, so that
half-closes, sendfile and back-pressure work as without a proxy. The transport's `getPeer` is still the proxy; the client is the
address for which the wrapped factory builds its protocol.

The protocol's text: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt
"""

from __future__ import annotations

import struct
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from twisted.internet import address
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.net.outlet import Outlet
from mailserver.net.places import Dropped, Places
from mailserver.net.tally import Tally

log = Logger()

HEADER_SECONDS: Final = 10.0
"""A proxy sends the header in its first packet; even if that is lost and sent again twice, it arrives within 10 s."""

_V1_MAX: Final = 107  # section 2.1: the longest line, for any addresses, with its CRLF
_V2_MAX: Final = (
    4096  # octets after the fixed part: room for TLVs (client certificates, cloud endpoints), not for an attack
)
_V2_FIXED: Final = 16
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_V1_FAMILIES: Final[Mapping[bytes, type[IPv4Address | IPv6Address]]] = {b"TCP4": IPv4Address, b"TCP6": IPv6Address}
# The octets of an address block, by family and transport. POP3 uses no datagrams.
_UNSPECIFIED, _TCP4, _TCP6, _UNIX = 0x00, 0x11, 0x21, 0x31
_V2_FAMILIES: Final = {_UNSPECIFIED: 0, _TCP4: 12, _TCP6: 36, _UNIX: 216}

Network = IPv4Network | IPv6Network


class InvalidHeader(ValueError):
    """These octets do not begin with a PROXY header."""


@dataclass(frozen=True, slots=True)
class Header:
    """A parsed header."""

    octets: int
    """The number of its octets in the stream."""
    source: IAddress | None
    """The client; None when the proxy itself is the client, or names none (LOCAL, UNKNOWN, UNSPEC)."""


def parse(data: bytes) -> Header | None:
    """The header at the beginning of `data`; None while it is incomplete. Errors: InvalidHeader.

    The TLVs of version 2 are ignored, also the checksum: TCP has one, and trust depends on the peer's network.
    """
    if data.startswith(_SIGNATURE[: len(data)]):
        return _parse_v2(data)
    if data.startswith(b"PROXY "[: len(data)]):
        return _parse_v1(data)
    raise InvalidHeader


def _parse_v1(data: bytes) -> Header | None:
    end = data.find(b"\r\n", 0, _V1_MAX)
    if end < 0:
        if len(data) >= _V1_MAX:
            raise InvalidHeader
        return None
    _, protocol, *fields = data[:end].split(b" ")
    if protocol == b"UNKNOWN":
        return Header(end + 2, None)
    family = _V1_FAMILIES.get(protocol)
    if family is None or len(fields) != 4:  # noqa: PLR2004 - two addresses, two ports
        raise InvalidHeader
    source, destination, source_port, destination_port = fields
    _endpoint(family, destination, destination_port)
    return Header(end + 2, _endpoint(family, source, source_port))


def _endpoint(family: type[IPv4Address | IPv6Address], host: bytes, port: bytes) -> IAddress:
    if b"%" in host or not port.isdigit() or (port[0:1] == b"0" and port != b"0") or len(port) > len("65535"):
        raise InvalidHeader
    try:
        parsed = family(host.decode("ascii"))
    except ValueError:
        raise InvalidHeader from None
    return _address(parsed, int(port))


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _V2_FIXED:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(_SIGNATURE))
    if command not in (_LOCAL, _PROXY) or length > _V2_MAX:
        raise InvalidHeader
    size = _V2_FIXED + length
    if len(data) < size:
        return None
    return Header(size, None if command == _LOCAL else _source(family, data[_V2_FIXED:size]))


def _source(family: int, block: bytes) -> IAddress | None:
    size = _V2_FAMILIES.get(family)
    if size is None or len(block) < size:
        raise InvalidHeader
    if family == _TCP4:
        host, port = struct.unpack_from("!4s4xH", block)
        return _address(IPv4Address(host), port)
    if family == _TCP6:
        host, port = struct.unpack_from("!16s16xH", block)
        return _address(IPv6Address(host), port)
    if family == _UNIX:
        path = block[:108].partition(b"\0")[0]
        return address.UNIXAddress(path or None)
    return None


def _address(host: IPv4Address | IPv6Address, port: int) -> IAddress:
    """The address as a Twisted one; ::ffff:a.b.c.d becomes a.b.c.d, so that no client counts as two."""
    if port > 0xFFFF:  # noqa: PLR2004 - a port has 16 bits
        raise InvalidHeader
    if isinstance(host, IPv6Address):
        if host.ipv4_mapped is None:
            return address.IPv6Address("TCP", str(host), port)
        host = host.ipv4_mapped
    return address.IPv4Address("TCP", str(host), port)


def is_trusted(peer: IAddress, networks: Collection[Network]) -> bool:
    """Whether a peer's header is trusted: the peer is in one of the networks, or uses a Unix socket."""
    if isinstance(peer, address.UNIXAddress):
        return True
    if not isinstance(peer, (address.IPv4Address, address.IPv6Address)):
        return False
    host = ip_address(peer.host)
    if isinstance(host, IPv6Address) and host.ipv4_mapped is not None:
        host = host.ipv4_mapped
    return any(host in network for network in networks)


class _Transport(typing.Protocol):
    """The methods of a TCP or Unix transport that `_Preamble` needs."""

    protocol: IProtocol
    disconnecting: bool

    def getPeer(self) -> IAddress: ...
    def abortConnection(self) -> None: ...


class ProxyFactory(ServerFactory):
    """Reads the header of each connection, then lets `wrapped` build the protocol for the client in it.

    Only peers in `networks` and on Unix sockets are trusted; other connections are closed at once, since any peer could claim
    any address. `places` are those of the wrapped factory, so that connections that wait for a header count, too.
    """

    noisy = False

    def __init__(
        self,
        wrapped: IProtocolFactory,
        networks: Collection[Network],
        clock: IReactorTime,
        seconds: float = HEADER_SECONDS,
        places: Places | None = None,
    ) -> None:
        self.wrapped: Final = wrapped
        self.networks: Final = tuple(networks)
        self.clock: Final = clock
        self.seconds: Final = seconds
        self.places: Final = places or Places()
        self.refused: Final = Tally(tell_refused)

    def startFactory(self) -> None:
        """Start the wrapped factory as well."""
        self.wrapped.doStart()

    def stopFactory(self) -> None:
        """Stop the wrapped factory as well."""
        self.wrapped.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        """A protocol that reads the header. It takes a place among all connections; without a free place it is dropped."""
        reason = self.places.take(None)
        if not reason:
            return _Preamble(self)
        peer = getattr(addr, "host", "")
        self.places.tally.count(self.clock.seconds(), listener="proxy", peer=peer, reason=reason)
        return Dropped()


def tell_refused(*, peer: str, why: str, others: int, remarks: str) -> None:
    """Log a peer without a trusted header, and the number of `others` before it."""
    log.warn(
        "PROXY header expected, but {peer} {why}{remarks}",
        event="proxy.refused",
        peer=peer,
        why=why,
        others=others,
        remarks=remarks,
    )


class _Preamble(Protocol):
    """A connection whose client is not known yet."""

    def __init__(self, factory: ProxyFactory) -> None:
        self._factory = factory
        self._received = b""
        self._deadline: IDelayedCall | None = None
        self._since = factory.clock.seconds()
        self._placed = True

    def connectionMade(self) -> None:
        peer = self._connection().getPeer()
        if is_trusted(peer, self._factory.networks):
            self._deadline = self._factory.clock.callLater(self._factory.seconds, self._refuse, "sent none in time")
        else:
            self._refuse("is not in limits.proxies")

    def dataReceived(self, data: bytes) -> None:
        if self._deadline is None:  # refused: ignore what was on its way
            return
        self._received += data
        try:
            header = parse(self._received)
        except InvalidHeader:
            self._refuse("sent something else")
            return
        if header is not None:
            self._hand_over(header)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002 - Twisted's signature
        self._stop_waiting()
        self._give_place()

    def _hand_over(self, header: Header) -> None:
        self._stop_waiting()
        self._give_place()
        transport = self._connection()
        inner = self._factory.wrapped.buildProtocol(header.source or transport.getPeer())
        if inner is None:
            transport.abortConnection()
            return
        client = getattr(inner, "wrappedProtocol", inner)  # TLS may be in between
        if isinstance(client, Outlet):
            client.since = self._since  # its time counts from the connection
        transport.protocol = inner
        inner.makeConnection(typing.cast(typing.Any, transport))
        rest = self._received[header.octets :]
        if rest and not transport.disconnecting:
            inner.dataReceived(rest)

    def _refuse(self, why: str) -> None:
        """Close without a reply: the peer is no POP3 client that could understand one."""
        self._stop_waiting()
        transport = self._connection()
        peer = getattr(transport.getPeer(), "host", "a Unix socket")
        self._factory.refused.count(self._factory.clock.seconds(), peer=peer, why=why)
        transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._deadline = None

    def _give_place(self) -> None:
        if self._placed:
            self._placed = False
            self._factory.places.give_back(None)

    def _connection(self) -> _Transport:
        return typing.cast(_Transport, self.transport)
