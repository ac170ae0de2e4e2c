"""``mailserver maildrop`` beside the server."""

import json
import os

import pytest

from tests.cli.running import run
from tests.cli.test_quota import WHOEVER, settings
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site


@pytest.fixture
def site():
    with Site() as made:
        yield made


@pytest.mark.parametrize("setting", ["keep 3 days", "trash"])
def test_the_last_session_s_deletions_come_back_with_their_unique_ids(site, setting):
    alice = site.account("alice", messages=[b"Subject: %d\n\n" % number for number in range(3)])
    keeping = {"delete": setting}
    config = settings(site, delivery=keeping)
    with Server(site, user=WHOEVER, delivery=keeping) as server:
        with RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)
            before = client.listing(b"UIDL")
            client.ok(b"DELE 1")
            client.ok(b"DELE 3")
            during = run("maildrop", "undelete", *config, "alice")
            assert (during.returncode, during.stdout) == (os.EX_TEMPFAIL, b"")
            client.quit()
        told = run("maildrop", "undelete", *config, "--dry-run", "alice")
        assert (told.returncode, told.stdout) == (0, b"alice: 2 messages would come back\n")
        told = run("maildrop", "undelete", *config, "--json", "alice")
        assert (told.returncode, told.stderr) == (0, b"")
        assert json.loads(told.stdout) == {"user": "alice", "messages": 2, "dry_run": False}
        with RawPOP3(server.pop3_port) as client:
            client.login(alice.name, alice.password)
            assert client.listing(b"UIDL") == before
            client.quit()
    told = run("maildrop", "undelete", *config, "alice")
    assert (told.returncode, told.stdout) == (1, b"alice: nothing is kept\n")


def test_an_unknown_user_is_an_answer(site):
    site.account("alice")
    told = run("maildrop", "undelete", *settings(site), "bob")
    assert (told.returncode, told.stderr) == (1, b"mailserver: bob: there is no such user\n")


MAIL = [
    b"From: Jane Doe <jane@example.org>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= 4711\n\nhello\n",
    b"Subject: a \x1b[31mred\n line\r\n\r\n\x1bxx",
]


def test_messages_are_listed_as_a_session_that_is_open_sees_them(site):
    alice = site.account("alice", messages=MAIL)
    alice.deliver(b"no header", folder="cur")
    config = settings(site)
    with Server(site, user=WHOEVER) as server, RawPOP3(server.pop3_port) as client:
        client.login(alice.name, alice.password)
        told = run("maildrop", "list", "--json", *config, "alice")
        rows = [json.loads(line) for line in told.stdout.splitlines()]
        scan = [(row["number"], b"%d" % row["octets"]) for row in rows]
        unique = [(row["number"], row["uidl"].encode()) for row in rows]
        assert (client.listing(b"LIST"), client.listing(b"UIDL")) == (scan, unique)
        assert [row["flags"] for row in rows] == ["", "", "S"]
        assert [row["from"] for row in rows] == ["j…@example.org", "", ""]
        assert [row["subject"] for row in rows] == ["G… ####", "a \x1b[##m… l…", ""]
        for row in rows:
            shown = run("maildrop", "show", "--whole", *config, "alice", row["uidl"]).stdout
            assert len(shown) == row["octets"]
            assert client.fetch(b"RETR %d" % row["number"]) == shown
    assert told.returncode == 0
    assert told.stderr == b""


def test_people_see_a_table_that_steers_no_terminal_and_whole_headers_only_if_they_ask(site):
    site.account("alice", messages=MAIL)
    config = settings(site)
    table = run("maildrop", "list", *config, "alice").stdout.decode()
    assert table.splitlines()[0].split() == ["NUMBER", "OCTETS", "ARRIVED", "FLAGS", "FROM", "SUBJECT", "UNIQUE-ID"]
    assert "jane" not in table
    assert "4711" not in table
    assert "\x1b" not in table
    whole = run("maildrop", "list", "--headers", *config, "alice").stdout.decode()
    assert "Jane Doe <jane@example.org>" in whole
    assert "Grüße 4711" in whole
    assert run("maildrop", "list", *config, "bob").returncode == 1


def test_the_header_of_one_message_is_shown(site):
    site.account("alice", messages=MAIL)
    config = settings(site)
    shown = run("maildrop", "show", *config, "alice", "1")
    assert (shown.returncode, shown.stdout) == (0, MAIL[0].partition(b"\n\n")[0].replace(b"\n", b"\r\n") + b"\r\n")
    found = json.loads(run("maildrop", "show", "--json", *config, "alice", "2").stdout)
    assert (found["number"], found["octets"]) == (2, 35)
    assert "message" not in found
    missing = run("maildrop", "show", *config, "alice", "3")
    assert (missing.returncode, missing.stderr) == (1, b"mailserver: alice: there is no message 3\n")


def test_what_is_wrong_is_told_and_mended_but_not_under_a_session(site):
    alice = site.account("alice", messages=MAIL)
    site.account("bob", messages=MAIL)
    config = settings(site)
    (alice.maildir / "cur/1700000009.M1P1.h,S=3:2,S").write_bytes(b"four")
    told = run("maildrop", "verify", "--all", *config)
    lines = told.stdout.decode().splitlines()
    assert told.returncode == 1
    assert lines[0] == "alice: 1 thing is wrong, 1 of which `mailserver maildrop repair` mends"
    assert "S=3" in lines[1]
    assert lines[2].strip().startswith("(mends) ")
    assert lines[3:] == ["bob: nothing is wrong"]
    with Server(site, user=WHOEVER) as server, RawPOP3(server.pop3_port) as client:
        client.login(alice.name, alice.password)
        before = client.listing(b"UIDL")
        assert run("maildrop", "repair", *config, "alice").returncode == os.EX_TEMPFAIL
        client.quit()
        told = run("maildrop", "repair", "--json", *config, "alice", "bob")
        assert told.returncode == 0
        done, nothing = map(json.loads, told.stdout.splitlines())
        assert [each["kind"] for each in done["mended"]] == ["sizes"]
        assert (done["left"], nothing["mended"]) == ([], [])
        with RawPOP3(server.pop3_port) as later:
            later.login(alice.name, alice.password)
            assert later.listing(b"UIDL") == before
    found = json.loads(run("maildrop", "verify", "--json", *config, "alice").stdout)
    assert found == {"user": "alice", "findings": []}


def test_what_is_left_is_told_with_its_remedy(site):
    alice = site.account("alice")
    (alice.maildir / "mailserver-uidls").write_bytes(b"nonsense")
    told = run("maildrop", "repair", *settings(site), "alice")
    assert told.returncode == 1
    assert b"0 mended, 1 left" in told.stdout
    assert b"restore it from a backup" in told.stdout


def test_users_or_all_and_not_both():
    for arguments in ([], ["--all", "alice"]):
        assert run("maildrop", "verify", *arguments).returncode == os.EX_USAGE


def test_the_export_is_reached_beside_the_other_commands(site):
    site.account("alice", messages=MAIL)
    goal = site.folder / "out"
    assert run("maildrop", "export", *settings(site), "alice", str(goal)).returncode == 0
    assert len(list((goal / "cur").iterdir())) == 2
