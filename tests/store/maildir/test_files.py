"""System calls that fail: nothing stays open, and what a file system cannot do is told once."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from pathlib import Path

import pytest

from mailserver.errors import MaildropInUse, MaildropUnavailable, MessageGone, OutcomeUnknown
from mailserver.store.maildir import files, opening, promise
from mailserver.store.maildir.locking import lock
from mailserver.store.maildir.same import Target
from mailserver.watched import read_file
from tests.store.maildir.maildirs import LoggedCase

TIMES = 20


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def failing(monkeypatch: pytest.MonkeyPatch, call: str, error: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, refuse)


def test_a_folder_in_the_place_of_a_file_leaves_nothing_open(tmp_path: Path) -> None:
    before = descriptors()
    for _ in range(TIMES):
        with pytest.raises(OSError, match="not a regular file"):
            files.read_whole(os.fsencode(tmp_path))
        with pytest.raises(MessageGone):
            files.open_message(os.fsencode(tmp_path), 9)
        with pytest.raises(OSError, match="not a regular file"):
            read_file(str(tmp_path), b"", bytes)
    assert descriptors() == before


@pytest.mark.parametrize("call", ["fstat", "read"])
def test_a_file_that_cannot_be_read_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    (tmp_path / "file").write_bytes(b"something")
    path, before = os.fsencode(tmp_path / "file"), descriptors()
    with monkeypatch.context() as patch:
        failing(patch, call, errno.ESTALE)
        for _ in range(TIMES):
            with pytest.raises(OSError, match="tale"):
                files.read_whole(path)
            if call == "fstat":
                with pytest.raises(OSError, match="tale"):
                    files.open_message(path, 9)
    assert descriptors() == before


@pytest.mark.parametrize("call", ["write", "fsync", "fstat"])
def test_a_file_that_cannot_be_written_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    before = descriptors()
    with monkeypatch.context() as patch:
        failing(patch, call, errno.EIO)
        for _ in range(TIMES):
            with pytest.raises(OSError, match="Input/output"):
                files.write_new(os.fsencode(tmp_path / "file"), b"something", durable=True)
    assert descriptors() == before


def test_a_lock_that_cannot_be_taken_is_closed(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path) + b"/"
    held, before = lock(root, "one"), descriptors()
    for _ in range(TIMES):
        with pytest.raises(MaildropInUse, match="one"):
            lock(root, "two")
    assert descriptors() == before
    os.close(held)


class FaultyLogins(LoggedCase):
    """Logins to maildrops in which something is not what it should be, many times."""

    async def logins(self) -> set[str]:
        """How they end."""
        outcomes, before = set(), descriptors()
        for _ in range(TIMES):
            try:
                maildrop = await self.open()
            except MaildropUnavailable:
                outcomes.add("refused")
            else:
                maildrop.release()
                outcomes.add("served")
        assert descriptors() == before
        return outcomes

    async def opened_once(self) -> None:
        self.deliver("alice", b"Subject: one\n\n")
        await self.reopen()

    async def test_a_folder_instead_of_the_index(self) -> None:
        await self.opened_once()
        (self.root() / "mailserver-index").unlink()
        (self.root() / "mailserver-index").mkdir()
        assert await self.logins() == {"served"}

    async def test_a_folder_instead_of_the_journal(self) -> None:
        await self.opened_once()
        (self.root() / "mailserver-journal").mkdir()
        assert await self.logins() == {"refused"}

    async def test_a_folder_instead_of_the_lock(self) -> None:
        await self.opened_once()
        (self.root() / "mailserver-lock").unlink()
        (self.root() / "mailserver-lock").mkdir()
        assert await self.logins() == {"refused"}

    async def test_a_file_instead_of_new(self) -> None:
        await self.opened_once()
        (self.root() / "new").rename(self.root() / "away")
        (self.root() / "new").touch()
        assert await self.logins() == {"refused"}

    async def test_messages_that_are_none(self) -> None:
        await self.opened_once()
        (self.root() / "new" / "1700000009.M1P1.h").mkdir()
        os.mkfifo(self.root() / "new" / "1700000008.M1P1.h")
        assert await self.logins() == {"served"}


class WithoutSync(LoggedCase):
    """On a file system that cannot sync a directory."""

    def setUp(self) -> None:
        super().setUp()
        self.patch(files, "_unable", {})
        self.patch(files, "_news", deque())
        sync = os.fsync

        def refuse(descriptor: int) -> None:
            if Path(f"/proc/self/fd/{descriptor}").is_dir():
                raise OSError(self.error, os.strerror(self.error))
            sync(descriptor)

        self.patch(os, "fsync", refuse)

    async def deleted(self, error: int) -> None:
        self.error = error
        for name in ("alice", "bob", "alice"):
            maildrop = await self.open(name, b"Subject: one\n\n", b"Subject: two\n\n")
            assert await maildrop.commit([1]) == 0
        assert len(self.stored("alice")) == 2
        assert len(self.stored("bob")) == 1
        (note,) = self.told("store.note")
        assert "cannot guarantee durability" in note
        assert str(self.root()) in note

    async def test_deletions_go_on_with_one_note(self) -> None:
        await self.deleted(errno.EINVAL)

    async def test_so_they_do_where_it_is_not_supported(self) -> None:
        await self.deleted(errno.EOPNOTSUPP)

    async def test_a_login_that_finishes_a_commit_says_so_too(self) -> None:
        self.error = errno.EINVAL
        self.deliver("alice", b"Subject: one\n\n")
        await self.reopen()
        path = self.files()[0]
        target = Target(f"new/{path.name}".encode(), path.stat().st_ino, path.stat().st_size, time.time_ns())
        (self.root() / "mailserver-journal").write_bytes(promise.encode([target]))
        assert await self.reopen() == []
        assert [note for note in self.told("store.note") if "durability" in note]

    async def test_another_error_ends_the_commit(self) -> None:
        self.error = errno.EIO
        maildrop = await self.open("alice", b"Subject: one\n\n")
        with pytest.raises(OutcomeUnknown):
            await maildrop.commit([1])  # the journal is withdrawn, and even that may not be durable
        assert len(self.stored("alice")) == 1


def test_a_maildrop_that_cannot_be_opened_gives_its_lock_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, before = os.fsencode(tmp_path / "Maildir") + b"/", descriptors()
    failing(monkeypatch, "scandir", errno.EIO)
    for _ in range(TIMES):
        with pytest.raises(MaildropUnavailable):
            opening.thoroughly(root, os.fsencode(tmp_path), "test", None, lambda _root: 0)
    assert descriptors() == before
