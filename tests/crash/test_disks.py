"""A disk that is full, read-only or gone, and a database that is: the sender is told to try again, and nothing is torn.

Nobody restarts anything: the next message gets in as soon as it can.
"""

from __future__ import annotations

import os
import pwd
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import pytest

from tests.auth.sql.sites import SqlSite
from tests.crash.receiving import RECEIVING, TRACE, address
from tests.rawlmtp import RawLMTP
from tests.rawpop3 import patient
from tests.servers import Account, Server, Site, toml

NOBODY = "nobody"
ROOT = os.geteuid() == 0
OLD = b"Old: yes\r\n\r\nhello\r\n"
SMALL = b"Subject: small\r\n\r\nhello\r\n"
LARGE = b"Subject: large\r\n\r\n" + b"sixteen octets\r\n" * 40_000
"""More than a chunk, so that a part of it is written before its end is here."""

NO_ROOM, DOWN = b"452 4.3.1 ", b"451 4.3.0 "

only_root = pytest.mark.skipif(not ROOT, reason="only root can mount a disk")


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as site:
        yield site


@contextmanager
def disk(path: Path, *options: str) -> Iterator[None]:
    """A small one, mounted at `path`."""
    path.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", ",".join(("size=1m", *options)), "mailserver-test", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this machine lets root mount nothing: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def remount(path: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(path)], check=True)


@contextmanager
def serving(site: Site, **settings: object) -> Iterator[Server]:
    """A server that is not root, where a test is."""
    if ROOT:
        entry = pwd.getpwnam(NOBODY)
        for path in (site.folder, *site.folder.rglob("*")):
            os.chown(path, entry.pw_uid, entry.pw_gid)
    server = Server(site, **RECEIVING, **settings, **({"user": NOBODY} if ROOT else {}))
    server.start()
    try:
        yield server
    finally:
        server.stop()
    assert not [event for event in server.events if "fault" in event.get("event", "")], server.log()


def deliver(server: Server, message: bytes, *accounts: Account) -> list[bytes]:
    with RawLMTP(server.ports["lmtp"]).hello() as mailer:
        return mailer.deliver(message, *map(address, accounts))


def accepted(server: Server, message: bytes, *accounts: Account) -> None:
    assert [reply[:3] for reply in deliver(server, message, *accounts)] == [b"250"] * len(accounts)


def lies(account: Account) -> list[bytes]:
    """The messages that lie in the Maildir, whose tmp/ is empty; the old one is the first, and the large ones come before the small."""
    assert list((account.maildir / "tmp").iterdir()) == []
    return sorted(TRACE.sub(b"", message, 1) for message in account.stored())


def fill(path: Path, left: int = 0) -> None:
    """Leave so many octets."""
    with (path / "ballast").open("wb") as file:
        room = os.statvfs(path)
        file.truncate(0)
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - left)


@only_root
@pytest.mark.parametrize("left", [0, 8192, 300_000])
def test_a_full_disk_takes_nothing_and_then_all_again(site: Site, left: int) -> None:
    path = site.folder / "mail"
    with disk(path):
        alice = site.account("alice", messages=[OLD])
        with serving(site) as server:
            accepted(server, SMALL, alice)
            fill(path, left)
            for _ in range(3):
                assert deliver(server, LARGE, alice)[0].startswith(NO_ROOM)
                assert lies(alice) == [OLD, SMALL]
            if not left:
                assert deliver(server, SMALL, alice)[0].startswith(NO_ROOM)
            (path / "ballast").unlink()
            accepted(server, LARGE, alice)
            assert lies(alice) == [OLD, LARGE, SMALL]


@only_root
def test_a_user_who_deletes_makes_room_for_new_mail(site: Site) -> None:
    with disk(site.folder / "mail"):
        alice = site.account("alice")
        with serving(site) as server:
            accepted(server, LARGE, alice)
            assert deliver(server, LARGE, alice)[0].startswith(NO_ROOM)
            with patient(server.pop3_port, alice.name, alice.password) as client:
                assert TRACE.sub(b"", client.fetch(b"RETR 1"), 1) == LARGE
                client.ok(b"DELE 1")
                client.quit()
            accepted(server, LARGE, alice)
            assert lies(alice) == [LARGE]


