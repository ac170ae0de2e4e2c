"""Files and Maildirs that other programs replace under a session: what was listed is deleted, and nothing else."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mailserver.errors import MaildropUnavailable
from mailserver.store.maildir import index, locking
from mailserver.store.maildir.same import Target
from mailserver.testing.contracts.store import ONE, TWO
from tests.store.maildir.maildirs import LoggedCase


class Replaced(LoggedCase):
    """What was listed is deleted, and what is proven to be the same; nothing else."""

    async def commit(self, change: Callable[[Path], object], file: str = "new/1.a", stored: bytes = ONE) -> int:
        """A session deletes its only message, which another program has changed; how many are left."""
        path = self.deliver("alice", stored, file)
        os.utime(path, (1, 1))
        maildrop = await self.open()
        listed = locking.taken_at(maildrop._lock)
        (self.root() / "tick").touch()
        while (self.root() / "tick").stat().st_mtime_ns <= listed:
            (self.root() / "tick").touch()
        change(path)
        return await maildrop.commit([1])

    async def test_a_neighbour_that_comes_under_the_session_stays(self) -> None:
        for file in ("cur/1.a:2,S", "cur/1.a,S=1:2,", "new/1.a,U=7"):
            assert await self.commit(lambda _: self.deliver("alice", TWO, file)) == 0  # noqa: B023 - used at once
            assert self.stored("alice") == [TWO]
            self.vanish("alice", TWO)

    async def test_another_file_that_takes_the_name_stays_and_is_told(self) -> None:
        for message in (TWO, ONE[::-1]):

            def replace(path: Path) -> None:
                path.unlink()
                path.write_bytes(message)  # noqa: B023 - used at once; ext4 gives it the same inode

            assert await self.commit(replace) == 1
            assert self.stored("alice") == [message]
            assert "not proven" in self.told("store.note")[-1]
            self.vanish("alice", message)

    async def test_another_file_with_the_inode_stays_and_is_told(self) -> None:
        for message, mtime in ((ONE[::-1], None), (TWO, None), (TWO, (1, 1))):  # as restored with its old mtime

            def replace(path: Path) -> None:
                path.write_bytes(message)  # noqa: B023 - used at once
                os.utime(path, mtime)  # noqa: B023
                path.rename(self.root() / "cur/1.a:2,S")

            assert await self.commit(replace) == 1
            assert self.stored("alice") == [message]
            self.vanish("alice", message)

    async def test_another_file_that_takes_the_unique_part_stays_and_is_told(self) -> None:
        def replace(path: Path) -> None:
            path.unlink()
            self.deliver("alice", ONE[::-1], "cur/1.a:2,S")

        assert await self.commit(replace) == 1
        assert self.stored("alice") == [ONE[::-1]]

    async def test_a_copy_is_the_same_message_and_goes_too(self) -> None:
        assert await self.commit(lambda _: self.deliver("alice", ONE, "cur/1.a:2,S")) == 0
        assert self.stored("alice") == []

    async def test_a_listed_message_of_the_same_contents_is_no_copy(self) -> None:
        self.deliver("alice", ONE, "cur/1.a,S=1:2,")
        assert await self.commit(lambda _: None) == 0
        assert self.stored("alice") == [ONE]

    async def test_a_message_that_another_program_deleted_counts_as_done_beside_its_neighbour(self) -> None:
        self.deliver("alice", TWO, "cur/1.a,S=1:2,")
        os.utime(self.root() / "cur/1.a,S=1:2,", (9, 9))
        assert await self.commit(lambda path: path.unlink()) == 0
        assert self.stored("alice") == [TWO]
        assert self.told("store.note") == []

    async def test_a_wrong_size_in_a_name_hinders_no_deletion(self) -> None:
        assert await self.commit(lambda _: None, "new/1.a,S=99999,W=99999") == 0
        assert self.stored("alice") == []

    async def test_a_message_with_a_time_in_the_future_is_deleted(self) -> None:
        assert await self.commit(lambda path: os.utime(path, (4e9, 4e9))) == 0
        assert self.stored("alice") == []

    async def test_where_inodes_do_not_last_the_file_that_nobody_touched_is_deleted(self) -> None:
        self.patch(index.Index, "target", lambda self, at: Target(self.names[at], 5, self.sizes[at]))
        self.patch(index.Index, "others", lambda _self, _targets: frozenset())
        assert await self.commit(lambda _: self.deliver("alice", TWO, "new/2.b")) == 0
        assert self.stored("alice") == [TWO]

    async def test_where_inodes_do_not_last_a_size_in_the_name_proves_nothing(self) -> None:
        self.patch(index.Index, "target", lambda self, at: Target(self.names[at], 5, self.sizes[at]))
        self.patch(index.Index, "others", lambda _self, _targets: frozenset())
        mail = ONE * 100
        for stored in (gzip.compress(mail), ONE):  # packed, and a name that lies
            assert await self.commit(lambda _: None, f"new/1.a,S={len(mail)},W=7", stored) == 0
            assert self.stored("alice") == []

    async def test_where_inodes_do_not_last_a_renamed_file_stays_and_is_told(self) -> None:
        self.patch(index.Index, "target", lambda self, at: Target(self.names[at], 5, self.sizes[at]))
        self.patch(index.Index, "others", lambda _self, _targets: frozenset())
        assert await self.commit(lambda path: path.rename(f"{path}:2,S")) == 1
        assert self.stored("alice") == [ONE]

    async def test_what_is_no_file_any_more_stays(self) -> None:
        def replace(path: Path) -> None:
            path.unlink()
            path.mkdir()

        assert await self.commit(replace) == 0
        assert [path.is_dir() for path in self.files()] == [True]


class ReplacedRoot(LoggedCase):
    async def test_a_maildrop_that_was_replaced_is_left_alone(self) -> None:
        for restore_lock in (True, False):
            maildrop = await self.open("alice", ONE, TWO)
            maildrop.sent(1, 5)
            self.root().rename(self.homes / f"old {restore_lock}")
            shutil.copytree(self.homes / f"old {restore_lock}", self.root())
            if not restore_lock:
                (self.root() / "mailserver-lock").unlink()
            before = sorted(self.root().rglob("*"))
            with pytest.raises(MaildropUnavailable, match="replaced under the session"):
                await maildrop.commit([1])
            assert sorted(self.root().rglob("*")) == before
            assert await (await self.open()).commit([1, 2]) == 0

    async def test_a_session_without_deletions_ends_well_and_writes_nothing_there(self) -> None:
        maildrop = await self.open("alice", ONE)
        maildrop.sent(1, 5)
        self.root().rename(self.homes / "old")
        self.root().write_bytes(b"")
        assert await maildrop.commit([]) == 0
        assert self.root().read_bytes() == b""
        assert "replaced under the session" in self.told("store.note")[0]
