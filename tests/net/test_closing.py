"""How a connection ends: at once, without losing the last reply, and without hanging on."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock

from mailserver.errors import MessageTruncated
from mailserver.net.outlet import CLOSING_OCTETS, CLOSING_SECONDS
from mailserver.net.tls_transport import TLSFactory
from mailserver.net.transfer import unsent_octets
from tests.net.sessions import GREETING, LOGIN, Client, Maildrop, SocketCase, Talk, make_factory


def test_after_quit_nothing_is_read_and_noise_keeps_nothing_open() -> None:
    talk = Talk(make_factory())
    talk.say(b"QUIT\r\n")
    for _ in range(int(CLOSING_SECONDS // 5) + 1):
        talk.say(b"NOOP\r\n" * 100)
        talk.clock.advance(5)
    assert talk.wire.value() == b"+OK signing off\r\n"
    assert talk.server.session.unread == 0
    assert talk.wire.disconnected


def test_who_talks_on_and_on_after_quit_is_dropped() -> None:
    talk = Talk(make_factory())
    talk.say(b"QUIT\r\n")
    talk.say(bytes(CLOSING_OCTETS))
    assert not talk.wire.disconnected
    talk.say(b"x")
    assert talk.wire.disconnected


def test_a_body_that_fails_and_then_ends_sends_no_final_dot() -> None:
    class Torn:
        closed = False

        def __init__(self) -> None:
            self.answers: list[Any] = [Deferred(), b""]

        def read(self, limit: int) -> Any:
            return self.answers.pop(0)

        def fileno(self) -> None:
            pass

        def close(self) -> None:
            self.closed = True

    maildrop, body = Maildrop([b"a\r\n"]), Torn()
    maildrop.answer = lambda _: body
    talk = Talk(make_factory(maildrop))
    reading = body.answers[0]
    talk.say(b"RETR 1\r\nNOOP\r\n")
    assert talk.heard() == b"+OK 3 octets\r\n"
    reading.errback(MessageTruncated("short"))
    assert talk.heard() == b""
    assert talk.wire.disconnected
    talk.lose()
    assert body.closed


class OverSocketsTests(SocketCase):
    async def begun(self, **options: Any) -> Client:
        client = await self.connect(self.listen(make_factory(**options)))
        await client.until(GREETING.__eq__)
        return client

    async def test_the_answer_to_quit_is_read_though_more_was_sent_after_it(self) -> None:
        client = await self.begun()
        client.transport.write(LOGIN + b"QUIT\r\n" + b"NOOP\r\n" * 100_000)
        received = await client.ended
        assert received.endswith(b"+OK signing off\r\n")
        assert client.eof
        assert client.reason.check(ConnectionDone)

    async def test_a_line_too_long_hears_why_while_it_goes_on(self) -> None:
        client = await self.begun()
        client.transport.write(bytes(1024 * 1024))
        assert await client.ended == GREETING + b"-ERR line too long\r\n"
        assert client.eof

    async def test_quit_behind_more_input_than_is_read_at_once_is_answered(self) -> None:
        waiting: Deferred[int] = Deferred()
        maildrop = Maildrop(())
        maildrop.commits = lambda: waiting
        client = await self.begun(maildrop=maildrop)
        client.transport.write(LOGIN + b"QUIT\r\n" + bytes(400_000))
        await client.until(lambda data: b"maildrop has" in data)
        while not self.servers[0]._stopped:
            await self.turn()
        waiting.callback(0)
        assert (await client.ended).endswith(b"+OK signing off\r\n")
        assert client.eof

    async def test_a_client_that_neither_closes_nor_sends_is_dropped(self) -> None:
        clock = Clock()
        client = await self.begun(clock=clock)
        client.readConnectionLost = lambda: None
        client.transport.write(b"QUIT\r\nNOOP\r\n")
        await client.until(lambda data: b"signing off" in data)
        transport = self.servers[0].transport
        while not transport._writeDisconnected or unsent_octets(transport):  # a late acknowledgement counts as activity
            await self.turn()
        for _ in range(int(CLOSING_SECONDS // 5) + 2):
            clock.advance(5)
        while not self.servers[0].lost:
            await self.turn()

    async def test_over_tls_too(self) -> None:
        store = self.certificates()
        factory = make_factory()
        client = await self.connect(self.listen(TLSFactory(store, factory), factory))
        client.transport.startTLS(CertificateOptions())
        client.transport.write(LOGIN + b"QUIT\r\n" + b"NOOP\r\n" * 100_000)
        assert (await client.ended).endswith(b"+OK signing off\r\n")
        assert self.servers[0].session.unread < 64 * 1024


class OverTwistedsPortsTests(OverSocketsTests):
    def setUp(self) -> None:
        super().setUp()
        self.loop = self.reactor
