"""The server in a thread: its life, its users, what it notes, and that it leaves the process as it was."""

from __future__ import annotations

import asyncio
import gc
import os
import poplib
import socket
import ssl
import subprocess
import sys
import threading
import weakref
from base64 import b64encode
from contextlib import closing, contextmanager, suppress
from email.message import EmailMessage
from pathlib import Path

import pytest
from twisted.internet.defer import fail, succeed
from zope.interface import implementer

from mailserver.interfaces import IPart
from mailserver.testing import Certificate, ClientSession, Controller
from tests.rawpop3 import RawPOP3

ROOT = str(Path(__file__).parents[2])


def login(server: Controller, name: str = "alice", password: str = "wonderland") -> poplib.POP3:
    client = poplib.POP3(server.host, server.port, timeout=30)
    client.user(name)
    client.pass_(password)
    return client


@pytest.fixture
def server():
    with Controller() as server:
        yield server


def test_a_client_reads_and_deletes_what_the_test_has_put_in(server):
    alice = server.user("alice", "wonderland", ["Subject: one\n\nfirst\n", b"Subject: two\r\n\r\n.second\r\n"])
    client = login(server)
    assert client.stat() == (2, 48)
    assert client.retr(2)[1] == [b"Subject: two", b"", b".second"]
    client.dele(1)
    assert len(alice.messages) == 2
    client.quit()
    assert alice.contents == [b"Subject: two\r\n\r\n.second\r\n"]
    assert [each.uidl for each in alice.messages] == ["00000002"]


def test_a_message_may_be_one_of_the_standard_librarys(server):
    message = EmailMessage()
    message["Subject"] = "hello"
    message.set_content("from a test\n")
    server.user("alice", "wonderland", [message])
    with closing(login(server)) as client:
        assert b"Subject: hello" in client.retr(1)[1]


def test_what_clients_did_is_noted_without_their_secrets(server):
    server.user("alice", "wonderland", ["one", "two"])
    plain = b64encode(b"\0alice\0wonderland")
    with RawPOP3(server.port) as client:
        for line in (b"USER alice", b"PASS wrong horse", b"AUTH PLAIN " + plain):
            client.command(line)
        client.send(b"\r\n".join([b"RETR 2", b"dele 1", b"XTND secret", plain, b"QUIT", b""]))
        client.rest()
    assert server.sessions == [
        ClientSession(
            user="alice",
            commands=["USER alice", "PASS *", "AUTH PLAIN *", "RETR 2", "dele 1", "XTND *", "*", "QUIT"],
            retrieved=[2],
            deleted=[1],
            ended="QUIT",
        )
    ]
    assert server.sessions[0].verbs[-2:] == ["*", "QUIT"]


def test_an_apop_digest_is_noted_as_none(server):
    server.user("alice", "wonderland")
    with closing(poplib.POP3(server.host, server.port, timeout=30)) as client:
        client.apop("alice", "wonderland")
    assert server.sessions[0].commands == ["APOP alice *"]


def test_a_session_that_ends_without_quit_is_waited_for(server):
    server.user("alice", "wonderland", ["one"])
    client = login(server)
    client.dele(1)
    client.close()
    server.settle()
    assert (server.sessions[0].ended, server.sessions[0].deleted) == ("client's close", [])


def test_one_that_does_not_end_is_named_in_an_error(server):
    error = pytest.raises(TimeoutError, match=r"^sessions still open after 0\.01 s: 1$")
    with closing(poplib.POP3(server.host, server.port, timeout=30)), error:
        server.settle(0.01)
    server.settle()


def test_wrong_passwords_delay_nobody(server):
    server.user("alice", "wonderland")
    for _ in range(20):
        with closing(poplib.POP3(server.host, server.port, timeout=5)) as client:
            client.user("alice")
            with pytest.raises(poplib.error_proto, match=r"\[AUTH\]"):
                client.pass_("wrong")
    with closing(login(server)):
        pass


