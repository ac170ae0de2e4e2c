from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from twisted.internet.protocol import ClientCreator, Factory, Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from mailserver.net.haproxy import Header, InvalidHeader, ProxyFactory, is_trusted, parse
from mailserver.net.listener import Limits
from mailserver.net.places import Places
from mailserver.tls.certificate_store import CertificateStore
from tests.net.sessions import make_factory
from tests.tls.handshakes import write_pair

SIGNATURE = bytes.fromhex("0d0a0d0a000d0a515549540a")  # section 2.2
PROXY = IPv4Address("TCP", "10.0.0.1", 1)
CLIENT = IPv4Address("TCP", "192.0.2.7", 56324)
CLIENT6 = IPv6Address("TCP", "2001:db8::7", 56324)


def v2(command: int, family: int, block: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(block)) + block


INET = struct.pack("!4s4sHH", ip_address("192.0.2.7").packed, ip_address("198.51.100.1").packed, 56324, 110)
INET6 = struct.pack("!16s16sHH", ip_address("2001:db8::7").packed, ip_address("2001:db8::1").packed, 56324, 110)
MAPPED = struct.pack("!16s16sHH", ip_address("::ffff:192.0.2.7").packed, ip_address("::1").packed, 56324, 110)
TLVS = bytes.fromhex("030004deadbeef") + b"\x20\x00\x08\x07\0\0\0\0\x21\0\0" + b"\x04\x00\x03abc"  # CRC32C, SSL, NOOP

VALID = [
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 110\r\n", CLIENT),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", IPv4Address("TCP", "255.255.255.255", 65535)),
    (b"PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n", IPv4Address("TCP", "192.0.2.7", 0)),
    (b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 110\r\n", CLIENT6),
    (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 110\r\n", CLIENT),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN " + b"f" * 91 + b"\r\n", None),  # 107 octets, the most
    (v2(0x21, 0x11, INET), CLIENT),
    (v2(0x21, 0x11, INET + TLVS), CLIENT),
    (v2(0x21, 0x11, INET.ljust(4096, b"\0")), CLIENT),
    (v2(0x21, 0x21, INET6), CLIENT6),
    (v2(0x21, 0x21, MAPPED), CLIENT),
    (v2(0x21, 0x31, b"/run/client".ljust(108, b"\0") + bytes(108)), UNIXAddress(b"/run/client")),
    (v2(0x21, 0x31, bytes(216)), UNIXAddress(None)),
    (v2(0x21, 0x00, b""), None),
    (v2(0x21, 0x00, TLVS), None),
    (v2(0x20, 0x00, b""), None),
    (v2(0x20, 0x11, INET), None),
    (v2(0x20, 0xFF, b"whatever"), None),
]

INVALID = [
    b"PROXX",
    b"GET / HTTP/1.0\r\n\r\n",
    b"USER alice\r\n",
    b"\x16\x03\x01\x02\x00",
    b"proxy TCP4 192.0.2.7 198.51.100.1 56324 110\r\n",
    b"PROXY\r\n",
    b"PROXY \r\n",
    b"PROXY TCP5 192.0.2.7 198.51.100.1 56324 110\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 110 1\r\n",
    b"PROXY TCP4  192.0.2.7 198.51.100.1 56324 110\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 65536 110\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 99999999\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 110\r\n",
    b"PROXY TCP4 192.0.2.7 198.51.100.1 0110 110\r\n",
    b"PROXY TCP4 192.0.2.256 198.51.100.1 56324 110\r\n",
    b"PROXY TCP4 2001:db8::7 2001:db8::1 56324 110\r\n",
    b"PROXY TCP6 192.0.2.7 198.51.100.1 56324 110\r\n",
    b"PROXY TCP6 fe80::1%eth0 ::1 56324 110\r\n",
    b"PROXY TCP4 192.0.2.\xb2 198.51.100.1 56324 110\r\n",
    b"PROXY UNKNOWN " + b"f" * 92 + b"\r\n",  # 108 octets
    b"PROXY " + b"x" * 101,
    v2(0x11, 0x11, INET),
    v2(0x22, 0x11, INET),
    v2(0x21, 0x12, INET),
    v2(0x21, 0x10, INET),
    v2(0x21, 0x11, INET[:-1]),
    v2(0x21, 0x21, INET6[:-1]),
    v2(0x21, 0x31, bytes(215)),
    v2(0x21, 0x11, bytes(4097)),
]


