"""Each of the operators' commands beside a server of four worker processes, to which clients come all the while."""

import json
import os
import pwd
import re
import signal
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mailserver.cli import group
from tests.cli.running import run
from tests.cli.test_main import leaves
from tests.cli.test_operators import Tracing
from tests.dynasty import Dynasty, Load
from tests.rawpop3 import RawPOP3, patient
from tests.servers import Site
from tests.waiting import eventually

WHOEVER = pwd.getpwuid(os.geteuid()).pw_name
WORKERS = 4
CLIENTS, PER_SECOND = 2, 20
GUESTS = [f"guest{number}" for number in range(1, WORKERS + 1)]
MESSAGES = [b"From: Jane <jane@example.org>\nSubject: %d\n\nhello\n" % number for number in range(3)]
OPERATOR = b"-ERR [SYS/TEMP] an operator has ended this session\r\n"
ALL = leaves(group.mailserver, "mailserver")


class Operator:
    """Somebody with a shell on the server's machine, who has MAILSERVER_CONFIG set."""

    def __init__(self, site, server):
        self.site = site
        self.server = server
        self.used = set()

    def __call__(self, *words, status=0, stdin=b"", said=b""):
        """What a command says on standard output, if it ends with this status, and begins so on standard error."""
        self.note(*words)
        told = run(*words, stdin=stdin, MAILSERVER_CONFIG=str(self.server.file))
        assert (told.returncode, told.stderr[: len(said) or None]) == (status, said), (words, told)
        return told.stdout.decode()

    def rows(self, *words, **more):
        return [json.loads(line) for line in self(*words, "--json", **more).splitlines()]

    def note(self, *words):
        self.used |= {"mailserver " + " ".join(words[:count]) for count in (1, 2)} & ALL

    def client(self, name, password=""):
        return patient(self.server.pop3_port, name, password or f"sesame of {name}")

    def refused(self, name, password):
        with RawPOP3(self.server.pop3_port) as client:
            client.ok(b"USER " + name.encode())
            assert client.command(b"PASS " + password.encode()) == b"-ERR [AUTH] authentication failed\r\n"

    @contextmanager
    def alone(self, worker, pids):
        """No other worker process accepts anybody."""
        others = [pid for number, pid in pids.items() if number != worker]
        try:
            for pid in others:
                os.kill(pid, signal.SIGSTOP)
                stat = Path(f"/proc/{pid}/stat")
                eventually(lambda stat=stat: stat.read_text().rpartition(")")[2].split()[0] == "T", self.server.log)
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def operator():
    with Site() as site:
        for name in ("alice", "bob", "carl"):
            site.account(name, messages=MESSAGES if name == "alice" else [])
        for name in (*GUESTS, *(f"user{number}" for number in range(CLIENTS))):
            site.account(name)
        listen = {
            "control": str(site.folder / "control"),
            "lmtp": [f"unix:{site.folder / 'lmtp'}", "tcp:0:interface=127.0.0.1"],
        }
        more = {"delivery": {"delete": "keep 3 days"}, "quota": {"messages": 100}}
        server = Dynasty(site, workers=WORKERS, user=WHOEVER, listen=listen, **more)
        server.start()
        try:
            yield Operator(site, server)
        finally:
            server.end()
        server.check()


def settings_are_checked_and_shown(operator):
    assert operator("check") == "no problem found\n"
    assert operator.rows("check") == []
    assert f"workers = {WORKERS}    # {operator.server.file}:" in operator("config")
    assert {"name": "quota.messages", "value": 100} in [
        {name: row[name] for name in ("name", "value")} for row in operator.rows("config")
    ]


