"""Clients that speak another protocol, or ours on the wrong port."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from tests.abuse.conftest import Serve
from tests.rawpop3 import SECONDS, RawPOP3
from tests.servers import Site

GARBAGE = bytes(range(256)) * 64


def test_a_tls_client_on_the_plain_port_is_told_and_let_go(site: Site, serve: Serve) -> None:
    server = serve()
    with RawPOP3(server.pop3_port) as client, pytest.raises(ssl.SSLError):
        client.start_tls(site.client_tls())
    with RawPOP3(server.pop3_port) as client:
        client.send(hello())
        assert client.line() == b"-ERR this is a POP3 server\r\n"
        assert ended(client.socket)


@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_a_browser_is_turned_away_at_its_first_line(serve: Serve, method: bytes) -> None:
    server = serve()
    with RawPOP3(server.pop3_port) as client:
        client.send(
            method + b" / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n\r\nUSER alice\r\nPASS guess\r\nQUIT\r\n"
        )
        assert client.line() == b"-ERR this is a POP3 server\r\n"
        assert ended(client.socket)


@pytest.mark.parametrize(
    "data", [GARBAGE, b"CAPA\r\nQUIT\r\n", b"\x16\x03\x01\xff\xff" + GARBAGE], ids=["garbage", "pop3", "half-a-hello"]
)
def test_what_is_no_tls_hears_no_pop3_on_the_tls_port(serve: Serve, data: bytes) -> None:
    server = serve()
    with socket.create_connection(("127.0.0.1", server.pop3s_port), SECONDS) as client:
        client.sendall(data)
        with suppress(OSError):  # the server may have left first
            client.shutdown(socket.SHUT_WR)
        heard = everything(client)
    assert b"+OK" not in heard
    assert b"-ERR" not in heard
    assert server.wait_for("pop3.tls_failed")["reason"]


def test_garbage_on_the_plain_port_is_refused_line_by_line_and_then_cut_off(serve: Serve) -> None:
    server = serve()
    with RawPOP3(server.pop3_port) as client:
        client.send(b"\xff\x00\x80\r\n" * 1000)
        assert [client.line()[:4] for _ in range(10)] == [b"-ERR"] * 10
        assert ended(client.socket)


def test_garbage_after_stls_ends_the_connection_and_runs_no_command(site: Site, serve: Serve) -> None:
    alice = site.account("alice")
    server = serve()
    with RawPOP3(server.pop3_port) as client:
        client.ok(b"STLS")
        client.send(b"USER alice\r\nPASS " + alice.password.encode() + b"\r\nSTAT\r\n")
        assert b"+OK" not in everything(client.socket)
    assert server.wait_for("pop3.tls_failed")["reason"]


def hello() -> bytes:
    """The first octets of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


def everything(client: socket.socket) -> bytes:
    """All that comes until the end, be it a close or a reset of what was sent too much."""
    data = b""
    try:
        while more := client.recv(65536):
            data += more
    except ConnectionError:
        pass
    return data


def ended(client: socket.socket) -> bool:
    """Whether nothing more comes."""
    return everything(client) == b""
