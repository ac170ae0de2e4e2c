"""Other programs that do their worst under a session: what is deleted is the message that was listed, or nothing."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH104, PTH108, PTH208

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mailserver.errors import MaildropInUse
from mailserver.store.maildir import journal, locking, promise
from mailserver.store.maildir.listing import look
from mailserver.store.maildir.same import Target
from mailserver.testing.contracts.store import ONE, TWO, contents
from tests.store.maildir.maildirs import LoggedCase, MaildirCase

SECOND = 1_000_000_000

EQUAL = ONE[::-1]
"""Another message of the same size."""


def make(path: Path, **files: bytes) -> bytes:
    """A maildrop; its root."""
    for name in ("new", "cur"):
        (path / name).mkdir(parents=True)
    (path / "mailserver-lock").touch()
    return os.fsencode(path) + b"/"


def put(root: bytes, name: bytes, message: bytes) -> None:
    Path(os.fsdecode(root + name)).write_bytes(message)


def old(root: bytes, *names: bytes) -> None:
    for name in names:
        os.utime(root + name, (1, 1))


def listed(root: bytes, *names: bytes) -> list[Target]:
    """These files as a session listed them, and the clock has ticked since."""
    files, since = look(root, lambda: 0).files, locking.now(root)
    while locking.now(root) <= since:
        pass
    return [Target(name, files[name], os.lstat(root + name).st_size, since) for name in names]


def left(root: bytes) -> dict[bytes, bytes]:
    names = [b"%b/%b" % (directory, name) for directory in (b"new", b"cur") for name in os.listdir(root + directory)]
    return {name: Path(os.fsdecode(root + name)).read_bytes() for name in names}


def commit(root: bytes, targets: list[Target], *others: bytes) -> int:
    inodes = frozenset(os.lstat(root + name).st_ino for name in others)
    return journal.commit(root, targets, inodes, partial(locking.now, root)).left


def recover(root: bytes) -> list[str]:
    return journal.recover(root, partial(locking.now, root))


@pytest.mark.parametrize("name", [b"new/1.a", b"cur/1.a:2,S", b"cur/1.a,S=7:2,", b"new/2.b"])
@pytest.mark.parametrize("message", [EQUAL, TWO])
def test_a_delivery_that_gets_the_inode_of_a_message_stays(tmp_path: Path, name: bytes, message: bytes) -> None:
    root = make(tmp_path)
    put(root, b"new/1.a", ONE)
    old(root, b"new/1.a")
    targets = listed(root, b"new/1.a")
    put(root, b"new/1.a", message)  # as a file system sees it: unlinked, and its inode given to the next file at once
    os.rename(root + b"new/1.a", root + name)
    commit(root, targets)
    assert left(root) == {name: message}
    recover(root)
    assert left(root) == {name: message}


@pytest.mark.parametrize("after", range(1, 6))
@pytest.mark.parametrize("same_inode", [True, False])
def test_a_file_that_is_replaced_while_the_commit_runs_stays(tmp_path: Path, after: int, same_inode: bool) -> None:
    root = make(tmp_path)
    put(root, b"new/1.a", ONE)
    old(root, b"new/1.a")
    targets, calls, replaced = listed(root, b"new/1.a"), 0, False

    def clock() -> int:
        """Another program acts right after the commit was told the time."""
        nonlocal calls, replaced
        calls, now = calls + 1, locking.now(root)
        if calls == after and b"new/1.a" in left(root):
            replaced = True
            while locking.now(root) <= now:
                pass
            if same_inode:
                put(root, b"new/1.a", EQUAL)
            else:
                put(root, b"other", EQUAL)
                os.rename(root + b"other", root + b"new/1.a")
        return now

    journal.commit(root, targets, frozenset(), clock)
    assert left(root) == ({b"new/1.a": EQUAL} if replaced else {})
    assert replaced or after > 2


@pytest.mark.parametrize("copy", [shutil.copy, shutil.copy2])
def test_of_a_restored_maildrop_at_most_the_same_message_is_deleted(
    tmp_path: Path, copy: Callable[[Path, Path], object]
) -> None:
    root = make(tmp_path / "Maildir")
    for name, message in ((b"1.a:2,S", ONE), (b"1.a,S=9:2,", EQUAL), (b"2.b:2,", TWO)):
        put(root, b"cur/" + name, message)
        old(root, b"cur/" + name)
    before, targets = left(root), listed(root, b"cur/1.a:2,S")
    cur, away = tmp_path / "Maildir" / "cur", tmp_path / "away"
    cur.rename(away)
    cur.mkdir()
    for file in away.iterdir():
        copy(file, cur / file.name)
    commit(root, targets)
    assert before.items() - left(root).items() <= {(b"cur/1.a:2,S", ONE)}


@pytest.mark.parametrize("name", [b"cur/1.a,S=9:2,", b"cur/1.a:2,F", b"new/1.a"])
def test_of_a_maildrop_that_is_restored_with_its_inodes_in_another_order_no_other_message_is_deleted(
    tmp_path: Path, name: bytes
) -> None:
    root = make(tmp_path)
    put(root, b"cur/1.a:2,S", ONE)
    put(root, name, EQUAL)
    old(root, b"cur/1.a:2,S", name)
    targets, other = listed(root, b"cur/1.a:2,S"), os.lstat(root + name).st_ino
    os.rename(root + name, root + b"swap")
    os.rename(root + b"cur/1.a:2,S", root + name)
    os.rename(root + b"swap", root + b"cur/1.a:2,S")
    put(root, name, EQUAL)
    put(root, b"cur/1.a:2,S", ONE)
    old(root, b"cur/1.a:2,S", name)  # a backup keeps the times
    removed = journal.commit(root, targets, frozenset({other}), partial(locking.now, root))
    assert left(root)[name] == EQUAL
    assert removed.left == (b"cur/1.a:2,S" in left(root))


def test_hard_links_of_a_message_go_together_also_when_one_comes_while_the_commit_runs(tmp_path: Path) -> None:
    for after in range(1, 8):
        root = make(tmp_path / str(after))
        put(root, b"new/1.a", ONE)
        put(root, b"new/2.b", TWO)
        os.link(root + b"new/1.a", root + b"cur/1.a:2,S")
        os.link(root + b"new/1.a", root + b"cur/3.c:2,S")  # a message of its own, by its name
        targets, calls = listed(root, b"new/1.a"), 0

        def clock() -> int:
            nonlocal calls
            calls += 1
            if calls == after and b"new/1.a" in left(root):  # noqa: B023 - used at once
                os.link(root + b"new/1.a", root + b"cur/1.a:2,RS")  # noqa: B023
                os.unlink(root + b"new/1.a")  # noqa: B023
            return locking.now(root)  # noqa: B023

        assert journal.commit(root, targets, frozenset(), clock).left == 0
        assert left(root) == {b"new/2.b": TWO, b"cur/3.c:2,S": ONE}


@pytest.mark.parametrize("name", [b"new/1.a", b"cur/1.a:2,S", b"new/1.a,S=9"])
@pytest.mark.parametrize("message", [ONE, EQUAL, TWO])
@pytest.mark.parametrize("same_inode", [True, False])
def test_mail_that_comes_before_a_crash_is_mended_stays(
    tmp_path: Path, name: bytes, message: bytes, same_inode: bool
) -> None:
    root = make(tmp_path)
    put(root, b"new/1.a", ONE)
    old(root, b"new/1.a")
    put(root, journal.NAME, promise.encode(listed(root, b"new/1.a")))
    if not same_inode:
        os.rename(root + b"new/1.a", root + b"old")
    put(root, b"new/1.a", message)
    os.rename(root + b"new/1.a", root + name)
    for _ in range(2):
        recover(root)
        assert left(root) == {name: message}
    assert not (tmp_path / "mailserver-journal").exists()


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"1\n.a", b"x" * 255, b",", b",S=1", b":", b":2,", b":2,S", b"1.a\r\n:2,S", b"\x1b[2J", b" "]
)
def test_an_odd_name_is_deleted_and_nothing_beside_it(tmp_path: Path, name: bytes) -> None:
    for directory in (b"new/", b"cur/"):
        root = make(tmp_path / os.fsdecode(directory[:3]))
        neighbours = {b"new/1.a": TWO, b"cur/,U=2:2,": EQUAL, b"cur/:1,": TWO * 2, b"new/\xff": TWO * 3}
        for path, message in {directory + name: ONE, **neighbours}.items():
            put(root, path, message)
        before = listed(root, *left(root))
        targets = [target for target in before if target.path == directory + name]
        others = [target.path for target in before if target.path != directory + name]
        assert commit(root, targets, *others) == 0
        assert left(root) == neighbours
        put(root, directory + name, ONE)
        targets = listed(root, directory + name)
        put(root, journal.NAME, promise.encode(targets))
        recover(root)
        assert left(root) == neighbours


class Adversary(LoggedCase):
    async def test_every_odd_name_is_listed_under_a_unique_id_of_its_own_and_deleted_alone(self) -> None:
        names = [b"\xff", b"1\n.a", b"x" * 255, b",", b",S=1", b":", b":2,", b"\x1b[2J", b" ", b"1.a:2,\xff"]
        self.deliver("alice", TWO, "cur/2.b:2,").unlink()
        for name in names:
            put(self.octets(), b"cur/" + name, ONE + name)
        for remaining in range(len(names), 0, -1):
            maildrop = await self.open()
            assert len(set(maildrop.messages.uidls)) == remaining
            first, before = await contents(maildrop.fetch(1)), self.stored("alice")
            assert await maildrop.commit([1]) == 0
            assert sorted(self.stored("alice")) == sorted(set(before) - {first})

    async def test_of_two_sizes_under_one_unique_part_the_one_is_deleted_and_the_other_stays(self) -> None:
        for number in (1, 2):
            for messages in ((ONE, TWO), (ONE, EQUAL), (ONE, ONE)):
                self.deliver("alice", messages[0], f"new/{self.serial}.a,S={len(messages[0])}")
                self.deliver("alice", messages[1], f"cur/{self.serial - 1}.a,S={len(messages[1])},W=9:2,S")
                maildrop = await self.open()
                bodies = [await contents(maildrop.fetch(at)) for at in (1, 2)]
                assert await maildrop.commit([number]) == 0
                assert self.stored("alice") == [bodies[2 - number]]
                self.vanish("alice", bodies[2 - number])

    async def test_a_second_server_is_refused_and_sees_then_what_the_first_one_did(self) -> None:
        other = self.make()
        maildrop = await self.open("alice", ONE, TWO)
        with pytest.raises(MaildropInUse):
            await other.open(self.user("alice"), "the other")
        assert self.stored("alice") == [ONE, TWO]
        assert await maildrop.commit([1]) == 0
        for store in (other, self.store, other):
            second = await store.open(self.user("alice"), "the other")
            assert [await contents(second.fetch(1))] == [TWO]
            assert len(second.messages) == 1
            second.release()


class Coarse(MaildirCase):
    """Where directories have times in 2 s, as on FAT, and other files finer ones."""

    now = 1_000_000_000

    def make(self, **options: object) -> object:
        return super().make(clock=self.clock, **options)

    def clock(self, root: bytes) -> int:
        self.round_down()
        return self.now * SECOND

    def round_down(self) -> None:
        """What changed, so that it has a time of today, gets the time of the tick; what did not keeps its own."""
        for directory in (self.root() / "new", self.root() / "cur"):
            if directory.stat().st_mtime > self.now:
                os.utime(directory, (self.now // 2 * 2, self.now // 2 * 2))

    async def test_no_delivery_is_missed_and_no_deletion_comes_back(self) -> None:
        for wait in (0, 1, 2, 3):  # seconds between a change and the login
            self.deliver("alice", ONE)
            for _ in range(3):
                self.round_down()
                self.now += wait
                first = await self.open()
                assert len(first.messages) == len(self.files())
                path = self.deliver("alice", TWO)  # in the tick of the listing
                self.round_down()
                first.release()
                second = await self.open()
                assert len(second.messages) == len(self.files())
                assert await second.commit([1]) == 0
                self.round_down()
                assert path.exists()
                third = await self.open()
                assert len(third.messages) == len(self.files()) == 1
                third.release()
            for path in self.files():
                path.unlink()
