"""Strangers who read slowly or not at all, and what may wait for them."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from tests.abuse.conftest import Serve
from tests.abuse.measures import KIB
from tests.rawpop3 import SECONDS, RawPOP3
from tests.servers import Site
from tests.waiting import eventually

WAITING = 128 * KIB
"""Octets that may wait in the kernel for a client before the login; without a bound they were 2.4 MB."""


def connections(port: int) -> list[tuple[int, bool]]:
    """The connections of this port: octets that the client has not acknowledged, and whether a process has it open."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    here = f":{port:04X}"
    return [
        (int(row[4].partition(":")[0], 16), row[9] != "0") for row in rows if row[1].endswith(here) and row[3] != "0A"
    ]


def unsent(port: int) -> int:
    return sum(octets for octets, _ in connections(port))


def held(port: int) -> int:
    return sum(is_open for _, is_open in connections(port))


def flood(client: socket.socket, data: bytes) -> None:
    with suppress(OSError):
        while True:
            client.sendall(data)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_little_waits_for_a_stranger_who_does_not_read(site: Site, serve: Serve, tls: bool) -> None:
    server = serve()
    port = server.pop3s_port if tls else server.pop3_port
    with RawPOP3(port, tls=site.client_tls() if tls else None) as client:
        client.socket.settimeout(1)

        def full() -> bool:
            flood(client.socket, b"CAPA\r\n" * 1000)  # until the server reads no more, or has not for a while
            return unsent(port) > 0

        eventually(full, lambda: "nothing waits for the client")
        assert unsent(port) < WAITING


def test_the_bound_ends_with_the_login(site: Site, serve: Serve) -> None:
    body = b"x" * 78 + b"\n"
    alice = site.account("alice", messages=[b"\n" + body * 100_000])
    server = serve()
    with RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
        client.send(b"RETR 1\r\n")
        eventually(lambda: unsent(server.pop3_port) > 4 * WAITING, lambda: unsent(server.pop3_port))


@pytest.mark.parametrize("commands", [b"", b"CAPA\r\n" * 20_000, b"QUIT\r\n"], ids=["silent", "asking", "leaving"])
def test_a_stranger_who_reads_an_octet_at_a_time_is_gone_when_the_login_time_is_up(
    serve: Serve, commands: bytes
) -> None:
    server = serve(limits={"login_seconds": 2})
    with socket.create_connection(("127.0.0.1", server.pop3_port), SECONDS) as client:
        client.recv(1)
        assert held(server.pop3_port)  # before anything is said: QUIT may be answered, and all be over, at once
        flooding = threading.Thread(target=flood, args=(client, commands), daemon=True)
        if commands:
            flooding.start()

        def gone() -> bool:
            with suppress(ConnectionError):
                client.recv(1)
            return not held(server.pop3_port)

        eventually(gone, server.log)
    if commands:
        flooding.join(SECONDS)
