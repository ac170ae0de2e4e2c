from __future__ import annotations

import errno
import re
import socket
from typing import Any

import pytest
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.ssl import CertificateOptions

from mailserver.names import Names
from mailserver.net.connection import UNREAD_LIMIT, Connection
from mailserver.net.ports import STRANGER_OCTETS
from mailserver.net.sending import TURN_OCTETS
from mailserver.net.transfer import CHUNK, SENDFILE_LEAST
from tests.net.sessions import GREETING, HELLO, LOGIN, Client, Maildrop, SocketCase, Talk, make_factory

REPLY = re.compile(rb"^(?:\+OK|-ERR)", re.MULTILINE)
SMALL = b"x" * 10_000 + b"\r\n"


def test_pipelined_commands_are_answered_in_one_write() -> None:
    talk = Talk(make_factory(Maildrop([b"a\r\n", b".b\n"])))
    talk.say(b"STAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nTOP 2 0\r\nRETR 2\r\nNOOP\r\n")
    assert len(talk.wire.writes) == 1


def test_a_session_as_users_have_it_is_one_turn() -> None:
    talk = Talk(make_factory(Maildrop([b"a\r\n"] * 20)))
    numbers = range(1, 21)
    commands = [b"STAT", b"UIDL", b"LIST", *(b"RETR %d" % n for n in numbers), *(b"DELE %d" % n for n in numbers)]
    talk.say(b"".join(command + b"\r\n" for command in commands))
    assert len(talk.wire.writes) == 1
    assert talk.heard().endswith(b"+OK message 20 deleted\r\n")


@pytest.mark.parametrize(
    ("command", "most"),
    [
        (b"TOP 1 0", 40),
        (b"RETR 1", 40),
        (b"*ENV 1", 40),
        (b"UIDL 1", 410),
        (b"LIST 1", 410),
        (b"RETR 2", 410),
        (b"DELE 1\r\nRSET", 410),
        (b"XYZZY\r\nNOOP", 410),
        (b"LIST", 410),
        (b"CAPA", 410),
    ],
)
def test_whatever_is_pipelined_gives_way_after_a_bounded_amount_of_work(command: bytes, most: int) -> None:
    maildrop = Maildrop([b"a\r\n"])
    opened: list[Any] = []
    maildrop.answer = lambda body: opened.append(body) or body
    talk = Talk(make_factory(maildrop, names=Names(accounts={"alice": "h"})))
    talk.say((command + b"\r\n") * 2000)
    answered = turns = 0
    while (heard := talk.heard()) or not turns:
        replies = len(REPLY.findall(heard))
        assert replies <= most
        assert len(opened) <= most
        opened.clear()
        answered += replies
        turns += talk.turn()
    assert answered == 2000 * (1 + command.count(b"\r\n"))
    assert turns >= answered // most


@pytest.mark.parametrize("lines", [None, 10**9])
def test_a_large_message_gives_way_though_its_client_reads_as_fast_as_it_is_written(lines: int | None) -> None:
    talk = Talk(make_factory(Maildrop([b"x\n" * 1_000_000])))
    talk.say(b"RETR 1\r\n" if lines is None else b"TOP 1 %d\r\n" % lines)
    turns = 0
    while not talk.wire.value().endswith(b"\r\n.\r\n"):
        assert talk.wire.writes
        assert sum(map(len, talk.wire.writes)) < 2 * TURN_OCTETS
        assert max(map(len, talk.wire.writes)) < 2 * CHUNK
        talk.wire.writes.clear()
        turns += talk.turn()
    assert turns > 5


def test_a_batch_is_flushed_before_it_grows_large() -> None:
    talk = Talk(make_factory(Maildrop([SMALL * 2])))
    talk.say(b"RETR 1\r\n" * 30)
    while talk.turn():
        pass
    sizes = [len(write) for write in talk.wire.writes]
    assert sum(sizes) > 2 * TURN_OCTETS
    assert len(sizes) == 3
    assert all(TURN_OCTETS <= size < TURN_OCTETS + 3 * len(SMALL) for size in sizes[:-1])


def test_a_client_that_does_not_read_stops_the_commands_then_the_reading() -> None:
    talk = Talk(make_factory())
    talk.wire.hold()
    talk.say(b"NOOP\r\n")
    talk.say(b"x" * (UNREAD_LIMIT - 6))
    assert talk.wire.producerState == "producing"
    talk.say(b"\r\n")
    assert talk.wire.producerState == "paused"
    assert talk.heard() == b""
    talk.wire.go()
    assert talk.wire.producerState == "producing"
    assert talk.heard().startswith(b"+OK\r\n-ERR")


