"""Mail servers, or what has got their socket, that send too much, too little, or only half: nobody else waits, and nothing is left."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from tests.abuse.conftest import Serve
from tests.abuse.measures import KIB, MIB, Growth
from tests.rawlmtp import RawLMTP, stuffed
from tests.rawpop3 import RawPOP3
from tests.servers import Account, Server, Site
from tests.waiting import eventually

MESSAGE: Final = b"Subject: hello\r\n\r\nworld\r\n"
LINE: Final = b"A line of a message that is far too long for anybody to read.\r\n"

HELD: Final = 512 * KIB
"""What one sender may make the server hold: 64 KiB that wait and 64 more that were just read, a write of 120, and copies of these."""


@pytest.fixture
def alice(site: Site) -> Account:
    return site.account("alice")


@pytest.fixture
def receive(site: Site, alice: Account, serve: Serve) -> Iterator[Callable[..., Server]]:
    """Start a server that takes mail for alice. In the end nothing half may lie in her maildrop."""

    def start(**settings: Any) -> Server:
        lmtp = ["tcp:0:interface=127.0.0.1", f"unix:{site.folder}/lmtp:mode=600"]
        return serve(listen={"lmtp": lmtp}, **settings)

    yield start
    eventually(lambda: left(alice) == [], lambda: f"left in tmp: {left(alice)}")


def left(alice: Account) -> list[Path]:
    return list((alice.maildir / "tmp").iterdir())


def delivers(server: Server, name: str = "alice") -> None:
    """Somebody else is served."""
    with RawLMTP(server.ports["lmtp"]) as other:
        (reply,) = other.hello().deliver(MESSAGE, name)
        assert reply.startswith(b"250")
        other.quit()


def test_a_megabyte_without_a_line_end_is_passed_over(receive: Callable[..., Server]) -> None:
    server = receive()
    growth = Growth(server.pid)
    with RawLMTP(server.ports["lmtp"]) as client:
        client.send(b"x" * MIB)
        assert client.reply() == b"500 5.5.2 line too long\r\n"
        client.send(b"x" * MIB + b"\r\n")
        delivers(server)
        assert client.ok(b"NOOP")
    assert growth.octets < MIB


def test_lines_of_a_message_may_have_no_end(receive: Callable[..., Server], alice: Account) -> None:
    server = receive()
    with RawLMTP(server.ports["lmtp"]) as client:
        client.hello().begin(["alice"])
        client.ok(b"DATA")
        growth = Growth(server.pid)
        for _ in range(8):
            client.send(b"x" * MIB)
        client.send(b"\r\n.\r\n")
        assert client.reply().startswith(b"250")
        assert growth.octets < 2 * MIB
        client.quit()
    (path,) = alice.files()
    assert path.stat().st_size > 8 * MIB


@pytest.mark.parametrize("chunks", [False, True], ids=["data", "bdat"])
def test_what_is_too_big_is_read_to_its_end_and_leaves_nothing(
    receive: Callable[..., Server], alice: Account, chunks: bool
) -> None:
    server = receive(delivery={"max_octets": MIB})
    big = LINE * (8 * MIB // len(LINE))
    with RawLMTP(server.ports["lmtp"]) as client:
        client.hello().begin(["alice"])
        growth = Growth(server.pid)
        if chunks:
            client.send(b"BDAT %d LAST\r\n" % len(big) + big)
        else:
            client.ok(b"DATA")
            client.send(big + b".\r\n")
        assert client.reply().startswith(b"552 5.3.4")
        assert growth.octets < 2 * MIB
        (reply,) = client.deliver(MESSAGE, "alice")
        assert reply.startswith(b"250")
        client.quit()
    assert len(alice.files()) == 1


def test_ten_thousand_recipients_are_answered_in_order_and_others_between_them(receive: Callable[..., Server]) -> None:
    server = receive()

    def flood() -> list[bytes]:
        with RawLMTP(server.ports["lmtp"]) as client:
            client.hello()
            client.send(b"MAIL FROM:<>\r\n")
            client.send(b"RCPT TO:<alice>\r\nRCPT TO:<nobody>\r\n" * 5000 + b"RSET\r\n")
            return [client.reply()[:9] for _ in range(10_002)]

    with RawLMTP(server.ports["lmtp"]) as other, ThreadPoolExecutor(1) as threads:
        done, count = threads.submit(flood), 0
        while not done.done():
            other.ok(b"NOOP")
            count += 1
        assert count > 10
        other.quit()
    replies = done.result()
    assert (replies[0], replies[-1]) == (b"250 2.1.0", b"250 2.0.0")
    assert replies[1:2000] == ([b"250 2.1.5", b"550 5.1.1"] * 1000)[:-1]
    assert set(replies[2000:-1]) == {b"452 4.5.3"}


def test_who_takes_every_place_keeps_out_no_client_of_pop3_and_nobody_for_long(
    site: Site, receive: Callable[..., Server]
) -> None:
    server = receive(delivery={"connections": 20})
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(RawLMTP(server.ports["lmtp"])).hello()
        for _ in range(50):
            with RawLMTP(site.folder / "lmtp") as late:
                assert late.greeting == b"421 4.3.0 too many connections\r\n"
        with RawPOP3(server.pop3_port) as client:
            client.login("alice", site.accounts[0].password).quit()
        assert len(server.told("lmtp.turned_away")) < 10
    delivers(server)


def test_senders_that_vanish_within_their_messages_leave_nothing(
    receive: Callable[..., Server], alice: Account
) -> None:
    server = receive()
    for number in range(40):
        client = RawLMTP(server.ports["lmtp"]).hello()
        client.begin(["alice"])
        client.ok(b"DATA")
        client.send(LINE * (number * 100))
        if number % 2:
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        client.close()
    server.wait_for("lmtp.session", 40)
    assert alice.files() == []
    delivers(server)


@pytest.mark.parametrize("end", [b"", b".\r\n"], ids=["within", "after"])
def test_who_half_closes_gets_what_he_is_owed(receive: Callable[..., Server], alice: Account, end: bytes) -> None:
    server = receive()
    with RawLMTP(server.ports["lmtp"]) as client:
        client.hello().begin(["alice"])
        client.ok(b"DATA")
        client.send(MESSAGE + end)
        client.socket.shutdown(socket.SHUT_WR)
        if end:
            assert client.reply().startswith(b"250")
        assert client.socket.recv(100) == b""
    assert len(alice.files()) == bool(end)


def test_who_reads_no_reply_costs_little(receive: Callable[..., Server]) -> None:
    server = receive()
    with RawLMTP(server.ports["lmtp"]) as client:
        client.hello()
        growth = Growth(server.pid)
        client.socket.settimeout(0.3)  # by then the kernel's buffers are full, and the server reads no more
        with suppress(TimeoutError):
            while True:
                client.send(b"HELP\r\n" * 10_000)
        delivers(server)
        assert growth.octets < 2 * MIB


def test_many_senders_of_megabytes_at_once_cost_a_write_each(receive: Callable[..., Server], alice: Account) -> None:
    server = receive()
    message = stuffed(b"Subject: large\r\n\r\n" + LINE * (MIB // len(LINE)))
    clients = [RawLMTP(server.ports["lmtp"]).hello() for _ in range(25)]
    growth = Growth(server.pid)

    def send(client: RawLMTP) -> bytes:
        with client:
            client.begin(["alice"])
            client.ok(b"DATA")
            client.send(message)
            return client.reply()

    with ThreadPoolExecutor(25) as threads:
        assert {reply[:3] for reply in threads.map(send, clients)} == {b"250"}
    assert growth.octets < 25 * HELD
    assert len(alice.files()) == 25
