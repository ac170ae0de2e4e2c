"""One transcript over every kind of transport, octet for octet, and the messages that try the roads a body can take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.interfaces import IOpenSSLContextFactory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.test.iosim import FakeTransport, connect
from zope.interface import implementer

from mailserver.net.haproxy import ProxyFactory
from mailserver.net.tls_transport import TLSFactory
from mailserver.net.transfer import CHUNK, SENDFILE_LEAST
from mailserver.protocol.wire import Stuffer, TopCut
from tests.net.sessions import GREETING, LOGIN, Client, Maildrop, SocketCase, Talk, make_factory

LINE = b"0123456789" * 7
WIRE = b"Subject: x\r\n\r\n" + (LINE + b"\r\n") * 12_000
SIZES = [SENDFILE_LEAST - 1, SENDFILE_LEAST, CHUNK, CHUNK + 1]
MESSAGES = [
    b"",
    b".",
    b"..\r\n.\r\n",
    b"Subject: x\n\n.dot\nbare \r cr",
    WIRE,
    WIRE.replace(b"\r\n", b"\n"),
    WIRE.replace(b"\r\n012", b"\r\n.12"),
    b"\0\xff" * 200_000,
    *(b"x" * (size - 2) + b"\r\n" for size in SIZES),
]


def response(message: bytes, lines: int | None = None) -> bytes:
    """What RETR or TOP answers, made in one go."""
    stuffer = Stuffer()
    body = stuffer.feed(message) + stuffer.end()
    status = b"+OK %d octets\r\n" % stuffer.octets if lines is None else b"+OK top of message follows\r\n"
    if lines is not None:
        cut = TopCut(lines)
        body = cut.feed(body[:-3]) + b".\r\n"
    return status + body


NUMBERS = range(1, len(MESSAGES) + 1)
SAID = (
    LOGIN
    + b"NOOP\r\nWHAT\r\n"
    + b"".join(b"RETR %d\r\nNOOP\r\nTOP %d 3\r\n" % (number, number) for number in NUMBERS)
    + b"DELE 1\r\nRETR 1\r\nQUIT\r\n"
)
HEARD = (
    GREETING
    + b"+OK send PASS\r\n+OK maildrop has %d messages (%d octets)\r\n"
    % (len(MESSAGES), Maildrop(MESSAGES).messages.total)
    + b"+OK\r\n-ERR unknown command\r\n"
    + b"".join(response(message) + b"+OK\r\n" + response(message, 3) for message in MESSAGES)
    + b"+OK message 1 deleted\r\n-ERR no such message\r\n+OK signing off\r\n"
)


@pytest.mark.parametrize("fragment", [1, 7, len(SAID)])
@pytest.mark.parametrize("limit", [None, 0])
def test_in_any_fragments_with_or_without_pauses(fragment: int, limit: int | None) -> None:
    talk = Talk(make_factory(Maildrop(MESSAGES)), logged_in=False)
    talk.wire.limit = limit
    for start in range(0, len(SAID), fragment):
        talk.say(SAID[start : start + fragment])
    while not talk.closed:
        talk.wire.go()
        talk.turn()
    assert talk.wire.value() == HEARD


class Pausing(FakeTransport):
    """Pauses its producer at every write, until what was written is taken."""

    connected = False

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()

    def getOutBuffer(self) -> Any:
        taken = super().getOutBuffer()
        if taken is not None and self.producer is not None:
            self.producer.resumeProducing()
        return taken


def test_between_simulated_transports_that_pause_at_every_chunk() -> None:
    clock = Clock()
    server: Any = make_factory(Maildrop(MESSAGES), clock=clock).buildProtocol(None)
    client = Client()
    pump = connect(server, Pausing(server, True), client, FakeTransport(client, False), clock=clock)
    client.transport.write(SAID)
    pump.flush()
    assert client.received == HEARD


class OverSocketsTests(SocketCase):
    def made(self, **options: Any) -> Any:
        self.maildrop = Maildrop(MESSAGES, self.folder())
        return make_factory(self.maildrop, **options)

    async def told(self, client: Client, sent: bytes = SAID, heard: bytes = HEARD) -> None:
        client.transport.write(sent)
        await client.ended
        assert client.received == heard
        while not self.servers[-1].lost:
            await self.turn()
        (event,) = self.named("pop3.session")
        assert event["octets_out"] == len(heard)
        assert event["octets_in"] == len(sent)
        assert event["retrieved"] == len(MESSAGES)
        assert self.maildrop.told[-2:] == [("commit", [1]), "release"]

    async def test_tcp(self) -> None:
        await self.told(await self.connect(self.listen(self.made())))

    async def test_tcp_behind_a_proxy(self) -> None:
        from ipaddress import ip_network

        factory = self.made()
        header = b"PROXY TCP4 192.0.2.7 198.51.100.1 1 110\r\n"
        client = await self.connect(self.listen(ProxyFactory(factory, [ip_network("127.0.0.0/8")], Clock()), factory))
        client.transport.write(header)
        await self.told(client)
        assert self.named("pop3.session")[0]["peer"] == "192.0.2.7"

    async def test_a_unix_socket(self) -> None:
        factory = self.made()
        build = factory.buildProtocol
        factory.buildProtocol = lambda addr: self.servers.append(build(addr)) or self.servers[-1]
        self.keep_turning(factory.clock)
        path = str(Path(self.mktemp()))
        port = self.loop.listenUNIX(path, factory)
        self.addCleanup(port.stopListening)
        client = await connectProtocol(UNIXClientEndpoint(self.reactor, path), Client())
        self.clients.append(client)
        await self.told(client)
        assert self.servers[0].plain

    async def test_tls_from_the_first_byte(self) -> None:
        factory = self.made(cleartext="tls")
        client = await self.connect(self.listen(TLSFactory(self.certificates(), factory), factory))
        client.transport.startTLS(CertificateOptions())
        await self.told(client)
        assert self.named("pop3.session")[0]["tls"] is True

    async def test_an_embedders_ssl_port(self) -> None:
        store = self.certificates()
        factory = self.made(cleartext="tls")
        self.keep_turning(factory.clock)
        files = store.files[0]
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate_file(files.certificate)
        context.use_privatekey_file(files.key)

        @implementer(IOpenSSLContextFactory)
        class Contexts:
            def getContext(self) -> SSL.Context:
                return context

        build = factory.buildProtocol
        factory.buildProtocol = lambda addr: self.servers.append(build(addr)) or self.servers[-1]
        port = self.reactor.listenSSL(0, factory, Contexts(), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        client = await self.connect(port.getHost().port)
        client.transport.startTLS(CertificateOptions())
        await self.told(client)
        assert self.named("pop3.session")[0]["tls"] is True

    async def stls(self, version: int) -> None:
        factory = self.made(cleartext="tls", tls=self.certificates())
        client = await self.connect(self.listen(factory))
        await client.until(GREETING.__eq__)
        client.transport.write(b"USER mallory\r\nSTLS\r\nUSER mallory\r\nPASS injected\r\n")
        begun = GREETING + b"-ERR [AUTH]"
        await client.until(lambda data: data.count(b"\r\n") == 3)
        assert b"injected" not in client.received
        assert client.received.count(b"+OK") == 2, begun
        client.received = b""
        options = CertificateOptions()
        options.getContext().set_min_proto_version(version)
        options.getContext().set_max_proto_version(version)
        client.transport.startTLS(options)
        client.transport.write(SAID)
        await client.ended
        assert client.received == HEARD.removeprefix(GREETING)
        assert self.servers[0].plain is False

    async def test_stls_with_tls_1_3(self) -> None:
        await self.stls(SSL.TLS1_3_VERSION)

    async def test_stls_with_tls_1_2(self) -> None:
        await self.stls(SSL.TLS1_2_VERSION)

    async def test_under_stls_no_message_crosses_the_wire_as_it_is(self) -> None:
        factory = self.made(cleartext="tls", tls=self.certificates())
        client = await self.connect(self.listen(factory))
        client.transport.write(b"STLS\r\n")
        await client.until(lambda data: data.count(b"\r\n") == 2)
        client.received = b""
        client.transport.startTLS(CertificateOptions())
        wire, tls = [], client.transport.protocol
        received = tls.dataReceived

        def heard(data: bytes) -> None:  # what it answered, Twisted would take for the end before 25
            wire.append(data)
            received(data)

        tls.dataReceived = heard
        client.transport.write(LOGIN + b"RETR 5\r\nQUIT\r\n")
        await client.ended
        assert WIRE in client.received
        assert len(b"".join(wire)) > len(WIRE)
        assert LINE not in b"".join(wire)

    async def test_a_client_that_stops_reading_and_goes_on(self) -> None:
        for index, sender in ((4, True), (5, False)):
            client = await self.connect(self.listen(self.made()))
            client.transport.write(LOGIN + b"RETR %d\r\n" % (index + 1) * 20 + b"QUIT\r\n")
            await client.until(lambda data: len(data) > 100_000)
            client.transport.pauseProducing()
            server = self.servers[-1]
            for _ in range(50):
                await self.turn()
            assert not server.lost
            assert (server._sender is not None) is sender
            assert sender or server._paused
            client.transport.resumeProducing()
            await client.ended
            assert client.received.endswith(response(MESSAGES[index]) * 20 + b"+OK signing off\r\n")

    async def test_half_closed_with_the_last_data_gets_all_answers(self) -> None:
        client = await self.connect(self.listen(self.made()))
        client.transport.write(LOGIN + b"RETR 5\r\nRETR 6\r\nNOOP\r\nRETR 4")
        client.transport.loseWriteConnection()
        await client.ended
        assert client.received.endswith(response(MESSAGES[4]) + response(MESSAGES[5]) + b"+OK\r\n")
        assert client.eof


class OverTwistedsPortsTests(OverSocketsTests):
    def setUp(self) -> None:
        super().setUp()
        self.loop = self.reactor


def test_the_messages_cover_both_forms() -> None:
    rows = Maildrop(MESSAGES).messages
    assert {(row.wire, row.octets >= SENDFILE_LEAST) for row in rows} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }
