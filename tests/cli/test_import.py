"""``mailserver import``: one user's mail, from each kind of files, with its unique-ids, times and flags."""

import json
import os
import shutil

import pytest

from mailserver.store.maildir import filenames
from tests.cli.running import run
from tests.cli.test_export import names, shown
from tests.cli.test_quota import WHOEVER, settings
from tests.corpus import SMALL, canonical
from tests.migration.spools import MBOXABLE, SEEN, cyrus_index, cyrus_mailbox, mbox
from tests.servers import Server, Site


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice")
        made.account("bob")
        yield made


def arrivals(account):
    """When the messages came, as their files' names say."""
    return sorted(filenames.arrival(os.fsencode(path.name)) for path in account.maildir.glob("[cn]*/*"))


def read_in(site, *arguments, **more):
    return run("import", *settings(site), "--state", str(site.folder / "states"), *arguments, **more)


def test_an_mbox_of_uw_s_server_comes_with_all_that_it_knows(site, tmp_path):
    alice, _ = site.accounts
    spool = tmp_path / "old"
    messages = [b"X-IMAPbase: 1700000000 12\nX-UID: 3\nStatus: RO\nSubject: 1\n\none\n", *MBOXABLE.values()]
    spool.write_bytes(mbox(messages))
    told = read_in(site, f"mbox:{spool}?uidl=uw", "alice")
    assert (told.returncode, told.stderr) == (0, b"")
    assert told.stdout.startswith(b"alice: %d messages" % len(messages))
    (seen,) = names(alice.maildir / "cur")
    assert seen.startswith("723275602.")
    assert seen.endswith(":2,S")
    with Server(site, user=WHOEVER) as server:
        uidls, found = shown(server.pop3_port, alice)
    assert uidls == [b"6553f10000000003", *(b"6553f100%08x" % uid for uid in range(13, 12 + len(messages)))]
    assert found == [b"Subject: 1\r\n\r\none\r\n", *(canonical(each) for each in MBOXABLE.values())]
    again = read_in(site, f"mbox:{spool}?uidl=uw", "alice", "--json")
    facts = json.loads(again.stdout.splitlines()[0])
    assert (again.returncode, facts["moved"], facts["there"]) == (0, 0, len(messages))


def test_cyrus_and_a_maildir_of_another_server_for_a_user_of_another_name(site, tmp_path):
    alice, _ = site.accounts
    messages = {uid: canonical(message) for uid, message in enumerate(SMALL.values(), 5)}
    index = cyrus_index(17, [(uid, 1_600_000_000 + uid, SEEN) for uid in messages])
    cyrus_mailbox(tmp_path / "a/user/al^ice", index, messages)
    assert read_in(site, f"cyrus:{tmp_path}", "alice", "--old-name", "al.ice").returncode == 0
    (tmp_path / "al.ice/cur").mkdir(parents=True)
    (tmp_path / "al.ice/new").mkdir()
    (tmp_path / "al.ice/cur/1600009999.x:2,S").write_bytes(b"Subject: last\n\n")
    (tmp_path / "al.ice/dovecot-uidlist").write_bytes(b"3 V1700000000 N8\n7 :1600009999.x\n")
    told = read_in(site, f"maildir:{tmp_path}/{{user}}?former=dovecot:%v.%u", "alice", "--old-name", "al.ice")
    assert (told.returncode, told.stderr) == (0, b"")
    with Server(site, user=WHOEVER) as server:
        uidls, found = shown(server.pop3_port, alice)
    assert uidls == [*(b"1100000000.%d" % uid for uid in messages), b"1700000000.7"]
    assert found == [*messages.values(), b"Subject: last\r\n\r\n"]
    assert len(names(alice.maildir / "cur")) == len(messages) + 1


def test_what_was_exported_comes_back_as_it_was(site, tmp_path):
    alice, bob = site.accounts
    for message in SMALL.values():
        alice.deliver(message)
    (alice.maildir / "new" / ("1600000000.with more octets than POP3 allows" * 3)).write_bytes(b"Subject: hashed\n\n")
    (alice.maildir / "cur" / "1600000001.M000123.x:2,S").write_bytes(b"Subject: seen\n\n")
    (alice.maildir / "cur" / "1600000002.x:2,F").write_bytes(b"Subject: flagged\n\n")
    out = tmp_path / "out"
    assert run("export", *settings(site), "alice", str(out)).returncode == 0
    for other in ("", "?former=dovecot"):
        shutil.rmtree(bob.maildir)
        shutil.rmtree(site.folder / "states", ignore_errors=True)
        told = read_in(site, f"maildir:{out}{other}", "bob")
        assert (told.returncode, told.stderr) == (0, b"")
        with Server(site, user=WHOEVER) as server:
            assert shown(server.pop3_port, bob) == shown(server.pop3_port, alice)
        assert arrivals(bob) == arrivals(alice)
        assert [name.partition(".M000123P")[0] for name in names(bob.maildir / "cur")] == ["1600000001"]  # seen


def test_a_dry_run_reads_and_writes_nothing(site, tmp_path):
    alice, _ = site.accounts
    (tmp_path / "old").write_bytes(mbox([b"Subject: 1\n\n"]))
    told = read_in(site, f"mbox:{tmp_path}/old?uidl=none", "alice", "-n")
    assert told.stdout.startswith(b"alice: 1 message would be moved")
    assert names(alice.maildir / "new") == names(alice.maildir / "cur") == []
    assert not (site.folder / "states").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("mbx:/old", "alice"), os.EX_USAGE, b'did you mean "mbox"'),
        (("mbox:/old", "alice"), os.EX_USAGE, b"which server gave the unique-ids"),
        (("mbox:/old?uidl=uw", "carol"), 1, b"carol: there is no such user"),
        (("mbox:/no/where?uidl=uw", "alice"), os.EX_TEMPFAIL, b"/no/where: No such file"),
        (("maildir:/tmp?former=dovcot", "alice"), os.EX_USAGE, b"did you mean dovecot"),
        (("pop3://x", "alice", "--password", "/etc/passwd"), os.EX_USAGE, b"it must have one line"),
        (("pop3://x", "alice", "--password", "/etc/passwd", "--master", "/etc/passwd"), os.EX_USAGE, b"and not both"),
    ],
)
def test_what_is_wrong_is_said(site, arguments, status, said):
    told = read_in(site, *arguments)
    assert (told.returncode, told.stdout.count(b"moved\n")) == (status, 0)
    assert said in told.stderr
