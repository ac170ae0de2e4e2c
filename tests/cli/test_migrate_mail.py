"""``mailserver migrate mail`` beside the server."""

import fcntl
import json
import os
import pty
import pwd
import shutil
import signal
import subprocess
import threading
from contextlib import suppress

import pytest

from tests.cli.running import COMMAND, environment, run
from tests.cli.test_quota import ROOT_ALONE, WHOEVER, settings
from tests.migration.old_servers import Pop3, serving, stuffed
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site


@pytest.fixture
def site():
    with Site() as made:
        (made.folder / "old").mkdir()
        yield made


def mbox(site, name, *bodies, first=1):
    """An mbox as qpopper leaves it."""
    text = "".join(
        f"From a@example.org Fri Jul 14 02:40:{n:02} 2017\nX-UIDL: {name}-{n:06}\nSubject: {n}\n\n{body}\n\n"
        for n, body in enumerate(bodies, first)
    )
    path = site.folder / "old" / name
    path.write_text(text)
    return path


def source(site):
    return f"mbox:{site.folder}/old/{{user}}?uidl=qpopper"


def migrate(site, *arguments, **more):
    state = ("--state", str(site.folder / "states"))
    return run("migrate", "mail", *settings(site), source(site), *state, *arguments, **more)


def listing(server, account):
    with RawPOP3(server.pop3_port) as client:
        client.login(account.name, account.password)
        found = [uidl for _, uidl in client.listing(b"UIDL")]
        client.quit()
    return found


def test_users_mail_moves_with_its_unique_ids_and_only_once(site):
    alice, bob = site.account("alice"), site.account("bob")
    mbox(site, "alice", "one", "two", "three")
    mbox(site, "robert", "uno")
    table = site.folder / "table"
    table.write_text("alice\nbob:robert\n")
    with Server(site, user=WHOEVER) as server:
        told = migrate(site, "--users", str(table), "--json")
        assert (told.returncode, told.stderr.partition(b";")[0]) == (0, b"2 users: 4 messages (167 octets) moved")
        facts = {"listed": 3, "there": 0, "moved": 3, "octets": 125, "unread": 0, "left": 0, "error": None}
        assert sorted(map(json.loads, told.stdout.splitlines()), key=lambda user: user["user"]) == [
            {"user": "alice", "old_name": "alice", **facts, "dry_run": False},
            {"user": "bob", "old_name": "robert", **facts, "listed": 1, "moved": 1, "octets": 42, "dry_run": False},
        ]
        assert listing(server, alice) == [b"alice-000001", b"alice-000002", b"alice-000003"]
        assert listing(server, bob) == [b"robert-000001"]
        with RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)
            client.ok(b"DELE 2")
            client.quit()
        mbox(site, "alice", "one", "two", "three", "four")
        told = migrate(site, "alice")
        assert told.stdout.startswith(b"alice: 1 message (42 octets) moved, 3 were moved before\n1 user: 1 message")
        assert listing(server, alice) == [b"alice-000001", b"alice-000003", b"alice-000004"]


def test_a_dry_run_only_says_what_would_be_moved(site):
    alice = site.account("alice")
    shutil.rmtree(alice.maildir)
    mbox(site, "alice", "one", "two")
    told = migrate(site, "--all", "-n")
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.decode().splitlines()[0].startswith("alice: 2 messages")
    assert b" would be moved\n" in told.stdout
    assert not alice.maildir.exists()
    assert not (site.folder / "states").exists()


def test_a_user_who_fails_does_not_stop_the_others(site):
    for name in ("alice", "bob", "carol"):
        site.account(name)
    mbox(site, "alice", "one")
    (site.folder / "old" / "bob").mkdir()
    mbox(site, "carol", "one")
    told = migrate(site, "nobody", "bob", "alice", "carol")
    assert told.returncode == os.EX_TEMPFAIL
    assert sorted(told.stdout.decode().splitlines()[:2]) == [
        "alice: 1 message (41 octets) moved",
        "carol: 1 message (41 octets) moved",
    ]
    assert b"4 users: 2 messages (82 octets) moved; 1 failed; " in told.stdout
    assert b"mailserver: nobody: there is no such user\n" in told.stderr
    assert f"mailserver: bob: {site.folder}/old/bob: ".encode() in told.stderr
    assert migrate(site, "nobody").returncode == 1


def test_what_is_odd_about_a_message_is_in_the_log(site):
    site.account("alice")
    path = mbox(site, "alice", "one", "two")
    path.write_text(path.read_text().replace("alice-000002", "alice-000001"))
    log = site.folder / "log"
    told = migrate(site, "alice", "--log", str(log))
    assert told.returncode == 0
    told = migrate(site, "alice", "--log", str(site.folder / "no" / "where"))
    assert told.returncode == os.EX_USAGE
    assert b"--log: " in told.stderr
    (line,) = map(json.loads, log.read_bytes().splitlines())
    assert (line["user"], line["what"], line["uidl"]) == ("alice", "renamed", "alice-000001")


@ROOT_ALONE
def test_root_s_log_stays_root_s_and_a_file_that_the_serving_user_may_not_read_is_told(site):
    site.account("alice")
    private = site.folder / "private"
    private.mkdir(mode=0o700)
    path = mbox(site, "alice", "one")
    path.chmod(0o600)
    nobody = pwd.getpwnam("nobody")
    site.folder.chmod(0o755)
    for each in {site.folder, *site.folder.rglob("*")} - {private, path}:
        os.chown(each, nobody.pw_uid, nobody.pw_gid)
    told = migrate(site, "alice", "--user", "nobody", "--log", str(private / "log"), started=True)
    assert told.returncode == os.EX_TEMPFAIL
    assert f"{path}: Permission denied for uid {nobody.pw_uid}: let it read this".encode() in told.stderr
    path.chmod(0o644)
    told = migrate(site, "alice", "--user", "nobody", "--log", str(private / "log"), started=True)
    assert (told.returncode, told.stderr) == (0, b"")
    assert (private / "log").stat().st_uid == 0