def test_a_token_logs_in(server):
    server.user("alice", "wonderland", token="ya29.secret")
    for token, answer in (("ya29.secret", b"+OK"), ("ya29.other", b"+ ")):
        with RawPOP3(server.port) as client:
            response = b64encode(f"user=alice\1auth=Bearer {token}\1\1".encode())
            assert client.command(b"AUTH XOAUTH2 " + response).startswith(answer)
    assert server.sessions[0].commands == ["AUTH XOAUTH2 *"]


def test_stls_is_offered_and_noted(server):
    server.user("alice", "wonderland")
    with closing(poplib.POP3("localhost", server.port, timeout=30)) as client:
        client.stls(server.client_context)
        client.user("alice")
        client.pass_("wonderland")
        assert server.sessions[0].tls


def test_without_cleartext_a_password_needs_stls():
    with Controller(cleartext=False) as server:
        server.user("alice", "wonderland")
        with closing(poplib.POP3("localhost", server.port, timeout=30)) as client:
            with pytest.raises(poplib.error_proto, match="STLS first"):
                client.user("alice")
            client.stls(server.client_context)
            client.user("alice")
            client.pass_("wonderland")


def test_mechanisms_are_those_that_a_test_wants():
    with (
        Controller(mechanisms=["scram-sha-256"]) as server,
        closing(poplib.POP3(server.host, server.port, timeout=30)) as client,
    ):
        assert client.capa()["SASL"] == ["SCRAM-SHA-256"]


def test_a_pop3s_server_has_a_certificate_that_its_context_alone_trusts():
    with Controller(tls=True) as server:
        alice = server.user("alice", "wonderland", ["one"])
        with closing(poplib.POP3_SSL(server.host, server.port, context=server.client_context, timeout=30)) as client:
            client.user("alice")
            client.pass_("wonderland")
            client.dele(1)
            client.quit()
        assert alice.messages == []
        assert server.sessions[0].tls
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            poplib.POP3_SSL(server.host, server.port, context=ssl.create_default_context(), timeout=30)


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [(Certificate(expired=True), "expired"), (Certificate(["elsewhere.example"]), "IP address mismatch")],
    ids=["expired", "another's"],
)
def test_a_certificate_may_be_one_that_clients_must_refuse(certificate, reason):
    refused = pytest.raises(ssl.SSLCertVerificationError, match=reason)
    with Controller(tls=True, certificate=certificate) as server, refused:
        poplib.POP3_SSL(server.host, server.port, context=server.client_context, timeout=30)


def test_a_maildrop_that_another_holds_is_in_use(server):
    alice = server.user("alice", "wonderland")
    with alice.in_use(), closing(poplib.POP3(server.host, server.port, timeout=30)) as client:
        client.user("alice")
        with pytest.raises(poplib.error_proto, match=r"\[IN-USE\]"):
            client.pass_("wonderland")
    with closing(login(server)), pytest.raises(Exception, match="held by"), alice.in_use():
        pass


def test_mail_that_comes_during_a_session_is_not_seen_by_it(server):
    alice = server.user("alice", "wonderland")
    with closing(login(server)) as client:
        alice.add("late")
        assert client.stat() == (0, 0)
        client.quit()
    with closing(login(server)) as client:
        assert client.stat() == (1, 6)
        alice.clear()
        with pytest.raises(poplib.error_proto, match="no longer available"):
            client.retr(1)


def test_a_password_may_change(server):
    alice = server.user("alice", "wonderland")
    alice.password = "changed"
    with closing(login(server, password="changed")):
        pass


def test_a_user_is_added_once(server):
    server.user("alice", "wonderland")
    with pytest.raises(ValueError, match="there is a user 'alice' already"):
        server.user("alice", "wonderland")