@pytest.mark.parametrize(("data", "source"), VALID, ids=range(len(VALID)))
def test_a_header_is_read_and_what_follows_it_left(data: bytes, source: IAddress | None) -> None:
    assert parse(data) == parse(data + b"USER alice\r\n") == Header(len(data), source)


@pytest.mark.parametrize("data", [data for data, _ in VALID], ids=range(len(VALID)))
def test_an_incomplete_header_is_neither_read_nor_refused(data: bytes) -> None:
    assert [parse(data[:size]) for size in range(len(data))] == [None] * len(data)


@pytest.mark.parametrize("data", INVALID, ids=range(len(INVALID)))
def test_anything_else_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidHeader):
        parse(data)


def _verdict(data: bytes) -> object:
    try:
        return parse(data)
    except InvalidHeader:
        return InvalidHeader


@given(
    st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=120).map(b"PROXY ".__add__),
        st.binary(max_size=300).map(SIGNATURE.__add__),
        st.builds(v2, st.sampled_from([0x20, 0x21]), st.sampled_from([0, 0x11, 0x21, 0x31]), st.binary(max_size=230)),
        st.from_regex(rb"PROXY TCP[46] [0-9a-f.:]{1,20} [0-9a-f.:]{1,20} [0-9]{1,5} [0-9]{1,5}\r\n.*", fullmatch=True),
    )
)
def test_once_decided_more_octets_change_nothing(data: bytes) -> None:
    verdicts = [_verdict(data[:size]) for size in range(len(data) + 1)]
    decided = [verdict for verdict in verdicts if verdict is not None]
    assert len(set(decided)) <= 1
    assert verdicts[len(verdicts) - len(decided) :] == decided


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        (IPv4Address("TCP", "10.1.2.3", 1), True),
        (IPv4Address("TCP", "11.1.2.3", 1), False),
        (IPv6Address("TCP", "::ffff:10.1.2.3", 1), True),
        (IPv6Address("TCP", "fd00::1", 1), True),
        (IPv6Address("TCP", "fe80::1%eth0", 1), False),
        (UNIXAddress(None), True),
        (HostnameAddress(b"10.1.2.3", 1), False),
    ],
)
def test_who_is_believed(peer: IAddress, trusted: bool) -> None:
    assert is_trusted(peer, [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]) is trusted


class Inner(Protocol):
    def __init__(self, address: IAddress | None) -> None:
        self.address = address
        self.received = b""

    def connectionMade(self) -> None:
        self.transport.write(b"+OK\r\n")

    def dataReceived(self, data: bytes) -> None:
        self.received += data


class Accepting(Factory):
    noisy = False

    def __init__(self) -> None:
        self.built: list[Inner] = []
        self.started: list[bool] = []

    def startFactory(self) -> None:
        self.started.append(True)

    def stopFactory(self) -> None:
        self.started.append(False)

    def buildProtocol(self, addr: IAddress | None) -> Inner | None:
        self.built.append(Inner(addr))
        return self.built[-1]


class ProxiedConnection:
    """A connection from a proxy, on a StringTransport; `send` goes to whatever protocol the transport has."""

    def __init__(self, peer: IAddress = PROXY, accept: Accepting | None = None) -> None:
        self.clock = Clock()
        self.accepting = accept or Accepting()
        factory = ProxyFactory(self.accepting, [ip_network("10.0.0.0/8")], self.clock)
        self.transport = StringTransport(peerAddress=peer)
        self.transport.protocol = factory.buildProtocol(peer)
        self.transport.protocol.makeConnection(self.transport)

    def send(self, data: bytes, fragment: int = 0) -> None:
        for start in range(0, len(data), fragment or len(data)):
            self.transport.protocol.dataReceived(data[start : start + (fragment or len(data))])

    @property
    def inner(self) -> Inner:
        (inner,) = self.accepting.built
        return inner


