from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from mailserver.body import BytesBody
from mailserver.net.transfer import CHUNK, SENDFILE_LEAST, SENDFILE_MOST, TOP_CHUNK, Transfer, unsent_octets
from tests.net.sessions import LOGIN, Client, Maildrop, SocketCase, Talk, make_factory

LINE = b"0123456789" * 7 + b"\r\n"
BIG = LINE * 200_000


class Counting(BytesBody):
    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.limits: list[int] = []
        self.closed = False

    def read(self, limit: int) -> bytes:
        self.limits.append(limit)
        return super().read(limit)

    def close(self) -> None:
        self.closed = True


def test_top_reads_no_further_than_it_must() -> None:
    body = Counting(b"a: b\r\n\r\n" + BIG)
    sending = Transfer(body, None, wire=True, lines=1)
    assert sending.read() == b"a: b\r\n\r\n" + LINE + b".\r\n"
    assert sending.done
    assert body.limits == [TOP_CHUNK]


@pytest.mark.parametrize(("wire", "octets"), [(True, 3), (False, 4)])
def test_a_transfer_tells_the_octets_of_the_message(wire: bool, octets: int) -> None:
    sending = Transfer(Counting(b"a\r\n" if wire else b".\r."), None, wire=wire)
    while not sending.done:
        sending.read()
    assert sending.octets == octets + (not wire)


@pytest.mark.parametrize("lines", [None, 10**9])
@pytest.mark.parametrize("wire", [True, False])
def test_a_message_in_memory_leaves_whole(wire: bool, lines: int | None) -> None:
    for message in (b"", b"a: b\r\n\r\n" + LINE * 100):
        body = Counting(message)
        sending = Transfer(body, None, wire=wire, lines=lines)
        assert sending.read() == message + b".\r\n"
        assert sending.done
        assert len(body.limits) == 1


def test_a_transfer_given_up_closes_its_body() -> None:
    body = Counting(b"")
    Transfer(body, None, wire=True).close()
    assert body.closed


def test_a_body_that_answers_later_is_sent_in_order() -> None:
    class Later(Counting):
        def __init__(self, data: bytes) -> None:
            super().__init__(data)
            self.asked: list[Deferred[bytes]] = []

        def read(self, limit: int) -> Any:
            self.asked.append(Deferred())
            return self.asked[-1]

    maildrop, body = Maildrop([b"a\n", b"b\r\n"]), Later(b"")
    maildrop.answer = lambda real: real if body.asked else body
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\nRETR 2\r\n")
    for data in (b"a", b"\n", b""):
        body.asked[-1].callback(data)
    assert talk.heard() == b"+OK 3 octets\r\na\r\n.\r\n+OK 3 octets\r\nb\r\n.\r\n"
    talk.say(b"NOOP\r\n")
    assert talk.heard() == b"+OK\r\n"
    assert body.closed


def test_a_read_answered_after_the_client_has_gone_is_dropped() -> None:
    reading: Deferred[bytes] = Deferred()
    maildrop, body = Maildrop([b"a\n"]), Counting(b"")
    body.read = lambda limit: reading  # type: ignore[method-assign]
    maildrop.answer = lambda _: body
    talk = Talk(make_factory(maildrop))
    talk.say(b"RETR 1\r\n")
    talk.heard()
    talk.lose()
    assert body.closed
    reading.callback(b"a\n")
    assert talk.heard() == b""


def test_where_there_is_no_socket_nothing_is_unsent() -> None:
    assert unsent_octets(object()) == 0


def open_files() -> set[str]:
    names = set()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            names.add(str(entry.readlink()))
    return names


