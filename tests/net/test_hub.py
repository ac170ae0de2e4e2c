"""The hub serves its sockets in turns, each fault ends one connection, and stale events reach nobody."""

from __future__ import annotations

import os
import resource
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailserver.net.hub import BATCH, Hub, loop_of
from mailserver.net.ports import ACCEPTS

TIMEOUT = 60_000  # ms until a test has failed


class Reactor(Clock):
    """What a hub asks of its reactor, with the turns in the test's hands."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        assert reader.fileno() >= 0
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        if reader in self.readers:
            assert reader.fileno() >= 0
            self.readers.remove(reader)


class Member:
    """One end of a pair of sockets in a hub; the other is `peer`."""

    def __init__(self, hub: Hub) -> None:
        self.socket, self.peer = socket.socketpair()
        self.socket.setblocking(False)
        self.hub = hub
        self.read: Callable[[], Any] = lambda: None
        self.write: Callable[[], Any] = lambda: None
        self.calls: list[str] = []

    def fileno(self) -> int:
        return self.socket.fileno()

    def doRead(self) -> Any:
        self.calls.append("read")
        return self.read()

    def doWrite(self) -> Any:
        self.calls.append("write")
        return self.write()

    def readConnectionLost(self, reason: Failure) -> None:
        self.calls.append("end of input")

    def connectionLost(self, reason: Failure) -> None:
        self.calls.append(type(reason.value).__name__)
        self.close()

    def close(self) -> None:
        self.hub.forget(self.fileno())
        self.socket.close()
        self.peer.close()


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


@pytest.fixture
def hub(reactor: Reactor) -> Iterator[Hub]:
    hub = Hub(reactor)
    yield hub
    hub.connectionLost(Failure(CONNECTION_LOST))
    assert reactor.readers == []
    assert hub.fileno() == -1


def turn(hub: Hub) -> None:
    """Wait until the hub has something to do, and let it do one turn's work."""
    waiting = select.poll()
    waiting.register(hub.fileno(), select.POLLIN)
    assert waiting.poll(TIMEOUT)
    hub.doRead()


def is_ready(hub: Hub) -> bool:
    waiting = select.poll()
    waiting.register(hub.fileno(), select.POLLIN)
    return bool(waiting.poll(0))


# Which loop.


def test_the_epoll_reactor_gets_a_hub_and_any_other_serves_itself() -> None:
    from twisted.internet import reactor

    assert isinstance(reactor, EPollReactor), "Twisted's choice on Linux"
    assert isinstance(loop_of(reactor), Hub)
    for other in (Clock(), SelectReactor.__new__(SelectReactor)):
        assert loop_of(other) is other


def test_it_is_in_the_reactor_and_has_a_descriptor_while_it_has_a_member(reactor: Reactor, hub: Hub) -> None:
    assert (reactor.readers, hub.fileno()) == ([], -1)
    member = Member(hub)
    hub.addReader(member)
    hub.addWriter(member)
    assert reactor.readers == [hub]
    hub.removeReader(member)
    assert reactor.readers == [hub]
    hub.removeWriter(member)
    assert (reactor.readers, hub.fileno()) == ([], -1)
    hub.addReader(member)
    assert reactor.readers == [hub]
    member.close()
    assert (reactor.readers, hub.fileno()) == ([], -1)


def test_its_time_is_the_reactors_even_when_that_is_replaced(reactor: Reactor, hub: Hub) -> None:
    called: list[object] = []
    hub.callLater(5, called.append, 1)
    reactor.advance(5)
    assert (called, hub.seconds()) == ([1], 5)
    reactor.seconds = lambda: 7.0  # type: ignore[method-assign]  # as mailserver.clock does
    assert hub.seconds() == 7


# Turns.


def test_a_turn_serves_each_socket_once_and_no_more_than_a_batch(hub: Hub) -> None:
    members = [Member(hub) for _ in range(BATCH + 10)]
    for member in members:
        hub.addReader(member)
        member.peer.send(b"never read, so always ready")
    turn(hub)
    assert sorted(len(member.calls) for member in members) == [0] * 10 + [1] * BATCH
    turn(hub)
    assert {len(member.calls) for member in members} == {1, 2}, "who was left over is first"


def test_it_is_called_for_what_it_asked_for(hub: Hub) -> None:
    member = Member(hub)
    hub.addWriter(member)
    member.peer.send(b"x")
    turn(hub)
    assert member.calls == ["write"]
    hub.addReader(member)
    turn(hub)
    assert member.calls == ["write", "read", "write"]
    hub.removeWriter(member)
    turn(hub)
    assert member.calls == ["write", "read", "write", "read"]