def sessions_of_all_workers_are_shown_and_any_can_be_ended(operator):
    pids = {row["worker"]: row["pid"] for row in operator.rows("status")}
    assert list(pids) == [1, 2, 3, 4]
    with ExitStack() as stack:
        clients = {}
        for number, name in enumerate(GUESTS, 1):
            with operator.alone(number, pids):
                clients[name] = stack.enter_context(operator.client(name))
        shown = {row["user"]: row for row in operator.rows("who") if row["user"] in clients}
        assert [shown[name]["worker"] for name in GUESTS] == [1, 2, 3, 4]
        assert set(GUESTS) <= {line.split()[1] for line in operator("who").splitlines()}
        table = operator("status").splitlines()
        assert [line.split()[:2] for line in table[1:]] == [[str(number), str(pid)] for number, pid in pids.items()]
        held = {row["user"]: row for row in operator.rows("locks", *GUESTS)}
        assert [held[name]["pid"] for name in GUESTS] == list(pids.values())
        assert [row["remedy"] for row in held.values()] == [""] * WORKERS
        assert operator("locks", "guest2").splitlines()[1].split()[:3] == ["guest2", "session", str(pids[2])]
        assert [row["worker"] for row in operator.rows("kick", "guest4")] == [4]
        assert operator("kick", shown["guest3"]["session"]).splitlines()[1].split()[1] == "guest3"
        assert clients["guest4"].rest() == clients["guest3"].rest() == OPERATOR
        clients["guest1"].ok(b"QUIT")
        clients["guest2"].ok(b"QUIT")
        assert operator("kick", "guest3", status=1, said=b"mailserver: guest3: no session is open\n") == ""


def users_come_change_and_go_at_once(operator):
    site = operator.site
    secret = operator("password", "--scheme", "SCRAM-SHA-256", stdin=b"key of newcomer\n").encode()
    assert operator("password", "--try", "-", stdin=secret + b"key of newcomer\n") == "right\n"
    home = site.folder / "mail" / "newcomer"
    (home / "Maildir").mkdir(parents=True)
    operator("user", "add", "newcomer", "--scheme", "SCRAM-SHA-256", "--home", str(home), stdin=b"key of newcomer\n")
    for _ in range(WORKERS):
        operator.client("newcomer", "key of newcomer").quit()
    assert operator("users", "newcomer").splitlines()[1].split()[0] == "newcomer"
    assert {row["user"] for row in operator.rows("users")} == {each.name for each in site.accounts} | {"newcomer"}
    (row,) = operator.rows("user", "set", "newcomer", "--password", "--scheme", "SCRAM-SHA-256", stdin=b"his new key\n")
    assert (row["user"], row["denied"]) == ("newcomer", "")
    for _ in range(WORKERS):
        operator.refused("newcomer", "key of newcomer")
        operator.client("newcomer", "his new key").quit()
    assert operator("explain", "newcomer", "--listener", "pop3").splitlines()[-1].startswith("would be let in")
    assert [row["user"] for row in operator.rows("user", "remove", "newcomer")] == ["newcomer"]
    for _ in range(WORKERS):
        operator.refused("newcomer", "his new key")
    row = operator.rows("explain", "newcomer", "--listener", "pop3", status=1)[-1]
    assert row["verdict"] == "refused"


def failed_logins_are_counted_over_all_workers_and_forgiven_in_all(operator):
    for _ in range(2 * WORKERS):
        operator.refused("mallory", "wrong")
    (row,) = operator.rows("throttle", "list", "mallory")
    assert row["failures"] == 2 * WORKERS
    assert operator("throttle", "list", "127.0.0.1").count("failed logins from there") == 1
    assert operator("throttle", "forget", "mallory").splitlines()[1].split()[1:3] == ["mallory", str(2 * WORKERS)]
    assert operator.rows("throttle", "list", "mallory", status=1) == []
    operator("throttle", "forget", "mallory", status=1, said=b"mailserver: mallory: nobody is held back")


def an_operator_logs_in_and_sees_what_is_said(operator):
    password = operator.site.folder / "password"
    password.write_text("sesame of alice\n")
    where = ("--host", "127.0.0.1", "--port", str(operator.server.pop3_port), "--listener", "pop3")
    login = ("login", "alice", *where, "--tls", "none", "--password-file", str(password))
    with Tracing(operator.site, operator.server, "alice", "--sessions", "1") as tracing:
        operator.note("trace")
        (row,) = operator.rows(*login)
        assert row["messages"] == len(MESSAGES)
        said = [each["text"] for each in tracing.rest() if each["from"] == "C"]
        assert tracing.process.wait(60) == 0
    assert [each for each in said if each != "CAPA"] == ["USER alice", "PASS ***", "STAT", "QUIT"]
    assert any(line.split() == ["messages", "3"] for line in operator(*login).splitlines())