class SendfileTests(SocketCase):
    """Messages from files over loopback."""

    async def begun(self, message: bytes = BIG, commands: bytes = b"RETR 1\r\n") -> Client:
        self.path = self.folder()
        self.maildrop = Maildrop([message], self.path)
        client = await self.connect(self.listen(make_factory(self.maildrop)))
        client.transport.write(LOGIN + commands)
        return client

    async def stalled(self, message: bytes = BIG) -> Client:
        """A client that stopped reading in the middle of a message."""
        client = await self.begun(message)
        await client.until(lambda data: len(data) > 100_000)
        client.transport.pauseProducing()
        for _ in range(20):
            await self.turn()
        return client

    def spied(self) -> list[int]:
        counts: list[int] = []
        real = os.sendfile

        def sendfile(*arguments: Any) -> int:
            counts.append(0)
            counts[-1] = real(*arguments)
            return counts[-1]

        self.patch(os, "sendfile", sendfile)
        return counts

    async def test_what_is_sent_by_sendfile(self) -> None:
        for message, top, used in (
            (b"x" * (SENDFILE_LEAST - 2) + b"\r\n", False, True),
            (b"x" * (SENDFILE_LEAST - 3) + b"\r\n", False, False),
            (b".\r\n" + b"x" * (CHUNK - 2) + b"\r\n", False, False),
            (b"x" * (CHUNK - 2) + b"\r\n", True, False),
        ):
            counts = self.spied()
            client = await self.begun(message, b"TOP 1 9\r\nQUIT\r\n" if top else b"RETR 1\r\nQUIT\r\n")
            await client.ended
            assert bool(counts) is used

    async def test_one_call_may_move_all_that_the_socket_takes(self) -> None:
        asked: list[tuple[int, int]] = []
        real = os.sendfile

        def sendfile(out: int, file: int, offset: int, count: int) -> int:
            asked.append((offset, count))
            return real(out, file, offset, count)

        self.patch(os, "sendfile", sendfile)
        client = await self.begun(commands=b"RETR 1\r\nQUIT\r\n")
        await client.ended
        assert client.received.endswith(BIG + b".\r\n+OK signing off\r\n")
        assert all(count == min(SENDFILE_MOST, len(BIG) - offset) for offset, count in asked)

    async def test_the_client_goes_in_the_middle_and_the_file_is_closed(self) -> None:
        client = await self.stalled()
        server = self.servers[0]
        assert server._sender is not None
        assert str(self.path / "1") in open_files()
        client.transport.abortConnection()
        await client.ended
        while not server.lost:
            await self.turn()
        assert str(self.path / "1") not in open_files()
        (event,) = self.named("pop3.session")
        assert event["octets_out"] >= len(client.received)
        assert event["octets_out"] > 100_000
        assert event["retrieved"] == 0
        assert self.maildrop.told == ["release"]

    async def test_a_file_cut_short_ends_without_the_final_dot_and_is_told(self) -> None:
        client = await self.stalled()
        os.truncate(self.path / "1", 1_000_000)
        client.transport.resumeProducing()
        await client.ended
        assert not client.received.endswith(b".\r\n")
        (event,) = self.named("truncated")
        assert event["user"] == "alice"
        assert "/" not in event["reason"]
        assert not self.named("fault")

    async def test_a_file_cut_short_in_chunks_ends_without_the_final_dot_and_is_told(self) -> None:
        client = await self.stalled(b".\r\n" + BIG)
        os.truncate(self.path / "1", 1_000_000)
        client.transport.resumeProducing()
        await client.ended
        assert not client.received.endswith(b".\r\n")
        assert len(self.named("truncated")) == 1

    async def test_a_disk_that_fails_ends_the_connection_alone(self) -> None:
        def broken(*_: object) -> int:
            raise OSError(errno.EIO, "broken")

        self.patch(os, "sendfile", broken)
        client = await self.begun()
        await client.ended
        assert b"broken" not in client.received
        assert len(self.named("truncated")) == 1
        assert not client.received.endswith(b".\r\n")

    async def test_a_socket_that_breaks_in_the_middle_is_no_news(self) -> None:
        for broken in (BrokenPipeError(errno.EPIPE, "gone"), TimeoutError(errno.ETIMEDOUT, "gone")):
            taken: list[Any] = [BlockingIOError(errno.EAGAIN, "full"), broken]

            def refused(*_: object, taken: list[Any] = taken) -> int:
                raise taken.pop(0)

            self.patch(os, "sendfile", refused)
            client = await self.begun()
            await client.ended
            assert not taken
        assert not self.named("truncated")
        assert not self.named("fault")

    async def test_the_session_goes_on_with_back_pressure_after_sendfile(self) -> None:
        client = await self.begun(commands=b"RETR 1\r\nNOOP\r\n")
        await client.until(lambda data: data.endswith(b".\r\n+OK\r\n"))
        server = self.servers[0]
        assert server.transport.producer is server
        assert server.transport.streamingProducer
        assert server._direct
        client.received = b""
        client.transport.write(b"RETR 1\r\nQUIT\r\n")
        await client.ended
        assert client.received == b"+OK %d octets\r\n" % len(BIG) + BIG + b".\r\n+OK signing off\r\n"

    async def test_a_busy_sender_is_drained_whole(self) -> None:
        client = await self.stalled()
        drained = self.servers[0].factory.drain()
        client.transport.resumeProducing()
        await client.ended
        await drained
        assert client.received.endswith(BIG + b".\r\n-ERR [SYS/TEMP] the server is stopping\r\n")

    async def test_abort_in_the_middle(self) -> None:
        client = await self.stalled()
        self.servers[0].factory.abort()
        client.transport.resumeProducing()
        await client.ended
        assert not client.received.endswith(b".\r\n")