def test_after_a_read_that_ends_it_nothing_is_written(hub: Hub) -> None:
    first, second = Member(hub), Member(hub)
    first.read = lambda: CONNECTION_LOST
    second.read = second.close
    for member in (first, second):
        hub.addReader(member)
        hub.addWriter(member)
        member.peer.send(b"x")
    turn(hub)
    assert first.calls == ["read", "ConnectionLost"]
    assert second.calls == ["read"]


def test_a_read_that_says_done_ends_the_input_and_a_write_that_does_the_connection(hub: Hub) -> None:
    for asked, heard in ((hub.addReader, ["read", "end of input"]), (hub.addWriter, ["write", "ConnectionDone"])):
        member = Member(hub)
        member.read = member.write = ConnectionDone
        asked(member)
        member.peer.send(b"x")
        turn(hub)
        assert member.calls == heard
        if member.socket.fileno() >= 0:
            member.close()


def test_a_hang_up_without_input_is_the_end_of_input_to_who_reads_and_an_error_to_others(hub: Hub) -> None:
    for read in (True, False):
        member = Member(hub)
        own, other = os.pipe() if read else reversed(os.pipe())
        member.fileno = own.__int__  # type: ignore[method-assign]  # a pipe's hang-up comes alone, a socket's with IN
        (hub.addReader if read else hub.addWriter)(member)
        os.close(other)
        turn(hub)
        assert member.calls == (["end of input"] if read else ["ConnectionLost"])
        member.close()
        os.close(own)


# Within one batch.


def test_a_member_that_ends_another_in_the_same_batch(hub: Hub) -> None:
    members = [Member(hub), Member(hub)]
    for member, other in zip(members, reversed(members), strict=True):
        member.read = other.close
        hub.addReader(member)
        member.peer.send(b"x")
    turn(hub)
    assert sorted(member.calls for member in members) == [[], ["read"]]
    for member in members:
        if member.socket.fileno() >= 0:
            member.close()


def test_an_event_of_a_closed_socket_does_not_reach_the_new_owner_of_its_number(hub: Hub) -> None:
    members, young = [Member(hub), Member(hub)], Member(hub)

    def replace(old: Member) -> None:
        number = old.fileno()
        old.close()
        assert os.dup2(young.socket.detach(), number) == number
        young.socket = socket.socket(fileno=number)
        hub.addReader(young)

    for member, other in zip(members, reversed(members), strict=True):
        member.read = lambda other=other: replace(other)  # type: ignore[misc]
        hub.addReader(member)
        member.peer.send(b"x")
    original = young.socket.fileno()
    turn(hub)
    os.close(original)
    assert sorted(member.calls for member in members) == [[], ["read"]]
    assert young.calls == []
    young.peer.send(b"x")
    for member in members:
        if member.socket.fileno() >= 0:
            member.close()
    turn(hub)
    assert young.calls == ["read"]
    young.close()


def test_who_replaces_the_methods_of_a_transport_is_called_from_then_on(hub: Hub) -> None:
    member = Member(hub)
    taken: list[str] = []

    def take_over() -> None:
        member.doRead = lambda: taken.append("read")  # type: ignore[method-assign]
        member.doWrite = lambda: taken.append("write")  # type: ignore[method-assign]

    member.read = take_over  # type: ignore[method-assign]
    hub.addReader(member)
    hub.addWriter(member)
    member.peer.send(b"x")
    turn(hub)
    turn(hub)
    assert member.calls == ["read"]
    assert taken == ["write", "read", "write"]
    member.close()


# Faults.


@pytest.mark.parametrize("fault", [ZeroDivisionError("oops"), SystemExit(3)])
def test_a_fault_ends_one_connection(hub: Hub, fault: BaseException, events: list[dict[str, Any]]) -> None:
    def fail() -> None:
        raise fault

    members = [Member(hub) for _ in range(3)]
    members[1].read = fail
    for member in members:
        hub.addReader(member)
        member.peer.send(b"x")
    turn(hub)
    assert [member.calls for member in members] == [["read"], ["read", type(fault).__name__], ["read"]]
    assert [event["log_failure"].value for event in events if event.get("event") == "fault"] == [fault]
    members[0].close()
    members[2].close()


