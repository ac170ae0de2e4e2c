"""How TLS begins badly and how it ends: each end is told once, nothing spins, nothing is lost that was owed."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from mailserver.errors import TemporaryFailure
from mailserver.net.places import Dropped, Places
from mailserver.tls.certificate_store import CertificateStore
from mailserver.tls.contexts import NoApplicationProtocol
from tests.net.sessions import LOGIN, make_factory
from tests.net.tls_roads import VERSIONS, WAYS, Client, Line, Recorder
from tests.tls.authority import Authority
from tests.tls.handshakes import standard_context, write_pair

Connect = Callable[..., Line]


def reset(line: Line) -> None:
    """Leave as one who crashed, with a reset over TCP."""
    line.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.client.close()
    line.turn()


# Beginnings.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "said",
    [
        b"USER alice\r\nPASS secret\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\xff\xff" + b"x" * 70_000,
        bytes(100_000),
    ],
    ids=["POP3", "HTTP", "a record too long", "zeros"],
)
def test_what_is_no_tls_ends_without_a_reset_and_is_told(connect: Connect, way: str, said: bytes) -> None:
    line = connect(way=way, family=socket.AF_INET)
    line.client.setblocking(True)
    line.client.sendall(said[:60_000])
    line.client.setblocking(False)
    data, end = line.take()
    (error,) = line.protocol.lost
    assert isinstance(error, SSL.Error)
    assert line.protocol.received == []
    assert line.gone
    assert data[:1] == b"\x15" or said[0] != 0x16  # most versions of OpenSSL alert only who begins as TLS does
    assert end == "end"  # no reset, though not everything was read before the error


@pytest.mark.parametrize("way", WAYS)
def test_a_client_of_another_protocol_hears_why_and_is_told(connect: Connect, way: str) -> None:
    context = standard_context(VERSIONS[1])
    context.set_alpn_protocols(["h2"])
    line = connect(way=way)
    client = Client(line, context=context)
    with pytest.raises(ssl.SSLError, match="no application protocol"):
        client.shake()
    (error,) = line.protocol.lost
    assert isinstance(error, NoApplicationProtocol)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("leave", ["fin", "reset"])
def test_a_client_may_leave_at_any_octet_of_the_handshake(
    connect: Connect, way: str, version: ssl.TLSVersion, leave: str
) -> None:
    for left_at in (0, 1, 5, 100, -1, -2, -40):  # from the end of the first flight, and of the second
        line = connect(way=way, family=socket.AF_INET)
        client = Client(line, version)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.tls.do_handshake()
        flight = client.outgoing.read()
        if left_at in (-2, -40):
            line.send(flight)
            client.incoming.write(line.take()[0])
            with contextlib.suppress(ssl.SSLWantReadError):
                client.tls.do_handshake()
            flight = client.outgoing.read()
        line.send(flight[:left_at])
        if leave == "fin":
            line.client.shutdown(socket.SHUT_WR)
            line.turn()
        else:
            reset(line)
        (error,) = line.protocol.lost
        assert isinstance(error, (ConnectionLost, ConnectionAborted))
        assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_one_who_is_turned_away_is_told_so_after_the_handshake(connect: Connect, way: str) -> None:
    factory = make_factory()
    line = connect(Places().turn_away(factory, TemporaryFailure(b"too many"), 0), way=way)
    client = Client(line).shake()
    data, ended = client.heard()
    assert data.startswith(b"-ERR")
    assert ended
    client.say_close_notify()
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_one_who_is_dropped_hears_nothing(connect: Connect, way: str) -> None:
    line = connect(Dropped(), way=way)
    assert line.take() in {(b"", "end"), (b"", "reset")}
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_a_close_before_the_handshake_without_a_word_is_at_once(connect: Connect, way: str) -> None:
    line = connect(way=way)
    line.tls.loseConnection()
    line.turn()
    assert line.gone
    assert len(line.protocol.lost) == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
def test_one_whose_certificate_is_refused_reads_the_alert(
    connect: Connect, tmp_path: Path, way: str, version: ssl.TLSVersion
) -> None:
    """Its certificate is the first of several records; what is unread at our close must not make it a reset."""
    ours, other = Authority(tmp_path), Authority(tmp_path, "Another CA")
    store = CertificateStore([write_pair(tmp_path, "a", ["localhost"])], client_ca=str(ours.file))
    files = other.client()
    context = standard_context(version)
    context.load_cert_chain(files.certificate, files.key)
    line = connect(store=store, way=way, family=socket.AF_INET)
    client = Client(line, context=context)
    with pytest.raises(ssl.SSLError, match="UNKNOWN_CA"):
        client.shake().heard()
    assert client.end == "end"
    (error,) = line.protocol.lost
    assert isinstance(error, SSL.Error)


# Ends.


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("road", ["close_notify", "fin", "both"])
def test_what_was_asked_for_before_a_half_close_is_still_answered(
    connect: Connect, way: str, version: ssl.TLSVersion, road: str
) -> None:
    line = connect(way=way)
    client = Client(line, version).shake()
    client.say(b"CAPA\r\n")
    if road != "fin":
        client.say_close_notify()
    if road != "close_notify":
        client.say_fin()
    assert line.protocol.received == [b"CAPA\r\n"]
    assert line.protocol.told == ["client done"]
    assert not line.gone
    line.tls.write(b"+OK\r\n")
    assert line.take()[1] == "open"
    line.tls.loseConnection()
    line.turn()
    assert line.gone
    (error,) = line.protocol.lost
    assert isinstance(error, ConnectionDone)


@pytest.mark.parametrize("way", WAYS)
def test_the_answer_to_a_half_closed_client_comes_whole_with_close_notify(connect: Connect, way: str) -> None:
    line = connect(way=way, buffer=10_000)
    client = Client(line).shake()
    client.say_fin()
    line.tls.write(b"x" * 200_000)
    line.tls.loseConnection()
    assert not line.gone
    assert client.heard() == (b"x" * 200_000, True)
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_a_fin_while_octets_still_leave_loses_none(connect: Connect, way: str) -> None:
    line = connect(way=way, buffer=10_000)
    client = Client(line).shake()
    line.tls.write(b"x" * 200_000)
    line.tls.loseConnection()
    line.client.shutdown(socket.SHUT_WR)
    assert client.heard() == (b"x" * 200_000, True)
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_our_close_waits_for_the_clients(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    line.tls.write(b"+OK\r\n")
    line.tls.loseConnection()
    assert client.heard() == (b"+OK\r\n", True)
    assert not line.gone
    with contextlib.suppress(ssl.SSLError):
        client.tls.write(b"NOOP\r\n")  # on its way when it heard ours
    client.carry()
    assert not line.gone
    client.say_close_notify()
    assert line.gone
    (error,) = line.protocol.lost
    assert isinstance(error, ConnectionDone)


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_answers_our_end_with_its_own_alone_is_not_waited_for(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    line.tls.loseConnection()
    client.say_fin()
    assert line.gone
    (error,) = line.protocol.lost
    assert isinstance(error, ConnectionDone)


@pytest.mark.parametrize("way", WAYS)
def test_a_close_waits_until_its_producer_is_done(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    line.tls.registerProducer(line.protocol, True)
    line.tls.loseConnection()
    line.tls.write(b"the last words\r\n")
    assert client.heard() == (b"the last words\r\n", False)
    line.tls.unregisterProducer()
    line.tls.unregisterProducer()
    assert client.heard() == (b"", True)


@pytest.mark.parametrize("way", WAYS)
def test_what_comes_behind_close_notify_is_dropped_and_kept_nowhere(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    client.say_close_notify()
    for _ in range(20):
        line.send(b"\x17\x03\x03\x40\x00" + b"x" * 50_000)
    assert line.protocol.received == []
    assert line.protocol.told == ["client done"]
    assert not line.gone
    assert line.tls.getHandle().pending() == 0
    with pytest.raises(SSL.ZeroReturnError):
        line.tls.getHandle().recv(1)  # nothing was put into OpenSSL, where it would stay
    line.tls.write(b"+OK\r\n")
    line.tls.loseConnection()
    line.turn()
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("road", ["close_notify", "fin"])
def test_a_protocol_without_halves_ends_with_the_client(connect: Connect, way: str, road: str) -> None:
    class Whole(Protocol):
        lost = 0

        def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
            self.lost += 1

    line = connect(Whole(), way=way)
    client = Client(line).shake()
    client.say_close_notify() if road == "close_notify" else client.say_fin()
    assert line.gone
    assert line.protocol.lost == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_has_crashed_is_no_error_of_tls(connect: Connect, way: str) -> None:
    line = connect(way=way, family=socket.AF_INET)
    Client(line).shake()
    line.tls.registerProducer(line.protocol, True)
    reset(line)
    (error,) = line.protocol.lost
    assert isinstance(error, ConnectionLost)
    assert line.protocol.told == ["stop"]
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_a_write_to_a_client_that_has_crashed_is_told_once_and_later(connect: Connect, way: str) -> None:
    line = connect(way=way)
    Client(line).shake()
    line.client.close()
    for _ in range(3):
        line.tls.write(b"+OK\r\n")
    assert line.protocol.lost == []  # no protocol is lost within its own write
    line.turn()
    (error,) = line.protocol.lost
    assert isinstance(error, ConnectionLost)


@pytest.mark.parametrize("way", WAYS)
def test_a_record_that_was_changed_ends_the_connection(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    client.tls.write(b"DELE 1\r\n")
    data = bytearray(client.outgoing.read())
    data[-1] ^= 1
    line.send(bytes(data))
    assert line.protocol.received == []
    (error,) = line.protocol.lost
    assert isinstance(error, SSL.Error)
    assert line.gone


@pytest.mark.parametrize("way", WAYS)
def test_a_client_that_wants_another_handshake_is_refused_and_served(connect: Connect, way: str) -> None:
    line = connect(way=way)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    client = SSL.Connection(context, None)
    client.set_connect_state()

    def shake() -> None:
        for _ in range(4):
            with contextlib.suppress(SSL.WantReadError):
                client.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                line.send(client.bio_read(1 << 16))
            if data := line.take()[0]:
                client.bio_write(data)

    shake()
    client.renegotiate()
    with pytest.raises(SSL.Error, match="no renegotiation"):
        shake()
    assert line.protocol.lost == []
    assert not line.gone


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("unsent", [False, True])
def test_an_abort_says_close_notify_only_to_one_who_has_everything(connect: Connect, way: str, unsent: bool) -> None:
    line = connect(way=way, buffer=10_000)
    client = Client(line).shake()
    if unsent:
        line.tls.write(b"x" * 500_000)
    line.tls.abortConnection()
    line.tls.write(b"too late")
    line.turn()
    assert line.gone
    assert len(line.protocol.lost) == 1
    data, ended = client.heard()
    assert b"too late" not in data
    if way == "socket":  # in memory the octets wait in the transport, and close_notify behind them
        assert ended is not unsent


def test_an_abort_says_no_close_notify_before_what_is_unsent_though_there_is_room(connect: Connect) -> None:
    line = connect()
    client = Client(line).shake()
    line.tls._unsent = b"+OK\r\n"
    line.tls.abortConnection()
    assert client.heard() == (b"", False)


@pytest.mark.parametrize("way", WAYS)
def test_a_creator_may_refuse_the_client(connect: Connect, way: str) -> None:
    line = connect(way=way)
    line.tls.failVerification(Failure(ValueError("not this one")))
    line.turn()
    (error,) = line.protocol.lost
    assert isinstance(error, ValueError)


@pytest.mark.parametrize("way", WAYS)
def test_after_the_end_nothing_happens(connect: Connect, way: str) -> None:
    line = connect(way=way)
    client = Client(line).shake()
    line.tls.loseConnection()
    client.say_close_notify()
    assert line.gone
    line.tls.write(b"x")
    line.tls.loseConnection()
    line.tls.abortConnection()
    line.tls.readConnectionLost()
    late = Recorder()
    line.tls.registerProducer(late, True)
    assert late.told == ["stop"]
    assert line.tls.getHandle() is None
    assert line.tls.negotiatedProtocol is None
    assert not line.tls.connected


@pytest.mark.parametrize("way", WAYS)
def test_a_producer_is_one_that_pushes(connect: Connect, way: str) -> None:
    line = connect(way=way)
    with pytest.raises(TypeError):
        line.tls.registerProducer(line.protocol, False)
    line.tls.registerProducer(line.protocol, True)
    with pytest.raises(RuntimeError):
        line.tls.registerProducer(line.protocol, True)


@pytest.mark.parametrize("way", WAYS)
def test_a_session_that_the_client_ends_by_close_notify_alone_is_closed(connect: Connect, way: str) -> None:
    line = connect(make_factory().buildProtocol(None), way=way)
    client = Client(line).shake()
    client.tls.write(LOGIN + b"NOOP\r\n")
    client.say_close_notify()
    assert line.gone
    assert client.end == "end"
