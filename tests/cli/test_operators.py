"""The commands that ask a running server, as an operator uses them: status, who, kick."""

import json
import os
import re
import signal
import ssl
import stat
from contextlib import ExitStack, suppress

import pytest

from tests.cli.running import begin, run
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site
from tests.waiting import eventually

LARGE = 64 << 20
"""Octets of a message of which a client that does not read leaves most with the server."""


@pytest.fixture(scope="module")
def site():
    with Site() as made:
        made.account("alice", messages=[b"one\n", b"two\n"])
        made.account("bob")
        made.account("carl", messages=[b"0123456789abcde\n" * (LARGE // 16)])
        yield made


def socket_of(site):
    return str(site.folder / "control")


@pytest.fixture(scope="module", params=[1, 3], ids=["alone", "workers"])
def server(request, site):
    with Server(site, "--seen=never", workers=request.param, listen={"control": socket_of(site)}) as running:
        yield running


def asked(site, *arguments):
    return run(*arguments, "--socket", socket_of(site))


def rows(site, *arguments):
    told = asked(site, *arguments, "--json")
    assert told.stderr == b""
    return [json.loads(line) for line in told.stdout.splitlines()]


def test_status_tells_of_each_process(site, server):
    with RawPOP3(server.pop3_port), RawPOP3(server.pop3_port):
        found = rows(site, "status")
        workers = server.settings.get("workers")
        assert sorted(row["worker"] for row in found) == ([0] if workers == 1 else [1, 2, 3])
        assert len({row["pid"] for row in found}) == workers
        assert sum(row["sessions"]["pop3"] for row in found) == 2
        assert all(10_000_000 < row["memory"] < 1_000_000_000 and 0 <= row["seconds"] < 600 for row in found)
        table = asked(site, "status").stdout.decode().splitlines()
    assert table[0].split() == ["WORKER", "PID", "VERSION", "RUNS", "FOR", "MEMORY", "POP3", "POP3S"]
    assert len(table) == 1 + workers


def test_the_settings_in_effect_are_told_with_the_flag_or_the_line_that_sets_each_and_no_secret(site, server):
    found = {row["name"]: row for row in rows(site, "config", "--running")}
    assert found["store.seen"] == {"name": "store.seen", "value": "never", "place": "--seen"}
    assert found["workers"]["value"] == server.settings["workers"]
    assert re.search(r"\.toml:\d+$", found["workers"]["place"])
    assert "limits.connections" not in found
    everything = {row["name"]: row["value"] for row in rows(site, "config", "--running", "--all")}
    assert everything["limits.connections"] == 10000
    text = asked(site, "config", "--running", "--all").stdout
    assert b'store.seen = "never"    # --seen\n' in text
    assert not [secret for secret in site.secrets if secret in text]


def test_who_tells_of_each_session(site, server):
    with ExitStack() as stack:
        alice, bob, _stranger = (stack.enter_context(RawPOP3(server.pop3_port)) for _ in range(3))
        alice.login("alice", "sesame of alice")
        alice.send(b"DELE 1\r\n")
        alice.line()
        bob.login("bob", "sesame of bob")
        found = {row["user"]: row for row in rows(site, "who")}
        assert found.keys() == {"alice", "bob", ""}
        assert (found["alice"]["messages"], found["alice"]["marked"], found["alice"]["retrieved"]) == (2, 1, 0)
        assert (found["bob"]["peer"], found["bob"]["listener"], found["bob"]["tls"]) == ("127.0.0.1", "pop3", False)
        assert "messages" not in found[""]
        assert [row["user"] for row in rows(site, "who", "bob")] == ["bob"]
        assert asked(site, "who", "carol").returncode == 1


@pytest.mark.parametrize("by", ["user", "session"])
def test_kick_ends_the_sessions_that_it_names_and_deletes_nothing(site, server, by):
    with RawPOP3(server.pop3_port) as alice, RawPOP3(server.pop3_port) as bob:
        alice.login("alice", "sesame of alice")
        bob.login("bob", "sesame of bob")
        alice.send(b"DELE 1\r\n")
        assert alice.line().startswith(b"+OK")
        (row,) = rows(site, "who", "alice")
        assert [each["session"] for each in rows(site, "kick", row[by])] == [row["session"]]
        assert alice.rest() == b"-ERR [SYS/TEMP] an operator has ended this session\r\n"
        bob.send(b"NOOP\r\n")
        assert bob.line() == b"+OK\r\n"
    eventually(lambda: any(each["session"] == row["session"] for each in server.told("pop3.session")), server.log)
    (session,) = [each for each in server.told("pop3.session") if each["session"] == row["session"]]
    assert (session["ended"], session["deleted"], session["marked"]) == ("operator", 0, 1)
    expected = ("kick", row[by], os.geteuid())
    names = "question", "name", "uid"
    eventually(
        lambda: any(tuple(map(each.get, names)) == expected for each in server.told("control.asked")), server.log
    )
    assert asked(site, "kick", row["session"]).returncode == 1


def test_a_session_in_tls_is_told_why_it_ends(site, server):
    with RawPOP3(server.pop3s_port, tls=site.client_tls()) as alice:
        alice.login("alice", "sesame of alice")
        (row,) = rows(site, "kick", "alice")
        assert (row["listener"], row["tls"]) == ("pop3s", True)
        assert alice.rest() == b"-ERR [SYS/TEMP] an operator has ended this session\r\n"


@pytest.mark.parametrize("tls", [False, True], ids=["sendfile", "tls"])
def test_a_session_that_is_sent_a_message_ends_within_it(site, server, tls):
    """A reply in the midst of a message would be a part of it."""
    port, context = (server.pop3s_port, site.client_tls()) if tls else (server.pop3_port, None)
    with RawPOP3(port, tls=context) as carl:
        carl.login("carl", "sesame of carl")
        carl.send(b"RETR 1\r\n")
        assert carl.line().startswith(b"+OK")
        (row,) = rows(site, "kick", "carl")
        received = bytearray()
        with suppress(ConnectionError, ssl.SSLError):
            while octets := carl.socket.recv(1 << 20):
                received += octets
        assert len(received) < LARGE
        assert b"operator" not in received
    eventually(lambda: any(each["session"] == row["session"] for each in server.told("pop3.session")), server.log)
    (session,) = [each for each in server.told("pop3.session") if each["session"] == row["session"]]
    assert (session["ended"], session["retrieved"]) == ("operator", 0)
    with RawPOP3(server.pop3_port) as carl:  # and the maildrop is free
        carl.login("carl", "sesame of carl")


def refused(server, name):
    with RawPOP3(server.pop3_port) as client:
        client.send(b"USER %b\r\nPASS wrong\r\n" % name.encode())
        assert client.line().startswith(b"+OK")
        assert client.line() == b"-ERR [AUTH] authentication failed\r\n"


def test_failed_logins_are_told_and_forgotten_in_all_processes(site, server):
    for _ in range(4):  # in whichever process
        refused(server, "mallory")
    (told,) = rows(site, "throttle", "list", "mallory")
    assert (told["kind"], told["user"], told["failures"], told["waiting"]) == ("user", "mallory", 4, 0)
    table = asked(site, "throttle", "list").stdout.decode()
    assert re.search(
        r"(?m)^ *- +mallory +4 +\d+ s ago +- +- +failed logins as this user from places that are new to him$", table
    )
    assert [row["failures"] for row in rows(site, "throttle", "forget", "mallory")] == [4]
    assert asked(site, "throttle", "list", "mallory").returncode == 1
    assert asked(site, "throttle", "forget", "mallory").returncode == 1
    refused(server, "mallory")
    assert [row["failures"] for row in rows(site, "throttle", "list", "mallory")] == [1]
    assert rows(site, "throttle", "forget", "127.0.0.0/8")
    expected = ("throttle forget", "127.0.0.0/8", os.geteuid())
    names = "question", "name", "uid"
    eventually(
        lambda: any(tuple(map(each.get, names)) == expected for each in server.told("control.asked")), server.log
    )


class Tracing:
    """The command beside the test, once it follows in all processes."""

    def __init__(self, site, server, *arguments):
        self.words = ["trace", *arguments, "--json", "--socket", socket_of(site)]
        self._processes = server.settings["workers"]

    def __enter__(self):
        self.process = begin(*self.words)
        for _ in range(self._processes):
            assert json.loads(self.process.stdout.readline())["text"].startswith("follows ")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()

    def rest(self):
        return [json.loads(line) for line in self.process.stdout.read().splitlines()]


def test_the_dialogs_of_a_user_are_shown_whichever_process_has_them_and_no_other(site, server):
    with Tracing(site, server, "alice", "--sessions", "4") as tracing:
        with ExitStack() as stack:
            for name in ["bob", *["alice"] * 4]:
                client = stack.enter_context(RawPOP3(server.pop3_port))
                client.login(name, f"sesame of {name}")
                client.fetch(b"UIDL")
                client.ok(b"QUIT")
        told = tracing.rest()
        assert tracing.process.wait(60) == os.EX_OK
        assert tracing.process.stderr.read().startswith(b"mailserver: what is said is shown from now on")
    assert len({row["session"] for row in told}) == 4
    for session in {row["session"] for row in told}:
        said = [(row["from"], row["text"]) for row in told if row["session"] == session]
        assert said[0] == ("-", "pop3 from 127.0.0.1")
        assert [text for side, text in said if side == "C"] == ["USER alice", "PASS ***", "UIDL", "QUIT"]
        assert said[-1][1].startswith("ended by QUIT after ")
    assert "sesame" not in str(told)
    assert "bob" not in str(told)
    eventually(lambda: any(each["question"] == "trace" for each in server.told("control.asked")), server.log)


def test_what_is_said_over_tls_is_shown_until_the_operator_goes(site, server):
    with Tracing(site, server, "127.0.0.1") as tracing, RawPOP3(server.pop3s_port, tls=site.client_tls()) as alice:
        alice.login("alice", "sesame of alice")
        for expected in (
            "pop3s from 127.0.0.1, TLS",
            "+OK ",
            "USER ***",
            "+OK",
            "PASS ***",
            "logged in as alice",
            "+OK maildrop has ",
        ):
            assert json.loads(tracing.process.stdout.readline())["text"].startswith(expected)
        tracing.process.send_signal(signal.SIGINT)
        assert tracing.process.wait(60) == os.EX_OK
        alice.ok(b"NOOP")


def test_a_worker_that_hangs_is_named_and_the_others_answer():
    with Site() as site, Server(site, workers=3, listen={"control": socket_of(site)}):
        found = {row["worker"]: row["pid"] for row in rows(site, "status")}
        os.kill(found[2], signal.SIGSTOP)
        try:
            told = asked(site, "status", "--json")
        finally:
            os.kill(found[2], signal.SIGCONT)
    assert told.returncode == os.EX_TEMPFAIL
    assert told.stderr == b"mailserver: worker 2 does not answer: its part is missing\n"
    assert {json.loads(line)["worker"] for line in told.stdout.splitlines()} == {1, 3}


def test_the_socket_is_for_its_owner_alone(site, server):
    for path in site.folder.glob("control*"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_socket_without_a_server_is_told_with_the_remedy(site, tmp_path):
    told = run("status", "--socket", str(tmp_path / "control"))
    assert told.returncode == os.EX_UNAVAILABLE
    assert re.fullmatch(rb"mailserver: \S+/control: nobody serves there: is the server started, .*\n", told.stderr)


def test_no_socket_is_left_behind(site):
    with Server(site, workers=2, listen={"control": str(site.folder / "other")}):
        assert len(list(site.folder.glob("other*"))) == 3
    assert not list(site.folder.glob("other*"))
