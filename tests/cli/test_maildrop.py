"""``mailserver maildrop`` beside the server."""

import json
import os

import pytest

from tests.cli.running import run
from tests.cli.test_quota import WHOEVER, settings
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

KEEPING = {"delete": "keep 3 days"}
MAIL = [
    b"From: Jane Doe <jane@example.org>\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= 4711\n\nhello\n",
    b"Subject: a \x1b[31mred\n line\r\n\r\n\x1bxx",
]


@pytest.fixture(scope="module")
def site():
    """Each user is one test's, but for alice, whose mail nobody changes."""
    with Site() as made:
        made.account("alice", messages=MAIL).deliver(b"no header", folder="cur")
        made.account("undone", messages=[b"Subject: %d\n\n" % number for number in range(3)])
        for name in ("broken", "lost", "thrown"):
            made.account(name, messages=MAIL)
        yield made


@pytest.fixture(scope="module")
def config(site):
    return settings(site, delivery=KEEPING)


@pytest.fixture(scope="module")
def server(site):
    with Server(site, user=WHOEVER, delivery=KEEPING) as running:
        yield running


def account(site, name):
    return next(each for each in site.accounts if each.name == name)


def test_the_last_session_s_deletions_come_back_with_their_unique_ids(site, server, config):
    with RawPOP3(server.pop3_port) as client:
        client.login("undone", "sesame of undone")
        before = client.listing(b"UIDL")
        client.ok(b"DELE 1")
        client.ok(b"DELE 3")
        during = run("maildrop", "undelete", *config, "undone")
        assert (during.returncode, during.stdout) == (os.EX_TEMPFAIL, b"")
        client.quit()
    told = run("maildrop", "undelete", *config, "--dry-run", "undone")
    assert (told.returncode, told.stdout) == (0, b"undone: 2 messages would come back\n")
    told = run("maildrop", "undelete", *config, "--json", "undone")
    assert (told.returncode, told.stderr) == (0, b"")
    assert json.loads(told.stdout) == {"user": "undone", "messages": 2, "dry_run": False}
    with RawPOP3(server.pop3_port) as client:
        client.login("undone", "sesame of undone")
        assert client.listing(b"UIDL") == before
        client.quit()
    told = run("maildrop", "undelete", *config, "undone")
    assert (told.returncode, told.stdout) == (1, b"undone: nothing is kept\n")


def test_what_is_in_the_trash_comes_back_where_deletions_go_there(site, config):
    maildir = account(site, "thrown").maildir
    (maildir / ".Trash/cur").mkdir(parents=True)
    (maildir / ".Trash/cur/1700000009.M1P1.h:2,ST").write_bytes(b"x\n")
    assert run("maildrop", "undelete", *config, "thrown").stdout == b"thrown: nothing is kept\n"
    told = run("maildrop", "undelete", *settings(site, delivery={"delete": "trash"}), "thrown")
    settings(site, delivery=KEEPING)
    assert (told.returncode, told.stdout) == (0, b"thrown: 1 message came back\n")
    assert (maildir / "cur/1700000009.M1P1.h:2,S").read_bytes() == b"x\n"


def test_an_unknown_user_is_an_answer(config):
    told = run("maildrop", "undelete", *config, "bob")
    assert (told.returncode, told.stderr) == (1, b"mailserver: bob: there is no such user\n")


def test_messages_are_listed_as_a_session_that_is_open_sees_them(server, config):
    with RawPOP3(server.pop3_port) as client:
        client.login("alice", "sesame of alice")
        told = run("maildrop", "list", "--json", *config, "alice")
        rows = [json.loads(line) for line in told.stdout.splitlines()]
        scan = [(row["number"], b"%d" % row["octets"]) for row in rows]
        unique = [(row["number"], row["uidl"].encode()) for row in rows]
        assert (client.listing(b"LIST"), client.listing(b"UIDL")) == (scan, unique)
        assert [row["flags"] for row in rows] == ["", "", "S"]
        assert [row["from"] for row in rows] == ["j…@example.org", "", ""]
        assert [row["subject"] for row in rows] == ["G… ####", "a \x1b[##m… l…", ""]
        shown = run("maildrop", "show", "--whole", *config, "alice", rows[1]["uidl"]).stdout
        assert len(shown) == rows[1]["octets"]
        assert client.fetch(b"RETR 2") == shown
    assert (told.returncode, told.stderr) == (0, b"")


