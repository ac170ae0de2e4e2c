"""TLS whose client closes its half, with or without a word to TLS, and still reads: what it asked for is owed to it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from mailserver.net.tls_transport import TLSFactory
from mailserver.tls.certificate_store import CertificateStore
from tests.net.sessions import GREETING, LOGIN, Maildrop, Wire, make_factory
from tests.tls.handshakes import write_pair

LOGGED_IN = GREETING + b"+OK send PASS\r\n+OK maildrop has 1 messages (3 octets)\r\n"


class Stranger:
    """A client of TLS, whose records are carried to the server and back."""

    def __init__(self, folder: Path, factory: Any) -> None:
        store = CertificateStore([write_pair(folder, "a", ["localhost"])])
        self.wire = Wire()
        self.server: Any = TLSFactory(store, factory).buildProtocol(None)
        self.server.makeConnection(self.wire)
        self.tls = SSL.Connection(SSL.Context(SSL.TLS_CLIENT_METHOD), None)
        self.tls.set_connect_state()

    def shake_hands(self) -> Stranger:
        for _ in range(4):
            with contextlib.suppress(SSL.WantReadError):
                self.tls.do_handshake()
            self.carry()
        return self

    def carry(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            self.server.dataReceived(self.tls.bio_read(65536))
        if self.wire.value():
            self.tls.bio_write(self.wire.value())
            self.wire.clear()

    def say(self, data: bytes) -> None:
        self.tls.send(data)
        self.carry()

    def say_close_notify(self) -> None:
        self.tls.shutdown()
        self.carry()

    def say_fin(self) -> None:
        self.server.readConnectionLost()

    def heard(self) -> tuple[bytes, bool]:
        """What came, and whether the server has said its close_notify behind it."""
        self.carry()
        data = b""
        while True:
            try:
                data += self.tls.recv(65536)
            except SSL.WantReadError:
                return data, False
            except SSL.ZeroReturnError:
                return data, True


@pytest.mark.parametrize("road", ["close_notify", "fin", "both"])
def test_what_was_asked_for_before_a_half_close_is_still_answered(tmp_path: Path, road: str) -> None:
    committing: Deferred[int] = Deferred()
    maildrop = Maildrop([b"a\r\n"])
    maildrop.commits = lambda: committing
    client = Stranger(tmp_path, make_factory(maildrop)).shake_hands()
    client.say(LOGIN + b"DELE 1\r\nQUIT\r\n")
    if road != "fin":
        client.say_close_notify()
    if road != "close_notify":
        client.say_fin()
    assert client.heard() == (LOGGED_IN + b"+OK message 1 deleted\r\n", False)
    assert not client.wire.disconnecting
    committing.callback(0)
    assert client.heard() == (b"+OK signing off\r\n", True)
    assert client.wire.disconnecting
    assert not client.wire.disconnected


def test_a_client_that_answers_our_end_with_its_own_alone_is_not_waited_for(tmp_path: Path) -> None:
    client = Stranger(tmp_path, make_factory()).shake_hands()
    client.say(b"QUIT\r\n")
    assert client.heard() == (GREETING + b"+OK signing off\r\n", True)
    assert not client.wire.disconnecting
    client.say_fin()
    assert client.wire.disconnecting


def test_a_client_that_ends_within_the_handshake_is_dropped(tmp_path: Path) -> None:
    client = Stranger(tmp_path, make_factory())
    client.say_fin()
    assert client.wire.disconnected


@implementer(IHalfCloseableProtocol)
class Counting(Protocol):
    ends = 0

    def readConnectionLost(self) -> None:
        self.ends += 1

    def writeConnectionLost(self) -> None:
        pass


def test_both_ends_of_a_client_are_told_as_one(tmp_path: Path) -> None:
    client = Stranger(tmp_path, Factory.forProtocol(Counting)).shake_hands()
    client.say_close_notify()
    client.say_fin()
    assert client.server.wrappedProtocol.ends == 1
