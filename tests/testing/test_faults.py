"""What goes wrong when a test wants it, as a client sees it."""

from __future__ import annotations

import contextlib
import poplib
import socket
import ssl
import time
from contextlib import closing
from functools import partial

import pytest
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse

from mailserver.store import MaildirStore
from mailserver.testing import Controller
from tests.rawpop3 import RawPOP3

MESSAGE = b"Subject: long\r\n\r\n" + b"0123456789\r\n" * 20_000


@pytest.fixture(params=[False, True], ids=["pop3", "pop3s"])
def server(request):
    with Controller(tls=request.param) as server:
        server.user("alice", "wonderland", [b"Subject: one\r\n\r\nfirst\r\n", MESSAGE])
        yield server


@contextlib.contextmanager
def connected(server):
    with RawPOP3(server.port, tls=server.client_context if server.tls else None, seconds=20) as client:
        yield client


@contextlib.contextmanager
def logged_in(server):
    with connected(server) as client:
        client.ok(b"USER alice")
        client.ok(b"PASS wonderland")
        yield client


def test_a_reply_is_what_a_test_wants_as_often_as_it_wants(server):
    server.faults.answer("retr", "-ERR [SYS/TEMP] try later", times=2)
    server.faults.answer("RETR", b"+OK no message\r\n.\r\n", times=1)
    with logged_in(server) as client:
        assert [client.command(b"RETR 1") for _ in range(2)] == [b"-ERR [SYS/TEMP] try later\r\n"] * 2
        assert client.fetch(b"RETR 1") == b""
        assert client.fetch(b"RETR 1") == b"Subject: one\r\n\r\nfirst\r\n"
    assert server.sessions[0].retrieved == [1]


def test_pipelined_commands_keep_their_order(server):
    server.faults.answer("LIST", "-ERR no list")
    server.faults.slow("STAT", 0.01)
    with logged_in(server) as client:
        client.send(b"NOOP\r\nSTAT\r\nLIST\r\nNOOP\r\nQUIT\r\n")
        assert client.rest().splitlines()[1:3] == [b"+OK 2 240040", b"-ERR no list"]


def test_a_reply_may_be_the_last(server):
    server.faults.answer("STAT", "-ERR [SYS/TEMP] going down", close=True)
    with logged_in(server) as client:
        client.send(b"STAT\r\nNOOP\r\n")
        assert client.rest() == b"-ERR [SYS/TEMP] going down\r\n"


@pytest.mark.parametrize("after", [0, 1, 30, 200_000])
def test_a_message_ends_in_the_middle_with_its_connection(server, after):
    server.faults.cut("RETR", after=after, times=1)
    with logged_in(server) as client:
        client.send(b"RETR 2\r\n")
        assert client.rest() == (b"+OK %d octets\r\n" % len(MESSAGE) + MESSAGE)[:after]
    with logged_in(server) as client:
        assert client.fetch(b"RETR 2") == MESSAGE


def test_a_message_is_retrieved_when_its_last_octet_has_left(server):
    whole = len(b"+OK 23 octets\r\nSubject: one\r\n\r\nfirst\r\n.\r\n")
    for after in (whole - 1, whole):
        server.faults.cut("RETR", after=after, times=1)
        with logged_in(server) as client:
            client.send(b"RETR 1\r\nRETR 2\r\n")
            assert len(client.rest()) == after
    server.settle()
    assert [each.retrieved for each in server.sessions] == [[], [1]]


def test_a_message_in_pieces_is_not_retrieved_before_the_last_one(server):
    server.faults.slow("RETR", 0.001, octets=20)
    with logged_in(server) as client:
        client.send(b"RETR 2\r\n")
        assert client.line() == b"+OK %d octets\r\n" % len(MESSAGE)
    server.settle()
    assert server.sessions[0].retrieved == []


def test_tls_begins_after_the_last_piece_of_the_reply_to_stls():
    with Controller() as server:
        server.user("alice", "wonderland")
        server.faults.slow("greeting", 0.001, octets=7)
        with closing(poplib.POP3("localhost", server.port, timeout=20)) as client:
            client.stls(server.client_context)
            client.user("alice")
            client.pass_("wonderland")
        assert server.sessions[0].verbs == ["CAPA", "STLS", "USER", "PASS"]


def test_nothing_runs_after_a_cut(server):
    server.faults.cut("RETR", after=30)
    with logged_in(server) as client:
        client.send(b"DELE 1\r\nRETR 2\r\nQUIT\r\n")
        assert client.rest().startswith(b"+OK message 1 deleted\r\n+OK 240017 octets\r\n")
    server.settle()
    assert (server.sessions[0].verbs[-1], server.sessions[0].deleted) == ("RETR", [])


def test_a_message_that_the_kernel_would_send_ends_in_the_middle_as_well(tmp_path):
    """A store of one's own may have bodies with descriptors."""
    (tmp_path / "alice/new").mkdir(parents=True)
    (tmp_path / "alice/new/1700000000.1.host").write_bytes(MESSAGE)
    checker = InMemoryUsernamePasswordDatabaseDontUse(alice=b"wonderland")
    with Controller(checkers=[checker], store=partial(MaildirStore, f"{tmp_path}/{{user}}")) as server:
        for after in (100_000, None):
            with logged_in(server) as client:
                client.ok(b"UIDL")
                client.body()
                if after:
                    server.faults.cut("RETR", after=after, times=1)
                client.send(b"RETR 1\r\n")
                if after:
                    assert len(client.rest()) == after
                else:
                    client.line()
                    assert client.body() == MESSAGE
            server.settle()
    assert server.sessions[1].retrieved == [1]