def maildrops_are_looked_at_and_mended_beside_their_sessions(operator):
    with operator.client("alice") as client:
        assert [row["number"] for row in operator.rows("maildrop", "list", "alice")] == [1, 2, 3]
        assert operator("maildrop", "show", "alice", "2").splitlines()[1] == "Subject: 1"
        (row,) = operator.rows("maildrop", "show", "alice", "2")
        assert row["uidl"] in operator("maildrop", "list", "alice").splitlines()[2]
        assert operator("maildrop", "verify", "alice") == "alice: nothing is wrong\n"
        assert operator.rows("maildrop", "verify", "--all")[0] == {"user": "alice", "findings": []}
        for command in (("maildrop", "repair"), ("maildrop", "undelete")):
            words = (*command, "alice")
            told = run(*words, MAILSERVER_CONFIG=str(operator.server.file))
            assert (told.returncode, told.stdout) == (os.EX_TEMPFAIL, b"")
        client.ok(b"DELE 1")
        client.quit()
    assert operator("maildrop", "repair", "alice") == "alice: nothing was wrong\n"
    assert operator.rows("maildrop", "repair", "bob") == [{"user": "bob", "mended": [], "left": []}]
    assert operator.rows("maildrop", "undelete", "alice", "--dry-run")[0]["messages"] == 1
    assert operator("maildrop", "undelete", "alice") == "alice: 1 message came back\n"
    assert operator("quota", "alice").endswith("3 of 100 messages (3.0 %)\n")
    assert operator.rows("quota", "alice")[0]["messages"] == len(MESSAGES)


def mail_comes_goes_and_moves(operator):
    server, site = operator.server, operator.site
    assert operator("deliver", "alice", stdin=MESSAGES[0]) == ""
    with operator.client("alice") as client:
        assert client.ok(b"STAT").startswith(b"+OK 4 ")
        uidls = client.listing(b"UIDL")
        client.quit()
    assert operator("export", "alice", str(site.folder / "one")).startswith("alice: 4 messages")
    (row,) = operator.rows("maildrop", "export", "alice", str(site.folder / "two"))
    assert row["messages"] == len(uidls)
    states = ("--state", str(site.folder / "states"))
    operator("import", f"maildir:{site.folder / 'one'}", "bob", *states)
    operator.rows("migrate", "mail", f"maildir:{site.folder / 'two'}", "carl", *states, said=b"1 user: 4 messages")
    for name in ("bob", "carl"):
        with operator.client(name) as client:
            assert client.listing(b"UIDL") == uidls
            client.quit()
    table = site.folder / "table"
    table.write_text("bob:alice:sesame of alice\n")
    table.chmod(0o600)
    places = ("--old", f"127.0.0.1:{server.pop3_port}?tls=none", "--new", f"maildir:{site.folder / 'mail/bob/Maildir'}")
    (*_, row) = operator.rows("uidl", "compare", *places, "--users", str(table))
    assert row["again"] == 0
    assert operator("uidl", "give-back", "alice", "--to", "dovecot") == "alice: 4 messages, 4 entered\n"
    converted = operator("migrate", "users", "dovecot-users", str(site.users), status=0)
    assert "alice:" in converted
    assert "sesame" not in converted


def other_settings_and_other_processes_serve_from_now_on(operator):
    server = operator.server
    assert operator("reload") == "certificates and users were read again\n"
    server.file.write_text(server.file.read_text().replace("messages = 100", "messages = 200"))
    (row,) = operator.rows("reload")
    assert row["changed"] == ["quota.messages"]
    before = {row["pid"] for row in operator.rows("status")}
    first = server.now
    (pid,) = re.fullmatch(r"process (\d+) serves\n", operator("restart")).groups()
    server.wait_for("restart.done")
    assert server.now == int(pid) != first
    assert not before & {row["pid"] for row in operator.rows("status")}
    server.wait_for_the_end_of(first)
    with operator.client("alice") as client:
        client.ok(b"NOOP")


def test_each_command_works_beside_a_server_with_workers_under_load(operator):
    with Load(operator.server, CLIENTS, PER_SECOND) as load:
        load.goes_on()
        settings_are_checked_and_shown(operator)
        sessions_of_all_workers_are_shown_and_any_can_be_ended(operator)
        users_come_change_and_go_at_once(operator)
        failed_logins_are_counted_over_all_workers_and_forgiven_in_all(operator)
        an_operator_logs_in_and_sees_what_is_said(operator)
        maildrops_are_looked_at_and_mended_beside_their_sessions(operator)
        mail_comes_goes_and_moves(operator)
        other_settings_and_other_processes_serve_from_now_on(operator)
        assert operator("completion", "bash")
        load.goes_on()
    assert load.failures == []
    assert operator.used == ALL