def test_what_is_told_of_a_message_may_be_wrong(server):
    alice = server.user("alice", "wonderland")
    one = alice.add("one\n", uidl="same")
    alice.add("two\n", uidl="same", octets=4000)
    with closing(login(server)) as client:
        assert client.uidl()[1] == [b"1 same", b"2 same"]
        assert client.list()[1] == [b"1 5", b"2 4000"]
        assert client.retr(2) == (b"+OK 4000 octets", [b"two"], 5)
        client.dele(2)
        client.quit()
    one.uidl = "no valid unique-id " + "x" * 70
    assert alice.messages == [one]
    with closing(login(server)) as client:
        assert client.uidl(1) == b"+OK 1 " + one.uidl.encode()


def test_it_starts_again_with_what_it_had():
    server = Controller()
    alice = server.user("alice", "wonderland", ["before the start"])
    assert repr(server) == "<Controller of POP3, stopped>"
    for count in (1, 2):
        with server:
            assert str(server.port) in repr(server)
            assert len(server.sessions) == count - 1
            login(server).quit()
    assert len(alice.messages) == 1


def test_a_reset_leaves_nothing_of_the_test_before(server):
    server.user("alice", "wonderland", ["one"])
    server.faults.answer("STAT", "-ERR no")
    left_open = login(server)
    server.reset()
    assert server.sessions == []
    with pytest.raises((poplib.error_proto, OSError)):
        left_open.noop()
    left_open.close()
    server.user("alice", "wonderland")
    with closing(login(server)) as client:
        assert client.stat() == (0, 0)


def test_it_stops_though_sessions_are_open(server):
    client = login(server) if server.user("alice", "wonderland") else None
    server.stop()
    server.stop()
    assert server.sessions[0].ended == "server stop"
    assert server.port == 0
    with pytest.raises((poplib.error_proto, OSError)):
        client.noop()
    client.close()


def test_it_runs_once_at_a_time(server):
    with pytest.raises(RuntimeError, match="runs already"):
        server.start()


def test_nobody_but_this_machine_reaches_it(server):
    assert server.host == "127.0.0.1"
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        assert client.recv(3) == b"+OK"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.2", server.port)):
        pass


def test_neither_threads_nor_descriptors_nor_servers_are_left():
    def once():
        with Controller(tls=True) as server:
            server.user("alice", "wonderland")
            client = poplib.POP3_SSL(server.host, server.port, context=server.client_context, timeout=30)
            client.quit()
            gone.append(weakref.ref(server))

    gone = []
    once()  # what is made once for all servers
    gc.collect()
    threads, descriptors = threading.active_count(), len([*Path("/proc/self/fd").iterdir()])
    for _ in range(10):
        once()
    gc.collect()
    assert (threading.active_count(), len([*Path("/proc/self/fd").iterdir()])) == (threads, descriptors)
    assert [each() for each in gone] == [None] * 11


PROGRAM = """
import poplib, sys
from mailserver.testing import Controller
for tls in (False, True):
    server = Controller(tls=tls)
    server.start()
    server.user("alice", "wonderland")
    if tls:
        client = poplib.POP3_SSL(server.host, server.port, context=server.client_context, timeout=30)
    else:
        client = poplib.POP3(server.host, server.port, timeout=30)
        client.stls(server.client_context)
    client.user("alice"), client.pass_("wonderland")
assert "twisted.internet.reactor" not in sys.modules, "it has installed a reactor"
assert not {"pytest", "hypothesis"} & sys.modules.keys()
from twisted.python import threadable
assert threadable.ioThread is None
print("served")  # and it ends, though nobody has stopped the servers, nor closed the last connection
"""


def test_the_process_keeps_its_choice_of_a_reactor_and_ends_without_a_stop():
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "served\n", "")


def test_who_is_in_its_thread_cannot_wait_for_it_and_after_a_fork_there_is_none(server):
    with pytest.raises(RuntimeError, match="cannot wait for itself"):
        server._thread.call(server.settle)
    pid = os.fork()
    if not pid:
        try:
            server.user("alice", "wonderland").add("one")
        except RuntimeError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_clients_of_asyncio_are_served_beside_its_loop(server):
    async def stat() -> list[bytes]:
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(b"USER alice\r\nPASS wonderland\r\nSTAT\r\nQUIT\r\n")
        lines = (await reader.read()).splitlines()
        writer.close()
        await writer.wait_closed()
        return lines

    server.user("alice", "wonderland", ["one"])
    assert asyncio.run(stat())[3:] == [b"+OK 1 5", b"+OK signing off"]