def test_a_fault_at_a_connections_end_is_logged_and_the_hub_goes_on(hub: Hub, events: list[dict[str, Any]]) -> None:
    class Faulty(Member):
        def connectionLost(self, reason: Failure) -> None:
            super().connectionLost(reason)
            raise ZeroDivisionError

    faulty, other = Faulty(hub), Member(hub)
    faulty.read = other.read = lambda: CONNECTION_LOST
    for member in (faulty, other):
        hub.addReader(member)
        member.peer.send(b"x")
    turn(hub)
    assert (faulty.calls, other.calls) == (["read", "ConnectionLost"], ["read", "ConnectionLost"])
    assert [event["event"] for event in events if "event" in event] == ["fault"]


# Over TCP.


class Heard(Protocol):
    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.reason: Any = None

    def connectionMade(self) -> None:
        self.factory.made.append(self)  # type: ignore[attr-defined]

    def dataReceived(self, data: bytes) -> None:
        self.data.append(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        self.reason = reason.value


class Hearing(Factory):
    noisy = False
    protocol = Heard

    def __init__(self) -> None:
        self.made: list[Heard] = []

    def logPrefix(self) -> str:
        return "hearing"


class Listening:
    """A port of a hub, and its clients."""

    def __init__(self, hub: Hub, interface: str = "127.0.0.1") -> None:
        self.hub = hub
        self.factory = Hearing()
        self.port = hub.listenTCP(0, self.factory, 1024, interface)
        self.clients: list[socket.socket] = []

    def connect(self) -> socket.socket:
        host = self.port.getHost()
        self.clients.append(socket.create_connection((host.host, host.port)))
        return self.clients[-1]

    def until(self, met: Callable[[], object]) -> None:
        while not met():
            turn(self.hub)

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture
def listening(hub: Hub) -> Iterator[Listening]:
    listening = Listening(hub)
    yield listening
    listening.close()


def test_more_connections_are_accepted_at_once_the_more_wait_but_never_more_than_a_bound(listening: Listening) -> None:
    for _ in range(8 * ACCEPTS):
        listening.connect()
    counts = []
    while sum(counts) < 8 * ACCEPTS:
        turn(listening.hub)
        counts.append(len(listening.factory.made) - sum(counts))
    assert counts[0] == 1
    assert counts[:-1] == sorted(counts[:-1])
    assert max(counts) == ACCEPTS


def test_a_flood_waits_for_the_others(listening: Listening) -> None:
    flooder, client = listening.connect(), listening.connect()
    made: Any = listening.factory.made
    listening.until(lambda: len(made) == 2)
    flooding, other = made if made[0].transport.client == flooder.getsockname() else reversed(made)
    assert flood(flooder) > 2 * 65536
    client.send(b"hello")
    listening.until(lambda: other.data)
    assert len(flooding.data) <= 2
    assert all(len(data) <= 65536 for data in flooding.data)


@contextmanager
def epoll_reactor() -> Iterator[Any]:
    """A reactor of Twisted's that is not installed."""
    reactor: Any = EPollReactor()
    yield reactor
    reactor.disconnectAll()
    reactor.removeReader(reactor.waker)
    reactor.waker.connectionLost(None)


def flood(client: socket.socket) -> int:
    """Send until nothing more fits in the kernel; the octets."""
    client.setblocking(False)
    sent = 0
    try:
        while True:
            sent += client.send(b"x" * 65536)
    except BlockingIOError:
        return sent


def test_input_that_never_ends_does_not_keep_the_reactor_from_others() -> None:
    seen: list[int] = []

    class Pipe:
        def __init__(self) -> None:
            self.reading, self.writing = os.pipe()

        def fileno(self) -> int:
            return self.reading

        def logPrefix(self) -> str:
            return "pipe"

        def doRead(self) -> None:
            os.read(self.reading, 10)
            seen.append(sum(map(len, listening.factory.made[0].data)))

        def connectionLost(self, reason: Failure) -> None:
            os.close(self.reading)
            os.close(self.writing)

    with epoll_reactor() as reactor:
        listening = Listening(Hub(reactor))
        client = listening.connect()
        while not listening.factory.made:
            reactor.doIteration(60)
        sent = flood(client)
        pipe = Pipe()
        reactor.addReader(pipe)
        os.write(pipe.writing, b"x")
        while not seen:
            reactor.doIteration(60)
        assert seen[0] <= 2 * 65536 < sent
        listening.close()


def test_when_the_reactor_ends_every_protocol_hears_it() -> None:
    with epoll_reactor() as reactor:
        listening = Listening(Hub(reactor))
        for _ in range(3):
            listening.connect()
        made: Any = listening.factory.made
        while len(made) < 3:
            reactor.doIteration(60)
        made[0].transport.pauseProducing()
        made[0].transport.write(b"x")
        assert set(reactor.getReaders()) == {reactor.waker, listening.hub}
        reactor.disconnectAll()
        assert [type(each.reason) for each in made] == [ConnectionLost] * 3
        assert not listening.port.connected
        assert listening.hub.fileno() == -1
        assert reactor.getReaders() == [reactor.waker]
        assert {client.recv(10) for client in listening.clients} == {b""}
        listening.close()


def test_a_fault_in_a_protocol_ends_its_connection_only(listening: Listening, events: list[dict[str, Any]]) -> None:
    faulty, other = listening.connect(), listening.connect()
    listening.until(lambda: len(listening.factory.made) == 2)
    first, second = listening.factory.made
    first.dataReceived = lambda _data: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    faulty.send(b"x")
    listening.until(lambda: first.reason)
    assert isinstance(first.reason, ZeroDivisionError)
    assert faulty.recv(10) == b""
    other.send(b"x")
    listening.until(lambda: second.data)
    assert second.reason is None
    assert [event["event"] for event in events if "event" in event] == ["fault"]


def test_a_protocol_that_closes_another_connection_in_the_same_batch(listening: Listening) -> None:
    clients = [listening.connect() for _ in range(2)]
    listening.until(lambda: len(listening.factory.made) == 2)
    made = listening.factory.made
    for each, other in zip(made, reversed(made), strict=True):

        def received(data: bytes, each: Heard = each, other: Heard = other) -> None:
            each.data.append(data)
            other.transport.connectionLost(Failure(ConnectionDone()))  # type: ignore[union-attr]

        each.dataReceived = received  # type: ignore[method-assign]
    for client in clients:
        client.send(b"x")
    listening.until(lambda: any(each.data for each in made))
    assert sorted(each.data for each in made) == [[], [b"x"]]
    assert sorted(type(each.reason).__name__ for each in made) == ["ConnectionDone", "NoneType"]
    assert not is_ready(listening.hub)


def test_a_client_that_resets_is_told_as_lost(listening: Listening) -> None:
    client = listening.connect()
    listening.until(lambda: listening.factory.made)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    listening.until(lambda: listening.factory.made[0].reason)
    assert isinstance(listening.factory.made[0].reason, ConnectionLost)


def test_no_descriptor_is_left_when_a_stop_listening_ends_the_last(reactor: Reactor, hub: Hub) -> None:
    listening = Listening(hub)
    stopped: list[object] = []
    listening.port.stopListening().addCallback(stopped.append)
    assert stopped == []
    reactor.advance(0)
    assert stopped == [None]
    assert (reactor.readers, hub.fileno()) == ([], -1)


# With a child.


@contextmanager
def child() -> Iterator[None]:
    """A forked process, as of a checker's pool, which holds all descriptors until the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        os.waitpid(pid, 0)


def test_a_connection_that_a_child_holds_too_is_closed_for_the_client_and_the_hub(listening: Listening) -> None:
    client = listening.connect()
    client.settimeout(TIMEOUT / 1000)
    listening.until(lambda: listening.factory.made)
    with child():
        listening.factory.made[0].transport.connectionLost(Failure(ConnectionDone()))  # type: ignore[union-attr]
        assert client.recv(10) == b""
        client.close()
        assert not is_ready(listening.hub)


def test_an_event_of_a_closed_socket_that_somebody_holds_reaches_nobody(hub: Hub, events: list[dict[str, Any]]) -> None:
    """A program that is just started holds it between its fork and its exec, without any notice to Python."""
    other, member = Member(hub), Member(hub)
    hub.addReader(other)
    hub.addReader(member)
    held = os.dup(member.fileno())
    member.close()
    turn(hub)
    assert (other.calls, member.calls) == ([], [])
    assert [event["event"] for event in events if "event" in event] == []
    os.close(held)
    assert not is_ready(hub)
    other.close()


# Out of descriptors.


def test_without_a_free_descriptor_clients_are_closed_and_the_port_goes_on(listening: Listening) -> None:
    clients = [listening.connect() for _ in range(3)]
    assert listening.port.numberAccepts > 3
    free = os.dup(0)
    os.close(free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        turn(listening.hub)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert [client.recv(10) for client in clients] == [b""] * 3
    assert listening.factory.made == []
    assert not is_ready(listening.hub)
    listening.connect()
    listening.until(lambda: listening.factory.made)