@pytest.mark.parametrize("fragment", [0, 1, 7])
@pytest.mark.parametrize(("header", "source"), VALID, ids=range(len(VALID)))
def test_the_real_protocol_gets_the_client_and_all_that_follows(header: bytes, source: IAddress, fragment: int) -> None:
    proxied = ProxiedConnection()
    proxied.send(header + b"USER alice\r\n", fragment)
    assert proxied.inner.address == (source or PROXY)
    assert proxied.inner.received == b"USER alice\r\n"
    assert proxied.transport.protocol is proxied.inner
    assert proxied.transport.value() == b"+OK\r\n"
    assert proxied.clock.getDelayedCalls() == []


def test_nothing_is_built_and_nothing_said_before_the_header_is_whole() -> None:
    proxied = ProxiedConnection()
    proxied.send(VALID[0][0][:-1])
    assert proxied.accepting.built == []
    assert proxied.transport.value() == b""
    proxied.send(b"\n")
    assert proxied.inner.received == b""


@pytest.mark.parametrize("data", INVALID, ids=range(len(INVALID)))
def test_garbage_is_closed_without_a_word(data: bytes, events: list[dict[str, object]]) -> None:
    proxied = ProxiedConnection()
    proxied.send(data + b"\r\n" + VALID[0][0], 1)
    assert proxied.transport.disconnected
    assert proxied.transport.value() == b""
    assert proxied.accepting.built == []
    assert proxied.clock.getDelayedCalls() == []
    assert [event["peer"] for event in events if event.get("event") == "proxy.refused"] == ["10.0.0.1"]


def test_a_peer_outside_the_networks_is_closed_at_once(events: list[dict[str, object]]) -> None:
    proxied = ProxiedConnection(IPv4Address("TCP", "203.0.113.9", 1))
    assert proxied.transport.disconnected
    proxied.send(VALID[0][0])
    assert proxied.accepting.built == []
    assert [event["peer"] for event in events if event.get("event") == "proxy.refused"] == ["203.0.113.9"]


def test_a_flood_of_peers_outside_the_networks_does_not_fill_the_log(events: list[dict[str, object]]) -> None:
    clock = Clock()
    factory = ProxyFactory(Accepting(), [ip_network("10.0.0.0/8")], clock, places=Places(1))

    def come() -> None:
        transport = StringTransport(peerAddress=IPv4Address("TCP", "203.0.113.9", 1))
        protocol = factory.buildProtocol(transport.getPeer())
        protocol.makeConnection(transport)
        protocol.connectionLost()

    for _ in range(500):
        come()
    clock.advance(1)
    come()
    told = [event["others"] for event in events if event.get("event") == "proxy.refused"]
    assert told == [0, 499]


def test_a_unix_socket_is_trusted_and_named_when_it_sends_garbage(events: list[dict[str, object]]) -> None:
    proxied = ProxiedConnection(UNIXAddress(None))
    proxied.send(b"garbage")
    assert [event["peer"] for event in events if event.get("event") == "proxy.refused"] == ["a Unix socket"]


def test_a_header_that_does_not_come_is_not_waited_for_longer_than_ten_seconds() -> None:
    proxied = ProxiedConnection()
    proxied.send(b"PROXY ")
    proxied.clock.advance(9.9)
    assert not proxied.transport.disconnected
    proxied.clock.advance(0.1)
    assert proxied.transport.disconnected
    assert proxied.transport.value() == b""


def test_a_health_check_that_connects_and_goes_is_not_worth_a_line(events: list[dict[str, object]]) -> None:
    proxied = ProxiedConnection()
    proxied.transport.protocol.connectionLost()
    assert proxied.clock.getDelayedCalls() == []
    assert not [event for event in events if event.get("event") == "proxy.refused"]


def test_a_client_that_the_factory_refuses_is_closed() -> None:
    refusing = Accepting()
    refusing.buildProtocol = lambda addr: None
    proxied = ProxiedConnection(accept=refusing)
    proxied.send(VALID[0][0] + b"USER alice\r\n")
    assert proxied.transport.disconnected