def test_two_runs_at_once_are_refused(site):
    site.account("alice")
    mbox(site, "alice", "one")
    assert migrate(site, "alice").returncode == 0
    (state,) = (site.folder / "states").iterdir()
    with state.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        told = migrate(site, "alice")
    assert told.returncode == os.EX_TEMPFAIL
    assert b"another run moves the mail of 'alice'" in told.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], b"name users, or give --users or --all"),
        (["alice", "--all"], b"name users, or give --users or --all"),
        (["--users", "/dev/null/table"], b"--users"),
        (["alice", "--parallel", "0"], b"--parallel"),
    ],
)
def test_a_wrong_command_line_is_told(site, arguments, said):
    told = migrate(site, *arguments)
    assert told.returncode == os.EX_USAGE
    assert said in told.stderr


def test_wrong_tables_and_places_are_told(site):
    table = site.folder / "table"
    table.write_text("alice::secret\n:nobody:hush\n")
    told = migrate(site, "--users", str(table))
    assert told.returncode == os.EX_USAGE
    assert b"table:2:" in told.stderr
    assert b"hush" not in told.stderr
    master = site.folder / "master"
    master.write_text("one\ntwo\n")
    told = migrate(site, "alice", "--master", str(master))
    assert (told.returncode, b"one line NAME:PASSWORD" in told.stderr) == (os.EX_USAGE, True)
    told = run("migrate", "mail", *settings(site), "mbax:/var/mail/{user}", "alice")
    assert (told.returncode, b"did you mean" in told.stderr) == (os.EX_USAGE, True)


def test_on_a_terminal_there_are_bars(site):
    site.account("alice")
    mbox(site, "alice", "one", "two")
    screen, terminal = pty.openpty()
    arguments = ["migrate", "mail", *settings(site), source(site), "--state", str(site.folder / "states"), "alice"]
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=environment(TERM="xterm"), stdout=terminal, stderr=terminal, stdin=terminal
    )
    os.close(terminal)
    shown = bytearray()
    with suppress(OSError):  # a terminal without a process
        while data := os.read(screen, 65536):
            shown += data
    os.close(screen)
    assert process.wait() == 0
    assert b"all users" in shown
    assert b"alice: 2 messages (82 octets) moved" in shown
    assert b"1 of 1 users" in shown


def over_pop3(site, old, *arguments):
    """The command and its arguments, with a server that is asked as alice's table says."""
    table = site.folder / "table"
    table.write_text("alice:old alice:hush: a secret\n")
    state = ("--state", str(site.folder / "states"))
    given = ["migrate", "mail", *settings(site), f"pop3://{old.where}", "--users", str(table), *state, *arguments]
    return [*COMMAND, *given]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_messages_under_way(site, number):
    alice = site.account("alice")
    asked, go_on = threading.Event(), threading.Event()

    def waits(talk, message):
        asked.set()
        assert go_on.wait(60)
        talk.send(b"+OK\r\n" + stuffed(message))

    pop3 = Pop3([(b"id-%d" % n, b"Subject: %d\r\n\r\n" % n) for n in range(1, 5)])
    pop3.faults += [lambda talk, message: talk.send(b"+OK\r\n" + stuffed(message)), waits]
    with serving(pop3)[0] as old:
        process = subprocess.Popen(over_pop3(site, old), env=environment(), stdout=-1, stderr=-1)
        assert asked.wait(60)
        process.send_signal(number)
        assert process.stderr.readline() == (
            b"mailserver: it ends when the messages under way are moved; once more ends it at once\n"
        )
        go_on.set()
        said, _ = process.communicate()
        assert process.returncode == os.EX_TEMPFAIL
        assert said.startswith(b"alice: 2 messages (28 octets) moved; 2 are left: run it again\n")
        assert len(alice.files()) == 2
        whole = subprocess.run(over_pop3(site, old), env=environment(), capture_output=True, check=True)
        assert whole.stdout.startswith(b"alice: 2 messages (28 octets) moved, 2 were moved before\n")
    assert pop3.said[0][1:3] == [b"USER old alice", b"PASS hush: a secret"]


def test_a_second_signal_ends_it_at_once(site):
    site.account("alice")
    asked, go_on = threading.Event(), threading.Event()

    def hangs(talk, _):
        asked.set()
        assert go_on.wait(60)
        talk.hang()

    pop3 = Pop3([(b"id-1", b"Subject: 1\r\n\r\n")], faults=[hangs])
    with serving(pop3)[0] as old:
        process = subprocess.Popen(over_pop3(site, old), env=environment(), stdout=-1, stderr=-1)
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        process.communicate()
        go_on.set()
    assert process.returncode == 130


def test_no_secret_is_told_whatever_goes_wrong(site):
    site.account("alice")
    pop3 = Pop3([], logins=[b"-ERR no, not hush: a secret\r\n"])
    with serving(pop3)[0] as old:
        log = site.folder / "log"
        told = subprocess.run(
            over_pop3(site, old, "--json", "--log", str(log)), env=environment(), capture_output=True, check=False
        )
    assert told.returncode == os.EX_TEMPFAIL
    assert json.loads(told.stdout)["error"]
    said = told.stdout + told.stderr + log.read_bytes()
    said += b"".join(path.read_bytes() for path in (site.folder / "states").iterdir())
    assert b"a secret" not in said