def test_reading_goes_on_once_all_is_read_in_one_turn() -> None:
    talk = Talk(make_factory())
    talk.wire.hold()
    talk.say((b"NOOP".ljust(253) + b"\r\n") * 260)
    assert talk.wire.producerState == "paused"
    talk.wire.go()
    assert talk.heard() == b"+OK\r\n" * 260
    assert not talk.turn()
    assert talk.wire.producerState == "producing"


def test_input_waits_while_an_effect_is_open_and_reading_stops_above_the_limit() -> None:
    opening: Deferred[Any] = Deferred()
    maildrop = Maildrop([b"a\r\n"])
    body = maildrop.fetch(1)
    maildrop.answer = lambda _: opening
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\n" + b"NOOP\r\n" * 11_000)
    assert talk.heard() == b""
    assert talk.wire.producerState == "paused"
    opening.callback(body)
    assert talk.turns() == b"+OK 3 octets\r\na\r\n.\r\n" + b"+OK\r\n" * 11_000
    assert talk.wire.producerState == "producing"


def test_ten_thousand_answers_at_once_do_not_recurse() -> None:
    talk = Talk(make_factory(Maildrop([b"a\r\n"])))
    talk.say(b"RETR 1\r\n" * 8_000)
    assert talk.turns() == b"+OK 3 octets\r\na\r\n.\r\n" * 8_000


def test_a_lost_connection_gives_back_its_maildrop_even_if_a_body_will_not_close() -> None:
    class Stuck:
        def read(self, limit: int) -> Any:
            return Deferred()

        def close(self) -> None:
            raise RuntimeError("stuck")

    maildrop = Maildrop([b"a\r\n"])
    maildrop.answer = lambda _: Stuck()
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\n")
    with pytest.raises(RuntimeError, match="stuck"):
        talk.lose()
    assert maildrop.told == ["release"]


def test_what_a_subclass_must_give() -> None:
    connection: Any = Connection(make_factory().clock, "")
    for missing in (
        lambda: connection.begin(tls=False),
        connection.allowed_seconds,
        connection.facts,
        connection.leave,
    ):
        with pytest.raises(NotImplementedError):
            missing()
    connection.stopProducing()
    connection.writeConnectionLost()