def test_a_protocol_that_closes_at_once_is_told_nothing_more() -> None:
    class Closing(Inner):
        def connectionMade(self) -> None:
            self.transport.loseConnection()

    closing = Closing(None)
    accepting = Accepting()
    accepting.buildProtocol = lambda addr: closing
    ProxiedConnection(accept=accepting).send(VALID[0][0] + b"USER alice\r\n")
    assert closing.received == b""


def test_the_wrapped_factory_starts_and_stops_with_it() -> None:
    accepting = Accepting()
    factory = ProxyFactory(accepting, [], Clock())
    factory.doStart()
    factory.doStop()
    assert accepting.started == [True, False]


def test_who_owes_a_header_has_a_place_and_his_time_runs() -> None:
    clock, places = Clock(), Places(1, 1)
    factory = make_factory(clock=clock, places=places, limits=Limits(login_seconds=30))
    proxy = ProxyFactory(factory, [ip_network("127.0.0.0/8")], clock, places=places)
    peer = IPv4Address("TCP", "127.0.0.1", 1)

    def connected() -> tuple[Protocol, StringTransport]:
        transport = StringTransport(peerAddress=peer)
        protocol = proxy.buildProtocol(peer)
        transport.protocol = protocol  # type: ignore[attr-defined]
        protocol.makeConnection(transport)
        return protocol, transport

    first, transport = connected()
    assert places.taken == 1
    assert connected()[1].disconnected
    clock.advance(9)
    first.dataReceived(b"PROXY TCP4 192.0.2.7 198.51.100.1 1 110\r\n")
    assert (places.taken, dict(places.by_address)) == (1, {"192.0.2.7": 1})
    clock.pump([5] * 5)
    assert transport.disconnecting
    transport.protocol.connectionLost(connectionDone)  # type: ignore[attr-defined]
    gone, _ = connected()
    gone.connectionLost(connectionDone)
    assert places.taken == 0


@implementer(IHalfCloseableProtocol)
class HalfClosing(Inner):
    """Answers all it received once the client has said its last word."""

    def readConnectionLost(self) -> None:
        self.transport.write(b"got " + self.received)
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        self.transport.loseConnection()


class Collector(Protocol):
    def __init__(self) -> None:
        self.received = b""
        self.lost: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object) -> None:
        self.lost.callback(None)


class OverRealSocketsTests(TestCase):
    def _store(self) -> CertificateStore:
        folder = Path(self.mktemp())
        folder.mkdir()
        return CertificateStore([write_pair(folder, "a", ["localhost"])])

    async def _connect(self, serve: Callable[[Accepting], Factory], build: type[Inner]) -> tuple[Accepting, Collector]:
        from twisted.internet import reactor

        accepting = Accepting()

        def built(addr: IAddress | None) -> Inner:
            accepting.built.append(build(addr))
            return accepting.built[-1]

        accepting.buildProtocol = built
        factory = ProxyFactory(serve(accepting), [ip_network("127.0.0.0/8")], Clock())
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = await ClientCreator(reactor, Collector).connectTCP("127.0.0.1", port.getHost().port)
        return accepting, client

    async def test_a_half_closed_connection_gets_its_answer(self) -> None:
        accepting, client = await self._connect(lambda plain: plain, HalfClosing)
        client.transport.write(VALID[0][0] + b"QUIT\r\n")
        client.transport.loseWriteConnection()
        await client.lost
        assert client.received == b"+OK\r\ngot QUIT\r\n"
        assert accepting.built[0].address == CLIENT

    async def test_a_connection_half_closed_before_the_header_is_whole_is_closed(self) -> None:
        accepting, client = await self._connect(lambda plain: plain, HalfClosing)
        client.transport.write(b"PROXY TCP4")
        client.transport.loseWriteConnection()
        await client.lost
        assert (client.received, accepting.built) == (b"", [])

    async def test_tls_begins_behind_the_header(self) -> None:
        store = self._store()
        accepting, client = await self._connect(lambda plain: TLSMemoryBIOFactory(store, False, plain), Echo)
        client.transport.write(VALID[0][0])
        client.transport.startTLS(CertificateOptions())
        client.transport.write(b"bye")
        await client.lost
        assert client.received == b"+OK\r\nbye"
        assert accepting.built[0].address == CLIENT


class Echo(Inner):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.loseConnection()
