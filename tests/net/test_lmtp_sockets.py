"""LMTP over real sockets: by Python's own client, and by hand."""

from __future__ import annotations

import os
import smtplib
import socket
import ssl
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from mailserver.net.connection import UNREAD_LIMIT
from tests.net.deliveries import Deliveries, make_lmtp
from tests.net.sessions import SocketCase
from tests.rawlmtp import RawLMTP, stuffed

MESSAGE = b"Subject: hello\r\n\r\n.a line with a dot\r\n..two\r\n.\r\nend\r\n"


class LMTPSockets(SocketCase):
    def setUp(self) -> None:
        super().setUp()
        self.deliveries = Deliveries()

    def factory(self, **options: Any) -> Any:
        self.lmtp = make_lmtp(self.deliveries, clock=self.reactor, **options)
        return self.lmtp

    def port(self, **options: Any) -> int:
        return self.listen(self.factory(**options))

    def unix(self, **options: Any) -> Path:
        folder = TemporaryDirectory()  # where the path is short enough for a socket
        self.addCleanup(folder.cleanup)
        path = Path(folder.name, "lmtp")
        port = self.loop.listenUNIX(os.fsencode(path), self.factory(**options), mode=0o600)
        self.addCleanup(port.stopListening)
        return path

    def talk(self, words: Callable[[], Any]) -> Deferred[Any]:
        """Let a blocking client talk."""
        return deferToThread(words)

    async def test_smtplib_delivers_over_tcp_and_over_a_unix_socket(self) -> None:
        port, path = self.port(), self.unix()

        def words() -> None:
            for client in (smtplib.LMTP("127.0.0.1", port), smtplib.LMTP(str(path))):
                with client:
                    # It reads one answer behind the message, so one recipient may be accepted.
                    refused = client.sendmail("bob@example.net", ["nobody", "alice"], MESSAGE)
                    assert {name: code for name, (code, _) in refused.items()} == {"nobody": 550}

        await self.talk(words)
        assert [kept.text for kept in self.deliveries.begun] == [MESSAGE, MESSAGE]
        assert [kept.sender.peer for kept in self.deliveries.begun] == ["127.0.0.1", ""]

    async def test_a_hundred_recipients_get_an_answer_each_however_it_is_pipelined(self) -> None:
        path = self.unix()
        names = [b"u%d" % number for number in range(100)]
        envelope = b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<%b>\r\n" % name for name in names)

        def words() -> None:
            with RawLMTP(path) as client:
                client.hello()
                client.send(envelope + b"DATA\r\n" + stuffed(MESSAGE) + b"NOOP\r\n")
                codes = [client.reply()[:3] for _ in range(1 + 100 + 1 + 100 + 1)]
                assert codes == [b"250"] * 101 + [b"354"] + [b"250"] * 101
                client.send(envelope + b"BDAT %d LAST\r\n" % len(MESSAGE) + MESSAGE + b"QUIT\r\n")
                codes = [client.reply()[:3] for _ in range(1 + 100 + 100 + 1)]
                assert codes == [b"250"] * 201 + [b"221"]

        await self.talk(words)
        assert [kept.text for kept in self.deliveries.begun] == [MESSAGE] * 2
        assert [[name for name, _ in kept.recipients] for kept in self.deliveries.begun] == [names] * 2

    async def test_after_starttls_everything_begins_anew_and_the_sender_is_known_to_use_it(self) -> None:
        port = self.port(tls=self.certificates())

        def words() -> Any:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with smtplib.LMTP("127.0.0.1", port) as client:
                client.ehlo()
                assert client.has_extn("STARTTLS")
                client.starttls(context=context)
                client.ehlo()
                assert not client.has_extn("STARTTLS")
                assert client.sendmail("bob@example.net", ["alice"], MESSAGE) == {}
                assert client.sock is not None
                return client.sock.cipher()

        cipher = await self.talk(words)
        (kept,) = self.deliveries.begun
        assert (kept.text, kept.sender.protocol) == (MESSAGE, b"LMTPS")
        assert kept.sender.tls == f"TLSv1.3 {cipher[0]}"
        await self._part()
        (event,) = self.named("lmtp.session")
        assert (event["tls"], event["messages"]) == (True, 1)

    async def test_commands_that_were_sent_before_tls_are_forgotten(self) -> None:
        port = self.port(tls=self.certificates())

        def words() -> None:
            with RawLMTP(port) as client:
                client.hello()
                client.send(b"STARTTLS\r\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice>\r\n")
                assert client.reply().startswith(b"220")
                context = ssl.create_default_context()
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                with context.wrap_socket(client.socket) as wrapped:
                    wrapped.sendall(b"NOOP\r\n")
                    assert wrapped.recv(100)[:3] == b"250"

        await self.talk(words)
        assert self.deliveries.begun == []

    async def test_a_failed_handshake_is_told(self) -> None:
        port = self.port(tls=self.certificates())

        def words() -> None:
            with RawLMTP(port) as client:
                client.hello()
                client.ok(b"STARTTLS")
                client.send(b"this is no TLS\r\n")
                while client.socket.recv(100):
                    pass

        await self.talk(words)
        await self._part()
        assert len(self.named("lmtp.tls_failed")) == 1
        assert self.named("lmtp.session")[0]["ended"] == "TLS error"

    async def test_a_filter_speaks_for_its_client_and_nobody_else_does(self) -> None:
        trusted = self.port(rules={"xclients": (ip_network("127.0.0.0/8"),)})
        other = self.port(rules={"xclients": (ip_network("192.0.2.0/24"),)})

        def words(port: int) -> bytes:
            with RawLMTP(port) as client:
                client.hello()
                reply = client.command(b"XCLIENT ADDR=2001:db8::7 NAME=there.example HELO=there")
                client.hello()
                client.deliver(MESSAGE, "alice")
            return reply

        assert (await self.talk(lambda: words(trusted))).startswith(b"220")
        assert (await self.talk(lambda: words(other))).startswith(b"550 5.7.0")
        hosts = [(kept.sender.peer, kept.sender.host) for kept in self.deliveries.begun]
        assert hosts[0][1] == b"there"
        assert hosts[0][0].lower().removeprefix("ipv6:") == "2001:db8::7"
        assert hosts[1] == ("127.0.0.1", b"client.example.org")

    async def test_a_proxy_before_the_port_names_the_sender(self) -> None:
        factory = self.factory()
        port = self.listen(factory.behind(proxies=[ip_network("127.0.0.0/8")]), factory)

        def words() -> bytes:
            with socket.create_connection(("127.0.0.1", port), 30) as client:
                client.sendall(
                    b"PROXY TCP4 192.0.2.7 192.0.2.1 1234 24\r\nLHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nQUIT\r\n"
                )
                return b"".join(iter(lambda: client.recv(4096), b""))

        assert (await self.talk(words)).endswith(b"\r\n250 2.1.5 recipient ok\r\n221 2.0.0 signing off\r\n")
        assert self.deliveries.begun[0].sender.peer == "192.0.2.7"

    async def test_a_sender_that_is_faster_than_the_disk_waits_in_its_own_memory(self) -> None:
        """The kernel's buffers and ours hold some octets; the sender, who has 20 MB, is held up by the rest."""
        behind: Deferred[None] = Deferred()
        self.deliveries.writes = lambda _: behind
        path = self.unix()
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.connect(str(path))
        client.setblocking(False)
        client.send(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<alice>\r\nDATA\r\n")
        sent, still = 0, 0
        line = b"x" * 998 + b"\r\n"
        while still < 50:
            try:
                sent += client.send(line * 64)
                still = 0
            except BlockingIOError:
                still += 1
            await deferLater(self.reactor, 0)
        assert sent < 1_000_000
        (kept,) = self.deliveries.begun
        assert len(kept.written) == 1
        connection: Any = next(iter(self.lmtp._connections))
        assert connection.core.unread <= UNREAD_LIMIT + 64 * 1024
        self.deliveries.writes = lambda _: None
        behind.callback(None)
        client.setblocking(True)
        rest = line * 64
        await self.talk(lambda: client.sendall((b"\r\n" + rest * 20) + b"\r\n.\r\n"))
        while kept.ended != "commit":
            await deferLater(self.reactor, 0)