@only_root
@pytest.mark.parametrize("first", ["full", "roomy"])
def test_a_full_disk_of_one_recipient_is_nothing_to_the_other(site: Site, first: str) -> None:
    alice, bob = site.account("alice"), site.account("bob")
    with disk(alice.maildir.parent):
        alice.maildir.mkdir()
        alice = Account(alice.name, alice.password, alice.maildir.parent)
        with serving(site) as server:
            fill(alice.maildir.parent, 100_000)
            for message in (LARGE, SMALL):
                order = [alice, bob] if first == "full" else [bob, alice]
                replies = dict(zip(order, deliver(server, message, *order), strict=True))
                assert replies[bob].startswith(b"250")
                assert replies[alice].startswith(NO_ROOM if message == LARGE else b"250")
            assert lies(bob) == [LARGE, SMALL]
            assert lies(alice) == [SMALL]


@only_root
def test_a_disk_without_inodes_is_full(site: Site) -> None:
    path = site.folder / "mail"
    with disk(path, "nr_inodes=40"):
        alice = site.account("alice")
        with serving(site) as server:
            accepted(server, SMALL, alice)
            (path / "ballast").mkdir()
            names = count()
            while os.statvfs(path).f_ffree:
                (path / "ballast" / str(next(names))).touch()
            assert deliver(server, SMALL, alice)[0].startswith(NO_ROOM)
            shutil.rmtree(path / "ballast")
            accepted(server, SMALL, alice)
            assert lies(alice) == [SMALL, SMALL]


@only_root
def test_a_disk_that_is_read_only_takes_mail_again_when_it_is_writable(site: Site) -> None:
    path = site.folder / "mail"
    with disk(path):
        alice = site.account("alice")
        with serving(site) as server:
            accepted(server, SMALL, alice)
            remount(path, "ro")
            for message in (SMALL, LARGE):
                assert deliver(server, message, alice)[0].startswith(DOWN)
            remount(path, "rw")
            accepted(server, SMALL, alice)
            assert lies(alice) == [SMALL, SMALL]


@pytest.mark.parametrize("closed", ["new", "tmp", "."])
def test_a_maildrop_that_cannot_be_written_takes_mail_again_when_it_can(site: Site, closed: str) -> None:
    alice, bob = site.account("alice"), site.account("bob")
    with serving(site) as server:
        accepted(server, SMALL, alice)
        (alice.maildir / closed).chmod(0o500)
        replies = deliver(server, LARGE, alice, bob)
        if closed != ".":  # with its directories, the Maildir's own is not needed
            assert replies[0].startswith(DOWN)
        assert replies[1].startswith(b"250")
        (alice.maildir / closed).chmod(0o700)
        accepted(server, SMALL, alice)
        assert lies(alice) == [SMALL, SMALL] if closed != "." else [LARGE, SMALL, SMALL]
        assert lies(bob) == [LARGE]


def test_a_home_that_vanished_is_not_made_and_takes_mail_again_when_it_is_back(site: Site) -> None:
    alice = site.account("alice")
    home, away = alice.maildir.parent, site.folder / "away"
    with serving(site) as server:
        accepted(server, SMALL, alice)
        home.rename(away)
        for message in (SMALL, LARGE):
            assert deliver(server, message, alice)[0].startswith(DOWN)
        assert not home.exists()
        away.rename(home)
        accepted(server, SMALL, alice)
        assert lies(alice) == [SMALL, SMALL]


def test_a_maildir_that_vanished_is_made_again(site: Site) -> None:
    alice = site.account("alice")
    with serving(site) as server:
        for message in (SMALL, LARGE):
            accepted(server, message, alice)
            assert lies(alice) == [message]
            shutil.rmtree(alice.maildir)
        accepted(server, SMALL, alice)
        assert lies(alice) == [SMALL]


@pytest.mark.parametrize("hurt", ["locked", "gone"])
def test_a_database_that_is_down_turns_nobody_away_for_good(site: Site, hurt: str) -> None:
    alice = site.account("alice")
    folder = site.folder / "sql"
    folder.mkdir()
    database = SqlSite(folder)
    database.add("alice", "{PLAIN}sesame", home=str(alice.maildir.parent))
    path = folder / "sql.toml"
    path.write_text(toml(database.settings(query_seconds=1)))
    path.chmod(0o600)
    with serving(site, auth={"checkers": [f"sql:{path}"]}) as server:
        accepted(server, SMALL, alice)
        with locked(database.file) if hurt == "locked" else hidden(database.file):
            assert deliver(server, SMALL, alice)[0].startswith(DOWN)
        accepted(server, SMALL, alice)
        assert lies(alice) == [SMALL, SMALL]


@contextmanager
def locked(file: Path) -> Iterator[None]:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def hidden(file: Path) -> Iterator[None]:
    file.rename(file.with_suffix(".away"))
    try:
        yield
    finally:
        file.with_suffix(".away").rename(file)
