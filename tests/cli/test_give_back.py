"""``mailserver uidl give-back``: another server shows our unique-ids afterwards. `tests/old` asks the real ones."""

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
        made.account("alice", messages=[b"Subject: %d\n\n" % number for number in range(3)])
        made.account("bob", messages=[b"x\n"])
        yield made


def give_back(site, *arguments, **more):
    return run("uidl", "give-back", *settings(site, **more), *arguments)


def entered(maildir):
    """The unique-ids in Dovecot's list, in its order."""
    lines = (maildir / "dovecot-uidlist").read_text().splitlines()[1:]
    return [next(word[1:] for word in line.split(" :")[0].split() if word[0] == "P").encode() for line in lines]


def test_our_unique_ids_are_entered_into_dovecots_list_once(site):
    alice = site.accounts[0]
    with Server(site, user=WHOEVER) as server, RawPOP3(server.pop3_port).login(alice.name, alice.password) as client:
        uidls = [uidl for _, uidl in client.listing(b"UIDL")]
        busy = give_back(site, "alice", "--to", "dovecot")
        assert (busy.returncode, busy.stdout) == (os.EX_TEMPFAIL, b"")
        client.quit()
    told = give_back(site, "alice", "bob", "--to", "dovecot", "--dry-run")
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout == b"alice: 3 messages, 3 to enter\nbob: 1 message, 1 to enter\n"
    assert not (alice.maildir / "dovecot-uidlist").exists()
    told = give_back(site, "--all", "--json", store={"former": "dovecot"})
    assert (told.returncode, told.stderr) == (0, b"")
    first, second = map(json.loads, told.stdout.splitlines())
    assert first == {"user": "alice", "messages": 3, "entered": 3, "lost": 0, "dry_run": False}
    assert second["user"] == "bob"
    assert entered(alice.maildir) == uidls
    assert give_back(site, "alice", "--to", "dovecot").stdout == b"alice: 3 messages, 0 entered\n"


def test_what_the_other_servers_list_cannot_hold_is_told_and_no_success(site):
    [path] = (site.accounts[1].maildir / "new").iterdir()
    path.rename(path.with_name("1700000000.M1P2.host,S=2"))
    told = give_back(site, "bob", "--to", "courier")
    assert (told.returncode, told.stderr) == (1, b"")
    assert told.stdout == b"bob: 1 message, 0 entered, 1 with a unique-id that its list cannot hold\n"


def test_a_damaged_list_is_told_with_the_remedy_and_stays(site):
    (site.accounts[1].maildir / "dovecot-uidlist").write_text("junk\n")
    told = give_back(site, "bob", "--to", "dovecot")
    assert (told.returncode, told.stdout) == (os.EX_TEMPFAIL, b"")
    assert b"dovecot-uidlist: its first line is of no version" in told.stderr
    assert (site.accounts[1].maildir / "dovecot-uidlist").read_text() == "junk\n"


def test_a_locked_list_is_told_with_its_holder_s_file(site):
    lock = site.accounts[1].maildir / "dovecot-uidlist.lock"
    lock.symlink_to("nowhere")
    told = give_back(site, "bob", "--to", "dovecot")
    assert told.returncode == os.EX_TEMPFAIL
    assert b"dovecot-uidlist.lock: it is locked by Dovecot; try again" in told.stderr


@pytest.mark.parametrize(("store", "arguments"), [({}, []), ({"former": "qmail"}, []), ({}, ["--to", "dovekot"])])
def test_a_server_without_such_a_list_is_the_operators_to_mend(site, store, arguments):
    told = give_back(site, "bob", *arguments, store=store)
    assert (told.returncode, told.stdout) == (os.EX_CONFIG, b"")
    assert b"--to, or store.former: " in told.stderr


def test_users_are_named_or_all(site):
    assert give_back(site).returncode == os.EX_USAGE
    assert give_back(site, "--all", "bob").returncode == os.EX_USAGE
    told = give_back(site, "carol", "--to", "dovecot")
    assert (told.returncode, told.stderr) == (1, b"mailserver: carol: there is no such user\n")
