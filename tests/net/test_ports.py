"""Ports and connections of a hub: accepted with their addresses, closed as Twisted closes them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError, ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.net.hub import Hub
from mailserver.net.ports import STRANGER_OCTETS, Port, Transport
from tests.net.test_hub import Hearing, Listening, Reactor, turn


@pytest.fixture
def hub() -> Iterator[Hub]:
    hub = Hub(Reactor())
    yield hub
    hub.connectionLost(Failure(CONNECTION_LOST))


@pytest.fixture
def listening(hub: Hub) -> Iterator[Listening]:
    listening = Listening(hub)
    yield listening
    listening.close()


def test_the_names_of_twisted_that_are_not_public() -> None:
    for name in ("_buildAddr", "_addressType", "_fromListeningDescriptor"):
        assert hasattr(tcp.Port, name)
        assert hasattr(unix.Port, name)
    assert tcp.Server._shouldShutdown is True
    assert tcp.Server._addressType is IPv4Address
    assert hasattr(tcp._reservedFD, "reserve")
    assert hasattr(socket.socket, "_accept")


def test_what_twisteds_own_constructor_sets_is_set() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, client = listener.accept()
        reactor, hub = Reactor(), Hub(Reactor())
        reactor.addWriter = reactor.removeWriter = lambda _: None  # type: ignore[attr-defined]
        protocol = Hearing().buildProtocol(None)
        theirs = tcp.Server(accepted, protocol, client, None, 0, reactor)
        ours = Transport(accepted.dup(), protocol, client, None, 0, hub)
        assert vars(theirs).keys() - vars(ours).keys() == {"logstr"}
        for each in (theirs, ours):
            each.connectionLost(Failure(ConnectionDone()))
        assert vars(theirs).keys() - vars(ours).keys() == {"logstr"}


def test_over_ipv4(listening: Listening) -> None:
    peers: list[Any] = []
    build = listening.factory.buildProtocol
    listening.factory.buildProtocol = lambda addr: peers.append(addr) or build(addr)  # type: ignore[method-assign]
    client = listening.connect()
    listening.until(lambda: listening.factory.made)
    transport: Any = listening.factory.made[0].transport
    assert ITCPTransport.providedBy(transport)
    assert transport.getPeer() == IPv4Address("TCP", *client.getsockname()) == peers[0]
    assert transport.getHost() == IPv4Address("TCP", *client.getpeername()) == listening.port.getHost()
    assert transport.logPrefix() == f"{listening.port.logPrefix()},0,127.0.0.1"
    assert repr(transport) == f"<Transport {transport.logPrefix()}>"
    assert not os.get_blocking(transport.fileno())
    assert not os.get_inheritable(transport.fileno())


def test_over_ipv6(hub: Hub) -> None:
    try:
        listening = Listening(hub, "::1")
    except CannotListenError:
        pytest.skip("this machine has no IPv6")
    client = listening.connect()
    listening.until(lambda: listening.factory.made)
    transport: Any = listening.factory.made[0].transport
    assert transport.getPeer() == IPv6Address("TCP", *client.getsockname())
    assert transport.getHost() == IPv6Address("TCP", *client.getpeername())
    assert transport.hostname == "::1"
    listening.close()


def test_an_address_of_one_interface_has_its_name() -> None:
    port = Port(0, Hearing(), interface="::1", reactor=Hub(Reactor()))
    assert port._named(("fe80::1", 1234, 0, socket.if_nametoindex("lo"))) == ("fe80::1%lo", 1234, 0, 1)
    assert port._named(("2001:db8::1", 1234, 0, 0)) == ("2001:db8::1", 1234, 0, 0)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX])
def test_a_port_is_adopted(hub: Hub, family: socket.AddressFamily, tmp_path: Path) -> None:
    factory = Hearing()
    with socket.socket(family) as passed, socket.socket(family) as client:
        passed.bind(("127.0.0.1", 0) if family == socket.AF_INET else str(tmp_path / "s"))
        passed.listen()
        passed.setblocking(False)
        hub.adoptStreamPort(passed.fileno(), family, factory)
        client.connect(passed.getsockname())
        while not factory.made:
            turn(hub)
    assert factory.made[0].transport is not None


def test_connections_are_born_with_the_bound_of_their_port(hub: Hub, listening: Listening) -> None:
    listening.connect()
    listening.until(lambda: listening.factory.made)
    born: Any = listening.factory.made[0].transport
    assert born.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == STRANGER_OCTETS
    assert listening.port.restrains
    assert hub.adoptStreamPort(listening.port.fileno(), socket.AF_INET, Hearing()).restrains, "as a worker does"
    with socket.create_server(("127.0.0.1", 0)) as systemds:
        systemds.setblocking(False)
        assert not hub.adoptStreamPort(systemds.fileno(), socket.AF_INET, Hearing()).restrains


def test_what_is_written_before_a_close_arrives_and_a_reset_only_after_an_abort(listening: Listening) -> None:
    kept, cut = listening.connect(), listening.connect()
    listening.until(lambda: len(listening.factory.made) == 2)
    one, two = (each.transport for each in listening.factory.made)
    assert one is not None
    assert two is not None
    if one.client != kept.getsockname():
        one, two = two, one
    one.write(b"x" * 100_000)
    one.loseConnection()
    two.abortConnection()
    listening.hub._reactor.advance(0)
    received = b""
    kept.setblocking(False)
    while True:
        try:
            data = kept.recv(1 << 20)
        except BlockingIOError:
            turn(listening.hub)
            continue
        if not data:
            break
        received += data
    assert len(received) == 100_000
    with pytest.raises(ConnectionResetError):
        cut.recv(1)
    assert {type(each.reason) for each in listening.factory.made} == {ConnectionDone, ConnectionAborted}


def test_the_end_is_told_once(listening: Listening) -> None:
    listening.connect()
    listening.until(lambda: listening.factory.made)
    (protocol,) = listening.factory.made
    told: list[Any] = []
    protocol.connectionLost = told.append  # type: ignore[method-assign,assignment]
    transport: Any = protocol.transport
    transport.connectionLost(Failure(ConnectionDone()))
    transport.connectionLost(Failure(ConnectionDone()))
    assert len(told) == 1
    assert transport.fileno() == -1
    assert (transport.connected, transport.disconnected) == (0, 1)
    transport.write(b"x")
    transport.loseConnection()
    transport.abortConnection()
    assert len(told) == 1


def test_a_producer_is_stopped_at_the_end(listening: Listening) -> None:
    listening.connect()
    listening.until(lambda: listening.factory.made)
    (protocol,) = listening.factory.made
    transport: Any = protocol.transport
    stopped: list[object] = []

    @implementer(IPushProducer)
    class Producer:
        def stopProducing(self) -> None:
            stopped.append(protocol.reason)

    transport.registerProducer(Producer(), True)
    transport.connectionLost(Failure(ConnectionDone()))
    assert stopped == [None]
    assert isinstance(protocol.reason, ConnectionDone)


@pytest.mark.parametrize("where", ["buildProtocol", "makeConnection"])
def test_a_fault_in_a_new_connection_ends_it_and_the_next_is_served(
    listening: Listening, where: str, events: list[dict[str, Any]]
) -> None:
    build = listening.factory.buildProtocol
    count = 0

    def built(addr: Any) -> Any:
        nonlocal count
        count += 1
        if count == 1 and where == "buildProtocol":
            raise ZeroDivisionError
        protocol: Any = build(addr)
        if count == 1:
            protocol.connectionMade = lambda: 1 / 0
        return protocol

    listening.factory.buildProtocol = built  # type: ignore[method-assign]
    first, _second = listening.connect(), listening.connect()
    listening.until(lambda: listening.factory.made)
    listening.hub._reactor.advance(0)
    assert ended(first)
    assert [event["event"] for event in events if "event" in event] == ["fault"]
    assert len(listening.factory.made) == 1


def ended(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_client_for_whom_no_protocol_is_built_is_closed(listening: Listening) -> None:
    listening.factory.buildProtocol = lambda _addr: None  # type: ignore[method-assign,return-value,assignment]
    client = listening.connect()
    turn(listening.hub)
    assert client.recv(1) == b""