class Recorded:
    """A socket that counts what is sent through it, and can refuse it."""

    def __init__(self, real: socket.socket, taken: list[Any]) -> None:
        self.real = real
        self.taken = taken
        self.sent: list[int] = []

    def send(self, data: bytes) -> int:
        take = self.taken.pop(0) if self.taken else len(data)
        if isinstance(take, OSError):
            raise take
        self.sent.append(self.real.send(data[:take]))
        return self.sent[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class DirectTests(SocketCase):
    """Writes to the socket itself."""

    async def begun(self, *taken: Any) -> tuple[Client, Any, Recorded]:
        client = await self.connect(self.listen(make_factory(Maildrop([SMALL]))))
        await client.until(GREETING.__eq__)
        server = self.servers[0]
        server.transport.socket = recorded = Recorded(server.transport.socket, list(taken))
        return client, server, recorded

    async def test_a_session_is_a_send_for_each_batch_and_a_close(self) -> None:
        client, server, recorded = await self.begun()
        client.transport.write(LOGIN + b"QUIT\r\n")
        await client.ended
        assert len(recorded.sent) == 1
        assert server.lost
        assert client.received.endswith(b"+OK signing off\r\n")

    def bounds(self) -> tuple[int, int]:
        transport = self.servers[0].transport
        unsent = transport.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
        return unsent, transport.bufferSize

    async def test_what_may_wait_unsent_is_bounded_until_a_users_replies_need_more(self) -> None:
        client, server, recorded = await self.begun()
        assert self.bounds() == (STRANGER_OCTETS, STRANGER_OCTETS)
        client.transport.write(LOGIN)
        await client.until(lambda data: data.endswith(b"octets)\r\n"))
        assert self.bounds() == (STRANGER_OCTETS, STRANGER_OCTETS), "a system call less in a short session"
        recorded.taken.append(3)
        client.transport.write(b"CAPA\r\nNOOP\r\n")
        await client.until(lambda data: data.endswith(b".\r\n+OK\r\n"))
        assert self.bounds() == (0, FileDescriptor.bufferSize)
        assert server._direct, "the rest went to the socket, too"

    async def test_what_may_wait_unsent_is_bounded_though_a_strangers_replies_need_more(self) -> None:
        client, server, _ = await self.begun(3)
        client.transport.write(b"CAPA\r\n")
        await client.until(lambda data: data.endswith(b".\r\n"))
        assert not server._direct
        assert self.bounds() == (STRANGER_OCTETS, STRANGER_OCTETS)
        client.transport.write(LOGIN)
        await client.until(lambda data: data.endswith(b"octets)\r\n"))
        assert self.bounds() == (0, FileDescriptor.bufferSize)

    async def test_a_file_is_sent_without_the_bound(self) -> None:
        big = b"x" * (2 * SENDFILE_LEAST - 2) + b"\r\n"
        client = await self.connect(self.listen(make_factory(Maildrop([big], self.folder()))))
        client.transport.write(LOGIN + b"RETR 1\r\n")
        await client.until(lambda data: data.endswith(b"\r\n.\r\n"))
        raw = self.servers[0].transport.getHandle()
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 0

    async def test_under_tls_the_bound_ends_with_the_login(self) -> None:
        factory = make_factory(Maildrop([SMALL]), cleartext="tls", tls=self.certificates())
        client = await self.connect(self.listen(factory))
        client.transport.write(b"STLS\r\n")
        await client.until(lambda data: data.count(b"\r\n") == 2)
        raw = self.servers[0].transport.transport.getHandle()
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == STRANGER_OCTETS
        client.transport.startTLS(CertificateOptions())
        client.transport.write(LOGIN)
        await client.until(lambda data: data.endswith(b"octets)\r\n"))
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == 0

    async def order(self, *taken: Any) -> Recorded:
        client, server, recorded = await self.begun(*taken)
        client.transport.write(LOGIN + b"RETR 1\r\nNOOP\r\n")
        await client.until(lambda data: data.endswith(b".\r\n+OK\r\n"))
        assert not server._direct
        client.transport.write(b"NOOP\r\n" * 3 + b"QUIT\r\n")
        await client.ended
        assert client.received.endswith(b"\r\n.\r\n+OK\r\n" + b"+OK\r\n" * 3 + b"+OK signing off\r\n")
        assert client.received.count(SMALL) == 1
        return recorded

    async def test_a_partial_send_leaves_the_rest_to_the_transport(self) -> None:
        assert (await self.order(5, 7)).sent[:2] == [5, 7]

    async def test_a_full_socket_leaves_all_to_the_transport(self) -> None:
        full = BlockingIOError(errno.EAGAIN, "full")
        await self.order(full, full)

    async def test_commands_that_come_while_the_transport_holds_data_are_answered_after_it(self) -> None:
        client, server, _ = await self.begun(5, 5)
        server.dataReceived(LOGIN)
        server.dataReceived(b"NOOP\r\n")
        assert server.transport._tempDataLen > 0
        await client.until(HELLO.__ne__)
        await client.until(lambda data: data.endswith(b"octets)\r\n+OK\r\n"))

    async def test_a_broken_socket_ends_the_session_as_a_lost_one(self) -> None:
        broken = BrokenPipeError(errno.EPIPE, "gone")
        client, server, _ = await self.begun(*[broken] * 4)
        client.transport.write(LOGIN)
        while not server.lost:
            await self.turn()
        assert not server.factory._connections
        assert not self.named("fault")

    async def test_a_full_socket_and_quit_at_once_lose_nothing(self) -> None:
        client, _, _ = await self.begun(7)
        client.transport.write(LOGIN + b"RETR 1\r\nQUIT\r\n")
        await client.ended
        assert client.received.endswith(SMALL + b".\r\n+OK signing off\r\n")

    async def test_a_commit_answered_from_outside_closes_at_once(self) -> None:
        committing: Deferred[int] = Deferred()
        client, server, _ = await self.begun()
        server.factory.portal.realm.maildrop.commits = lambda: committing
        client.transport.write(LOGIN + b"QUIT\r\n")
        while not server._committing:
            await self.turn()
        committing.callback(0)
        assert server.lost
        assert (await client.ended).endswith(b"+OK signing off\r\n")

    async def test_the_sweep_and_the_drain_close_at_once(self) -> None:
        client, server, _ = await self.begun()
        server.factory.clock.pump([5] * 40)
        assert server.lost
        assert await client.ended == GREETING
        second = await self.connect(client.transport.getPeer().port)
        await second.until(GREETING.__eq__)
        drained = server.factory.drain()
        assert drained.called
        assert (await second.ended).endswith(b"the server is stopping\r\n")

    async def test_an_aborted_connection_writes_nothing_more(self) -> None:
        opening: Deferred[Any] = Deferred()
        client, server, recorded = await self.begun()
        maildrop = server.factory.portal.realm.maildrop
        body = maildrop.fetch(1)
        maildrop.answer = lambda _: opening
        client.transport.write(LOGIN + b"RETR 1\r\nNOOP\r\n")
        await client.until(lambda data: data.endswith(b"octets)\r\n"))
        server.abort()
        sent = len(recorded.sent)
        opening.callback(body)
        assert len(recorded.sent) == sent
        await client.ended


class DirectOverTwistedsPortsTests(DirectTests):
    def setUp(self) -> None:
        super().setUp()
        self.loop = self.reactor