def test_people_see_a_table_that_steers_no_terminal_and_whole_headers_only_if_they_ask(config):
    table = run("maildrop", "list", *config, "alice").stdout.decode()
    assert table.splitlines()[0].split() == ["NUMBER", "OCTETS", "ARRIVED", "FLAGS", "FROM", "SUBJECT", "UNIQUE-ID"]
    assert "jane" not in table
    assert "4711" not in table
    assert "\x1b" not in table
    whole = run("maildrop", "list", "--headers", *config, "alice").stdout.decode()
    assert "Jane Doe <jane@example.org>" in whole
    assert "Grüße 4711" in whole


def test_the_header_of_one_message_is_shown(config):
    shown = run("maildrop", "show", *config, "alice", "1")
    assert (shown.returncode, shown.stdout) == (
        0,
        MAIL[0].partition(b"\n\n")[0].replace(b"\n", b"\r\n") + b"\r\n",
    )
    found = json.loads(run("maildrop", "show", "--json", *config, "alice", "2").stdout)
    assert (found["number"], found["octets"]) == (2, 35)
    assert "message" not in found
    missing = run("maildrop", "show", *config, "alice", "4")
    assert (missing.returncode, missing.stderr) == (1, b"mailserver: alice: there is no message 4\n")


def test_what_is_wrong_is_told_and_mended_but_not_under_a_session(site, server, config):
    (account(site, "broken").maildir / "cur/1700000009.M1P1.h,S=3:2,S").write_bytes(b"four")
    told = run("maildrop", "verify", *config, "alice", "broken")
    lines = told.stdout.decode().splitlines()
    assert told.returncode == 1
    assert lines[:2] == [
        "alice: nothing is wrong",
        "broken: 1 thing is wrong, 1 of which `mailserver maildrop repair` mends",
    ]
    assert "S=3" in lines[2]
    assert lines[3].strip().startswith("(mends) ")
    with RawPOP3(server.pop3_port) as client:
        client.login("broken", "sesame of broken")
        before = client.listing(b"UIDL")
        assert run("maildrop", "repair", *config, "broken").returncode == os.EX_TEMPFAIL
        client.quit()
    told = run("maildrop", "repair", "--json", *config, "broken", "alice")
    assert told.returncode == 0
    done, nothing = map(json.loads, told.stdout.splitlines())
    assert [each["kind"] for each in done["mended"]] == ["sizes"]
    assert (done["left"], nothing["mended"]) == ([], [])
    with RawPOP3(server.pop3_port) as client:
        client.login("broken", "sesame of broken")
        assert client.listing(b"UIDL") == before
    found = map(json.loads, run("maildrop", "verify", "--json", "--all", *config).stdout.splitlines())
    assert {"user": "broken", "findings": []} in list(found)


def test_what_is_left_is_told_with_its_remedy(site, config):
    (account(site, "lost").maildir / "mailserver-uidls").write_bytes(b"nonsense")
    told = run("maildrop", "repair", *config, "lost")
    assert told.returncode == 1
    assert b"0 mended, 1 left" in told.stdout
    assert b"restore it from a backup" in told.stdout


def test_users_or_all_and_not_both():
    for arguments in ([], ["--all", "alice"]):
        assert run("maildrop", "verify", *arguments).returncode == os.EX_USAGE


def test_the_export_is_reached_beside_the_other_commands(site, config):
    goal = site.folder / "out"
    assert run("maildrop", "export", *config, "alice", str(goal)).returncode == 0
    assert len(list((goal / "cur").iterdir())) == 3
