"""``mailserver export``: a Maildir with the unique-ids, which Dovecot and we read back."""

import json
import os
import shutil

import pytest

from mailserver.cli.exporting import Export
from tests.cli.running import COMMAND, run
from tests.cli.test_quota import settings
from tests.corpus import SMALL, canonical
from tests.rawpop3 import RawPOP3
from tests.servers import Server, Site

MESSAGES = list(SMALL.values())


@pytest.fixture
def site():
    with Site() as made:
        made.account("alice", messages=MESSAGES)
        made.account("bob")
        yield made


def names(folder):
    """What is in a folder."""
    return sorted(each.name for each in folder.iterdir())


def shown(port, account):
    """What a session sees: unique-ids and messages."""
    with RawPOP3(port) as client:
        client.login(account.name, account.password)
        listing = client.listing(b"UIDL")
        messages = [client.fetch(b"RETR %d" % number) for number, _ in listing]
        client.quit()
    return [uidl for _, uidl in listing], messages


def test_the_maildir_has_the_messages_in_their_order_with_their_unique_ids(site, tmp_path):
    alice, bob = site.accounts
    told = run("export", *settings(site), "alice", str(tmp_path / "out"))
    octets = sum(len(canonical(each)) for each in MESSAGES)
    assert told.stdout.decode() == f"alice: {len(MESSAGES)} messages ({octets:,} octets) written to {tmp_path}/out\n"
    assert (told.returncode, told.stderr) == (0, b"")
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o700
    shutil.rmtree(bob.maildir)
    shutil.copytree(tmp_path / "out", bob.maildir)
    with Server(site) as server:
        assert shown(server.pop3_port, alice) == shown(server.pop3_port, bob)


def test_the_names_have_what_was_seen_and_when_it_came(site, tmp_path):
    _, bob = site.accounts
    for name in ("1600000003.M000007.x:2,RS", "1600000001.M999999.x:2,F", "1600000002.x:2,S"):
        (bob.maildir / "cur" / name).write_bytes(b"Subject: 1\n\n")
    (bob.maildir / "new" / "1600000004.x").write_bytes(b"Subject: 1\n\n")
    assert run("export", *settings(site), "bob", str(tmp_path / "out")).returncode == 0
    made = names(tmp_path / "out/cur")
    assert [name.partition("P")[0] for name in made] == [
        "1600000001.M999999",
        "1600000002.M000000",
        "1600000003.M000007",
        "1600000004.M000000",
    ]
    assert [name.partition(":")[2] for name in made] == ["2,", "2,S", "2,S", "2,"]


def test_a_dry_run_writes_nothing_and_programs_get_an_object(site, tmp_path):
    told = run("export", *settings(site), "--dry-run", "--json", "alice", str(tmp_path / "out"))
    assert (told.returncode, told.stderr) == (0, b"")
    assert json.loads(told.stdout) == {
        "user": "alice",
        "messages": len(MESSAGES),
        "octets": sum(len(canonical(each)) for each in MESSAGES),
        "directory": f"{tmp_path}/out",
        "dry_run": True,
    }
    assert names(tmp_path) == []


def test_an_empty_directory_becomes_the_maildir_and_another_is_left_alone(site, tmp_path):
    (tmp_path / "empty").mkdir()
    assert run("export", *settings(site), "bob", str(tmp_path / "empty")).returncode == 0
    assert names(tmp_path / "empty") == ["cur", "dovecot-uidlist", "new", "tmp"]
    told = run("export", *settings(site), "alice", str(tmp_path / "empty"))
    assert (told.returncode, told.stdout) == (os.EX_USAGE, b"")
    assert b"is not empty" in told.stderr
    (tmp_path / "file").touch()
    told = run("export", *settings(site), "alice", str(tmp_path / "file"))
    assert (told.returncode, told.stderr) == (os.EX_USAGE, f"mailserver: {tmp_path}/file: it is a file\n".encode())
    assert names(tmp_path) == ["empty", "file"]


def test_a_parent_that_is_missing_or_of_somebody_else_is_named(site, tmp_path):
    told = run("export", *settings(site), "alice", str(tmp_path / "not/there"))
    assert (told.returncode, told.stdout) == (os.EX_IOERR, b"")
    assert (
        f"/not/there: {tmp_path}/not must be a directory that the user who serves may write to".encode() in told.stderr
    )
    assert names(tmp_path) == []


def test_a_maildrop_in_use_is_for_later_and_nothing_is_left(site, tmp_path):
    alice, _ = site.accounts
    with Server(site) as server, RawPOP3(server.pop3_port) as client:
        client.login(alice.name, alice.password)
        told = run("export", *settings(site), "alice", str(tmp_path / "out"))
        assert (told.returncode, told.stdout) == (os.EX_TEMPFAIL, b"")
    assert names(tmp_path) == []
    told = run("export", *settings(site), "carol", str(tmp_path / "out"))
    assert (told.returncode, told.stderr) == (1, b"mailserver: carol: there is no such user\n")


def test_a_full_disk_leaves_nothing(site, tmp_path):
    limited = ["prlimit", "--fsize=100000", *COMMAND]
    told = run("export", *settings(site), "alice", str(tmp_path / "out"), command=limited)
    assert (told.returncode, told.stdout) == (os.EX_IOERR, b"")
    assert b"File too large" in told.stderr
    assert names(tmp_path) == []


def test_a_message_s_arrival_is_as_durable_as_the_message(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_mtime))
    made = Export(tmp_path / "out", 9.0)
    made.begin()
    for uidl, arrival in ((b"1", 5.0), (b"2", None)):
        made.write(b"a line\r\n")
        made.end(uidl, 8, arrival, seen=False)
    assert synced == [5.0, 9.0]
    made.finish()
    assert sorted(path.stat().st_mtime for path in (tmp_path / "out/cur").iterdir()) == [5.0, 9.0]
