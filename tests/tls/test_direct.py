"""A connection that calls OpenSSL by itself does what pyOpenSSL's own does; the names that it needs for this are there."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL, _util

from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.direct import DirectConnection
from tests.tls.handshakes import write_pair


@pytest.fixture
def store(tmp_path: Path) -> CertificateStore:
    return CertificateStore([write_pair(tmp_path, "a", ["localhost"])])


@pytest.fixture(params=[DirectConnection, SSL.Connection])
def ends(request: pytest.FixtureRequest, store: CertificateStore) -> Iterator[tuple[SSL.Connection, Any]]:
    """A client, and a server on the socket, of this project or of pyOpenSSL: each test says of both the same."""
    theirs, ours = socket.socketpair()
    theirs.setblocking(False)
    ours.setblocking(False)
    client, server = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), theirs), store.connection_on(ours)
    if request.param is SSL.Connection:
        server.__class__ = type("Plain", (type(server),), {"recv": SSL.Connection.recv, "send": SSL.Connection.send})
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(3):
        for side in (client, server):
            with contextlib.suppress(SSL.WantReadError):
                side.do_handshake()
    with theirs, ours:
        yield client, server


def test_the_names_that_are_not_public_are_there() -> None:
    assert callable(SSL.Connection._raise_ssl_error)
    assert callable(_util.lib.SSL_read)
    assert callable(_util.lib.SSL_write)
    assert callable(_util.lib.SSL_set_options)
    assert callable(_util.lib.SSL_clear_mode)
    assert _util.lib.SSL_MODE_AUTO_RETRY
    assert SSL._lib is _util.lib
    assert SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)._ssl


def test_what_the_store_makes_is_direct(store: CertificateStore) -> None:
    assert isinstance(store.serverConnectionForTLS(None), DirectConnection)
    theirs, ours = socket.socketpair()
    with theirs, ours:
        assert isinstance(store.connection_on(ours), DirectConnection)


def test_octets_go_to_and_fro(ends: tuple[Any, Any]) -> None:
    client, server = ends
    for data in (b"x", b"y" * 10_000, memoryview(b"--z--")[2:3]):
        assert server.send(data) == len(data)
        assert client.recv(1 << 14) == data
        client.send(data)
        assert server.recv(1 << 14) == data


def test_no_more_is_read_than_asked_for(ends: tuple[Any, Any]) -> None:
    client, server = ends
    client.send(b"0123456789")
    assert server.recv(4) == b"0123"
    assert server.pending() == 6
    assert server.recv(100) == b"456789"


def test_nothing_to_read_and_no_room_are_errors_that_say_so(ends: tuple[Any, Any]) -> None:
    client, server = ends
    with pytest.raises(SSL.WantReadError):
        server.recv(100)
    data = memoryview(b"x" * 10_000_000)
    sent = 0

    def send_all() -> None:
        nonlocal sent
        while True:
            sent += server.send(data[sent:])

    with pytest.raises(SSL.WantWriteError):
        send_all()
    assert sent % (1 << 14) == 0  # whole records
    received = 0
    while received < sent:
        received += len(client.recv(1 << 14))
    assert server.send(data[sent:]) > 0


def test_the_clients_end_and_its_crash_are_told_apart(ends: tuple[Any, Any]) -> None:
    client, server = ends
    client.shutdown()
    with pytest.raises(SSL.ZeroReturnError):
        server.recv(100)
    client._socket.close()
    with pytest.raises((SSL.SysCallError, SSL.ZeroReturnError)):  # which one, is OpenSSL's version's
        server.send(b"x")


def test_what_is_no_record_is_an_error(ends: tuple[Any, Any]) -> None:
    client, server = ends
    client._socket.send(b"USER alice\r\n")
    with pytest.raises(SSL.Error, match="record layer failure"):
        server.recv(100)


def test_flags_are_refused(store: CertificateStore) -> None:
    with pytest.raises(ValueError, match="flags"):
        store.serverConnectionForTLS(None).recv(1, socket.MSG_PEEK)
