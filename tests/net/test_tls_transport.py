"""TLS in both its ways, on the socket and in memory: what is said arrives, whole and in order, whatever the peer's pace."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from OpenSSL import SSL
from twisted.internet import tcp
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport

from mailserver.net.tls_transport import TLSFactory, start_tls
from mailserver.tls.bindings import EXPORTER, surroundings
from mailserver.tls.certificate_store import CertificateStore
from tests.net.sessions import GREETING, LOGIN, Maildrop, make_factory
from tests.net.tls_roads import NEWEST, VERSIONS, WAYS, Client, Line, Recorder, Single
from tests.tls.authority import Authority
from tests.tls.handshakes import standard_context, write_pair

BIG = bytes(range(256)) * 4096 * 10  # 10 MiB


Connect = Callable[..., Line]


def session(messages: Any = (b"a\r\n",)) -> Any:
    """A session of POP3."""
    return make_factory(Maildrop(list(messages))).buildProtocol(None)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("step", [0, 1])
def test_a_session_in_any_fragments(connect: Connect, way: str, version: ssl.TLSVersion, step: int) -> None:
    line = connect(session(), way=way)
    client = Client(line, version).shake(step)
    assert client.heard() == (GREETING, False)
    client.tls.write(LOGIN + b"RETR 1\r\nQUIT\r\n")
    client.carry(step)
    data, ended = client.heard()
    assert data.endswith(b"+OK 3 octets\r\na\r\n.\r\n+OK signing off\r\n")
    assert ended
    assert not line.gone  # the client's close_notify is waited for
    client.say_close_notify()
    assert line.gone
    assert client.end == "end"


@pytest.mark.parametrize("way", WAYS)
def test_the_transport_is_tls_and_an_idle_session_has_no_dict(connect: Connect, way: str) -> None:
    line = connect(way=way)
    assert ISSLTransport.providedBy(line.tls)
    assert line.protocol.transport is line.tls
    assert line.tls.fileno() == line.transport.fileno()
    assert line.tls.getPeer() == line.transport.getPeer()
    Client(line).shake()
    assert not vars(line.tls)


def test_on_the_socket_a_session_asks_for_no_turn_to_write(connect: Connect) -> None:
    line = connect(session([b"x" * 5000] * 20))
    client = Client(line).shake()
    for command in (LOGIN, b"LIST\r\n", *(b"RETR %d\r\n" % number for number in range(1, 21)), b"QUIT\r\n"):
        client.say(command)
    assert client.heard()[1]
    client.say_close_notify()
    assert line.gone
    assert line.reactor.asked_to_write == 0
    assert line.reactor.reads == 2 + 23 + 1  # two flights of the handshake, 23 commands, close_notify


def test_tcp_sends_each_record_at_once(connect: Connect) -> None:
    line = connect(family=socket.AF_INET)
    assert line.transport.getTcpNoDelay()


@pytest.mark.parametrize("way", WAYS)
def test_records_of_any_size_are_delivered_without_another_event(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    sizes = [1, 16_383, 16_384]  # the last is the largest record: what was left of it in OpenSSL would stay there
    for size in sizes:
        client.tls.write(b"x" * size)
    client.carry()
    assert [len(data) for data in line.protocol.received] == sizes


def test_on_the_socket_one_record_is_read_an_event(connect: Connect) -> None:
    line = connect()
    client = Client(line).shake()
    for _ in range(5):
        client.tls.write(b"NOOP\r\n")
    line.client.sendall(client.outgoing.read())
    for count in range(1, 6):
        line.reactor.turn()
        assert len(line.protocol.received) == count


def test_on_the_socket_new_keys_are_read_one_record_an_event_too(connect: Connect, tmp_path: Path) -> None:
    """Who sends only new keys, as fast as we read them, would else hold the process in one read."""
    context = standard_context(NEWEST)
    context.keylog_filename = str(tmp_path / "keys")
    line = connect()
    client = Client(line, context=context).shake()
    keys = NewKeys((tmp_path / "keys").read_text(encoding="ascii"), client)
    line.client.sendall(b"".join(keys.update() for _ in range(10)) + keys.seal(b"\x17", b"NOOP\r\n"))
    for _ in range(10):
        line.reactor.turn()
        assert line.protocol.received == []
    line.reactor.turn()
    assert line.protocol.received == [b"NOOP\r\n"]


class NewKeys:
    """Seals the records of a client that has a secret of TLS 1.3 (RFC 8446 sections 5.2 and 7)."""

    def __init__(self, log: str, client: Client) -> None:
        cipher = client.tls.cipher()
        assert cipher is not None
        assert cipher[0] == "TLS_AES_256_GCM_SHA384"
        (secret,) = [line.split()[2] for line in log.splitlines() if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
        self.secret = bytes.fromhex(secret)
        self.sent = 0

    def update(self) -> bytes:
        """A record with KeyUpdate, which asks for none of ours; the next one has the new key."""
        record = self.seal(b"\x16", b"\x18\0\0\1\0")
        self.secret, self.sent = self._derive(b"traffic upd", 48), 0
        return record

    def seal(self, kind: bytes, data: bytes) -> bytes:
        nonce = int.from_bytes(self._derive(b"iv", 12), "big") ^ self.sent
        self.sent += 1
        head = b"\x17\3\3" + (len(data) + 1 + 16).to_bytes(2, "big")
        return head + AESGCM(self._derive(b"key", 32)).encrypt(nonce.to_bytes(12, "big"), data + kind, head)

    def _derive(self, label: bytes, octets: int) -> bytes:
        label = b"tls13 " + label
        info = octets.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
        return HKDFExpand(SHA384(), octets, info).derive(self.secret)


@pytest.mark.parametrize("way", WAYS)
def test_who_pauses_reads_nothing(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    line.tls.pauseProducing()
    client.say(b"NOOP\r\n")
    assert line.protocol.received == []
    line.tls.resumeProducing()
    line.turn()
    assert line.protocol.received == [b"NOOP\r\n"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_ten_megabytes_for_a_slow_reader_arrive_whole_and_wait_outside(
    connect: Connect, way: str, version: ssl.TLSVersion
) -> None:
    class Source(Recorder):
        sent = 0
        paused = False

        def pauseProducing(self) -> None:
            super().pauseProducing()
            self.paused = True

        def resumeProducing(self) -> None:
            self.paused = False
            while not self.paused and self.sent < len(BIG):
                self.transport.write(BIG[self.sent : self.sent + 100_000])
                self.sent += 100_000
            if not self.paused:
                self.transport.unregisterProducer()
                self.transport.loseConnection()

    line = connect(Source(), way=way, buffer=20_000)
    client = Client(line, version).shake()
    line.tls.registerProducer(line.protocol, True)
    line.protocol.resumeProducing()
    received, most = [], 0
    while True:
        most = max(most, len(line.tls._unsent))
        line.reactor.turn()
        with contextlib.suppress(BlockingIOError):
            client.incoming.write(line.client.recv(8000))
        try:
            while data := client.tls.read(1 << 16):
                received.append(data)
            break
        except ssl.SSLWantReadError:
            continue
    assert b"".join(received) == BIG
    assert most <= 100_000
    assert line.protocol.told.count("pause") > 50


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_while_the_client_does_not_read_keeps_its_order(connect: Connect, way: str) -> None:
    line = connect(way=way, buffer=10_000)
    client = Client(line).shake()
    pieces = [b"%06d " % number * 2000 for number in range(30)]
    for piece in pieces[:-2]:
        line.tls.write(piece)
    line.tls.write(b"")
    line.tls.writeSequence(pieces[-2:])
    line.tls.loseConnection()
    line.tls.write(b"too late")
    assert client.heard() == (b"".join(pieces), True)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_written_before_the_handshake_leaves_after_it(connect: Connect, way: str) -> None:
    line = connect(way=way)
    line.tls.registerProducer(line.protocol, True)
    line.tls.write(b"+OK ")
    line.tls.write(b"ready\r\n")
    assert line.protocol.told == ["pause"]
    assert line.take() == (b"", "open")
    client = Client(line).shake()
    assert client.heard() == (b"+OK ready\r\n", False)
    assert line.protocol.told == ["pause", "resume"]


class Stubborn:
    """A connection that fails first, in each of the ways that a test asks for."""

    def __init__(self, real: Any, **first: BaseException) -> None:
        self.real = real
        self.first = first

    def __getattr__(self, name: str) -> Any:
        error = self.first.pop(name, None)
        if error is None:
            return getattr(self.real, name)

        def fail(*_: object) -> None:
            raise error

        return fail


def test_a_read_that_must_write_first_goes_on_when_it_can(connect: Connect) -> None:
    """A client that asks for new keys is answered within the read; nothing more comes that would wake us."""
    line = connect()
    client = Client(line).shake()
    line.tls._tls = Stubborn(line.tls._tls, recv=SSL.WantWriteError())
    client.tls.write(b"NOOP\r\n")
    line.client.sendall(client.outgoing.read())
    line.reactor.readers.clear()  # one event of reading, no more
    line.transport.doRead()
    assert line.protocol.received == []
    line.turn()
    assert line.protocol.received == [b"NOOP\r\n"]


@pytest.mark.parametrize("way", WAYS)
def test_a_write_that_must_read_first_goes_on_with_the_next_octets(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    line.tls._tls = Stubborn(line.tls._tls, send=SSL.WantReadError())
    line.tls.write(b"+OK\r\n")
    assert client.heard() == (b"", False)
    client.say(b"NOOP\r\n")
    assert client.heard() == (b"+OK\r\n", False)


@pytest.mark.parametrize("name", ["do_handshake", "shutdown"])
def test_a_handshake_and_a_close_wait_for_room(connect: Connect, name: str) -> None:
    line = connect()
    line.tls._tls = Stubborn(line.tls._tls, **{name: SSL.WantWriteError()})
    client = Client(line).shake()
    line.tls.write(b"+OK\r\n")
    line.tls.loseConnection()
    assert client.heard() == (b"+OK\r\n", True)
    assert line.reactor.asked_to_write == 1


# Other roads into TLS.


@pytest.mark.parametrize("octets", [1, 100, 1 << 16])
def test_octets_that_somebody_else_has_read_are_taken(connect: Connect, octets: int) -> None:
    """The reader of a PROXY header reads more than the header."""
    line = connect(session())
    client = Client(line)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    hello = client.outgoing.read()
    line.tls.dataReceived(hello[:octets])
    line.send(hello[octets:])
    assert line.transport.producer is not None
    client.shake()
    assert client.heard() == (GREETING, False)
    client.say(b"QUIT\r\n")
    assert client.heard() == (b"+OK signing off\r\n", True)
    client.say_close_notify()
    assert line.gone


@pytest.mark.parametrize("untouched", [True, False])
def test_stls_overtakes_nothing_that_is_unsent(connect: Connect, store: CertificateStore, untouched: bool) -> None:
    line = connect(plain=True)
    line.transport.registerProducer(line.protocol, True)
    line.transport.write(b"+OK begin\r\n")
    if untouched:
        line.turn()
    line.tls = line.protocol.transport = start_tls(line.transport, line.protocol, store, untouched=untouched)
    client = Client(line)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.tls.do_handshake()
    line.client.sendall(client.outgoing.read())  # without waiting for the answer
    data, _ = line.take()
    assert data.startswith(b"+OK begin\r\n")
    client.incoming.write(data.removeprefix(b"+OK begin\r\n"))
    client.shake()
    client.say(b"NOOP\r\n")
    assert line.protocol.received == [b"NOOP\r\n"]
    line.tls.write(b"+OK\r\n")
    assert client.heard() == (b"+OK\r\n", False)


def test_over_a_transport_without_a_socket(store: CertificateStore) -> None:
    tls: Any = TLSFactory(store, Single(Recorder())).buildProtocol(None)
    tls.makeConnection(StringTransport())
    assert tls.fileno() == -1
    assert tls.negotiatedProtocol is None


# What TLS knows of the client.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_sessions_are_resumed(connect: Connect, way: str, version: ssl.TLSVersion) -> None:
    context = standard_context(version)
    first = Client(connect(session(), way=way), context=context).shake()
    assert first.heard() == (GREETING, False)
    second = Client(connect(session(), way=way), context=context, session=first.tls.session).shake()
    assert second.heard() == (GREETING, False)
    assert second.tls.session_reused


@pytest.mark.parametrize("way", WAYS)
def test_the_clients_certificate_and_the_channel_are_known(connect: Connect, tmp_path: Path, way: str) -> None:
    authority = Authority(tmp_path)
    theirs = authority.client()
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(authority.file))
    context = standard_context(NEWEST)
    context.load_cert_chain(theirs.certificate, theirs.key)
    line = connect(way=way, store=store)
    Client(line, context=context).shake().heard()
    known = surroundings(b"h", "cn", line.tls)
    assert known.tls
    assert known.identities == (b"alice",)
    assert len(known.bindings[EXPORTER]) == 32
    assert line.tls.getPeerCertificate() is not None
    assert line.tls.getHandle().get_state_string()


@pytest.mark.parametrize("way", WAYS)
def test_the_protocol_that_was_agreed_on_is_told(connect: Connect, way: str) -> None:
    context = standard_context(NEWEST)
    context.set_alpn_protocols(["pop3"])
    line = connect(way=way)
    assert line.tls.negotiatedProtocol is None
    Client(line, context=context).shake()
    assert line.tls.negotiatedProtocol == b"pop3"


def test_a_number_that_another_connection_has_now_is_never_written_to(connect: Connect) -> None:
    line = connect()
    Client(line).shake()
    number = line.transport.fileno()
    line.client.close()
    line.turn()
    line.transport.connectionLost(_Reason())
    assert line.gone
    pair = socket.socketpair()
    with pair[0], pair[1]:
        ours = next(each for each in pair if each.fileno() != number)
        assert number in {each.fileno() for each in pair}
        ours.setblocking(False)
        for act in (lambda: line.tls.write(b"secret"), line.tls.loseConnection, line.tls.abortConnection):
            act()
        line.transport.doRead()
        line.transport.doWrite()
        with pytest.raises(BlockingIOError):
            ours.recv(100)


class _Reason:
    """A failure that is no abort."""

    value = ConnectionError()

    def check(self, *_: object) -> None:
        return None


def test_tls_within_twisteds_own_tls_stays_in_it(connect: Connect, store: CertificateStore) -> None:
    line = connect(plain=True)
    line.transport.startTLS(store)
    TLSFactory(store, Single(line.protocol)).buildProtocol(None).start(line.transport)
    assert line.transport.doRead.__func__ is tcp.Connection.doRead