def test_the_connection_may_end_by_a_reset(server):
    server.faults.cut("RETR", after=10, reset=True)
    with logged_in(server) as client:
        client.send(b"RETR 2\r\n")
        # Python's ssl may call the same an end of the file.
        with contextlib.suppress(ConnectionResetError) if server.tls else pytest.raises(ConnectionResetError):
            client.rest()


def test_a_quit_whose_answer_is_lost_has_removed_the_messages(server):
    server.faults.cut("QUIT")
    with logged_in(server) as client:
        client.ok(b"DELE 1")
        client.send(b"QUIT\r\n")
        assert client.rest() == b""
    assert server.sessions[0].deleted == [1]


def test_a_quit_that_is_not_read_has_removed_nothing(server):
    server.faults.drop("QUIT")
    with logged_in(server) as client:
        client.ok(b"DELE 1")
        client.send(b"QUIT\r\n")
        assert client.rest() == b""
    server.settle()
    assert server.sessions[0].deleted == []
    assert server.sessions[0].ended == "a fault that a test wants"
    with logged_in(server) as client:
        assert client.ok(b"STAT").startswith(b"+OK 2 ")


def test_a_command_may_never_be_answered(server):
    server.faults.hang("STAT")
    with logged_in(server) as client:
        client.send(b"STAT\r\nNOOP\r\n")
        client.socket.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.line()
    server.settle()
    assert server.sessions[0].commands[-1] == "STAT"


def test_a_reply_may_come_late_and_in_pieces(server):
    server.faults.slow("RETR", 0.003, octets=5, times=1)
    with logged_in(server) as client:
        began = time.monotonic()
        assert client.fetch(b"RETR 1") == b"Subject: one\r\n\r\nfirst\r\n"
        assert time.monotonic() - began >= 7 * 0.003  # 42 octets
        client.send(b"QUIT\r\n")
        assert client.rest() == b"+OK signing off\r\n"


def test_a_late_command_may_be_refused_as_any(server):
    server.faults.slow("RETR", 0.001)
    with logged_in(server) as client:
        assert client.command(b"RETR 7") == b"-ERR no such message\r\n"
        assert client.fetch(b"RETR 1") == b"Subject: one\r\n\r\nfirst\r\n"


def test_the_greeting_may_be_a_refusal(server):
    server.faults.answer("greeting", "-ERR [SYS/TEMP] too busy", times=1)
    with connected(server) as client:
        assert client.greeting == b"-ERR [SYS/TEMP] too busy\r\n"
        assert client.rest() == b""
    with logged_in(server):
        pass


def test_the_greeting_may_be_missing(server):
    server.faults.drop("greeting", times=1)
    with contextlib.suppress(ConnectionResetError), socket.create_connection((server.host, server.port), 20) as client:
        assert client.recv(100) == b""
    server.faults.slow("greeting", 0.01)
    with connected(server) as client:
        assert client.greeting.startswith(b"+OK POP3 server ready <")


@pytest.mark.parametrize("code", ["AUTH", "IN-USE", "LOGIN-DELAY", "SYS/PERM", "SYS/TEMP"])
@pytest.mark.parametrize("login", ["PASS wonderland", "AUTH PLAIN AGFsaWNlAHdvbmRlcmxhbmQ="])
def test_a_login_is_refused_with_a_code_by_whatever_mechanism(server, code, login):
    server.faults.refuse_login(code, times=1)
    with connected(server) as client:
        client.ok(b"USER alice")
        assert client.command(login.encode()).startswith(b"-ERR [%b] " % code.encode())
        assert server.sessions[0].user is None
    with logged_in(server):
        pass


def test_capabilities_may_be_missing_with_their_commands(server):
    server.faults.hide("UIDL", "sasl", "STLS", "PIPELINING", "APOP")
    with connected(server) as client:
        assert b"<" not in client.greeting
        assert client.fetch(b"CAPA").splitlines() == [b"USER", b"TOP", b"RESP-CODES", b"AUTH-RESP-CODE"]
        assert client.command(b"AUTH PLAIN") == b"-ERR unknown command\r\n"
        assert client.command(b"STLS") == b"-ERR unknown command\r\n"
        client.ok(b"USER alice")
        client.ok(b"PASS wonderland")
        assert client.command(b"UIDL") == b"-ERR unknown command\r\n"
        server.faults.clear()
        client.fetch(b"UIDL")


@pytest.mark.parametrize(
    ("ask", "error"),
    [
        (lambda faults: faults.answer("STLS", "-ERR not now"), poplib.error_proto),
        (lambda faults: faults.hide("STLS"), poplib.error_proto),
        (lambda faults: faults.answer("STLS", "+OK and then none"), ssl.SSLError),
        (lambda faults: faults.drop("STLS"), (poplib.error_proto, OSError)),
    ],
    ids=["refused", "hidden", "no TLS", "closed"],
)
def test_stls_may_fail(ask, error):
    with Controller() as server:
        ask(server.faults)
        client = poplib.POP3("localhost", server.port, timeout=20)
        with closing(client.sock), closing(client.file), pytest.raises(error):
            client.stls(server.client_context)


def test_what_cannot_be_meant_is_an_error():
    faults = Controller().faults
    with pytest.raises(ValueError, match="not with 'BUSY'"):
        faults.refuse_login("BUSY")
    with pytest.raises(ValueError, match="not 0 times"):
        faults.hang("RETR", times=0)
    for command in ("", "RETR 1", "RETR\r\n"):
        with pytest.raises(ValueError, match="is no command's name"):
            faults.drop(command)
    for ask in (
        lambda: faults.cut("RETR", after=-1),
        lambda: faults.slow("RETR", -0.1),
        lambda: faults.slow("RETR", float("nan")),
        lambda: faults.slow("RETR", 1, octets=-1),
    ):
        with pytest.raises(ValueError, match="neither octets nor seconds are below 0"):
            ask()
