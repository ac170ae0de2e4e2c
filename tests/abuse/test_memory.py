"""Clients that ask for much and take little: what waits for them stays in its files, not in the server's memory."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from typing import Final

import pytest

from tests.abuse.conftest import Serve
from tests.abuse.measures import KIB, MIB, Growth
from tests.corpus import canonical
from tests.rawpop3 import RawPOP3
from tests.servers import Account, Site

CLIENTS: Final = 50
LINE: Final = b"All that is asked for, and never read.\n"
LARGE: Final = b"Subject: large\n\n" + LINE * (10 * MIB // len(LINE))
MEDIUM: Final = b"Subject: medium\n\n" + LINE * (MIB // len(LINE))

BUFFERED: Final = 320 * KIB
"""What may wait for one client: a chunk of 120 KiB, once more what stuffing or TLS made of it, and the session. Whoever
buffers without a bound needs the message's 10 MiB.
"""

KEPT: Final = 16 * KIB
"""The same where the kernel sends the file: nothing of it is ever ours."""

TURNS: Final = 500
"""Commands of another session: with each, the reactor looks at every client once. Forty turns would do to read 10 MiB."""


def share(site: Site, message: bytes) -> list[Account]:
    """Accounts with the same message, of which the disk holds one file with many names."""
    accounts = [site.account(f"user{number}") for number in range(CLIENTS)]
    first = accounts[0].deliver(message)
    for other in accounts[1:]:
        os.link(first, other.maildir / "new" / first.name)
    return accounts


def narrow(client: RawPOP3) -> RawPOP3:
    """Let the kernel hold little for the client, so that the server has to."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    return client


@pytest.mark.parametrize(
    ("message", "tls", "bound"),
    [
        pytest.param(LARGE, False, BUFFERED, id="stuffed"),
        pytest.param(canonical(LARGE), False, KEPT, id="sent-by-the-kernel"),
        pytest.param(LARGE, True, BUFFERED, id="tls"),
    ],
)
def test_clients_that_never_read_cost_a_chunk_each_and_keep_nobody_waiting(
    site: Site, serve: Serve, message: bytes, tls: bool, bound: int
) -> None:
    accounts, other = share(site, message), site.account("other", messages=[b"Subject: hello\n\nhello\n"])
    server = serve()
    port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
    with ExitStack() as stack:
        clients = [stack.enter_context(narrow(RawPOP3(port, tls=context))) for _ in accounts]
        for client, account in zip(clients, accounts, strict=True):
            client.login(account.name, account.password)
        growth = Growth(server.pid)
        for client in clients:
            client.send(b"RETR 1\r\n")
        assert all(client.line().startswith(b"+OK") for client in clients)
        with RawPOP3(server.pop3_port) as served:
            served.login(other.name, other.password)
            for _ in range(TURNS):
                served.ok(b"NOOP")
            assert served.fetch(b"RETR 1") == b"Subject: hello\r\n\r\nhello\r\n"
            served.quit()
        assert growth.octets < CLIENTS * bound


@pytest.mark.parametrize(
    ("message", "tls"),
    [
        pytest.param(MEDIUM, False, id="stuffed"),
        pytest.param(canonical(MEDIUM), False, id="sent-by-the-kernel"),
        pytest.param(MEDIUM, True, id="tls"),
    ],
)
def test_a_hundred_pipelined_messages_wait_in_their_files(site: Site, serve: Serve, message: bytes, tls: bool) -> None:
    account, other = site.account("alice", messages=[message]), site.account("other")
    server = serve()
    port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
    with RawPOP3(port, tls=context).login(account.name, account.password) as client:
        growth = Growth(server.pid)
        client.send(b"RETR 1\r\n" * 100 + b"QUIT\r\n")
        with RawPOP3(server.pop3_port).login(other.name, other.password) as served:
            for _ in range(TURNS):
                served.ok(b"NOOP")
        for _ in range(100):
            assert client.line().startswith(b"+OK")
            assert client.body() == canonical(message)
        assert client.line().startswith(b"+OK")
        assert client.rest() == b""
    # Of the 100 MiB that were asked for, no more than the chunk and the replies beside it may ever be in memory.
    assert growth.octets < 4 * MIB