def test_a_part_that_cannot_start_leaves_nothing_running():
    from mailserver.auth import PasswordFile

    threads = threading.active_count()
    with pytest.raises(Exception, match="/nowhere"), Controller(checkers=[PasswordFile("/nowhere")]):
        pass
    assert threading.active_count() == threads


def test_parts_that_have_started_are_stopped_when_another_cannot():
    told = []

    @implementer(IPart)
    class Part:
        def __init__(self, name, *, fails=()):
            self.name, self.fails = name, fails
            self.credentialInterfaces = ()

        def __getattr__(self, verb):
            def act(*_):
                told.append(f"{verb} {self.name}")
                return fail(OSError(f"no {verb}")) if verb in self.fails else succeed(None)

            return act

    for late in ({"mechanisms": ["NONE"]}, {"checkers": [Part("a"), Part("b", fails=["start"])]}):
        with pytest.raises((OSError, ValueError), match=r"no start|NONE"):
            Controller(**{"checkers": [Part("a")], **late}).start()
    assert told == ["start a", "stop a", "start a", "start b", "stop a"]
    told.clear()
    with pytest.raises(OSError, match="no stop"), Controller(checkers=[Part("a"), Part("b", fails=["stop"])]):
        pass
    assert told == ["start a", "start b", "stop b", "stop a"]


def test_before_its_start_and_after_its_stop_there_is_nothing_to_wait_for():
    server = Controller()
    server.settle()
    with server:
        pass
    server.settle()
    server.reset()


@contextmanager
def unseen(server, act):
    """A client whose connection waits to be accepted, since the server is busy, when `act` comes to its turn; gives what follows it."""
    reactor, clients, seen = server._thread.reactor, [], []
    busy, begin, told = threading.Event(), threading.Event(), threading.Event()
    reactor.callFromThread(lambda: (busy.set(), begin.wait(30)))
    assert busy.wait(30)
    reactor.callFromThread(lambda: clients.append(socket.create_connection((server.host, server.port), 5)))
    acting = threading.Thread(target=lambda: (act(), seen.extend(server.sessions), told.set()))
    acting.start()
    while len(reactor.threadCallQueue) < 3:  # the first one stays in it while it runs; the others are of the next turn
        acting.join(0.001)
    reactor.callFromThread(told.wait, 0.05)
    begin.set()
    while not clients:
        acting.join(0.001)
    with closing(clients[0]) as client:
        yield client
    acting.join()
    assert seen == server.sessions


def test_a_client_whom_the_server_has_not_seen_yet_is_waited_for(server):
    with unseen(server, server.settle) as client:
        client.close()
    assert [each.ended for each in server.sessions] == ["client's close"]


def test_a_client_whom_the_server_has_not_seen_yet_does_not_come_after_a_reset(server):
    with unseen(server, server.reset) as client, suppress(ConnectionResetError):
        while client.recv(1000):
            pass
    assert server.sessions == []


def test_users_of_a_checker_and_mail_of_a_store_of_ones_own_are_served(tmp_path):
    from mailserver.auth import PasswordFile
    from mailserver.store import MemoryStore

    users = tmp_path / "users"
    users.write_text("bob:{PLAIN}builder\n")
    store = MemoryStore({"bob": [b"one\r\n"]})
    with Controller(checkers=[PasswordFile(str(users))], store=store) as server:
        server.user("alice", "wonderland")
        with closing(login(server)) as client:
            assert client.stat() == (0, 0)
        with closing(login(server, "bob", "builder")) as client:
            assert client.stat() == (1, 5)
