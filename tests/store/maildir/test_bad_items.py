"""One message that the disk refuses hinders no other."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mailserver.errors import MessageGone
from mailserver.testing.contracts.store import ONE, TWO, contents
from tests.store.maildir.maildirs import LoggedCase
from tests.store.maildir.renames import Renames


class OneBadItem(LoggedCase):
    """One message that the disk refuses, by its path, hinders no other."""

    @contextmanager
    def refusals(self) -> Iterator[None]:
        """What is refused in it is refused no longer."""
        with pytest.MonkeyPatch.context() as self.patched:
            yield

    def setUp(self) -> None:
        super().setUp()
        self.patched = pytest.MonkeyPatch()
        self.addCleanup(lambda: self.patched.undo())  # noqa: PLW0108 - the one of that time

    def refusing(self, name: str, error: int, part: str) -> None:
        function = getattr(os, name)

        def refused(path: object, *arguments: object, **options: object) -> object:
            if part in os.fsdecode(path if isinstance(path, (bytes, str, Path)) else b""):
                raise OSError(error, os.strerror(error), os.fsdecode(path))  # type: ignore[arg-type]  # it is a path
            return function(path, *arguments, **options)

        self.patched.setattr(os, name, refused)

    async def test_an_unlink_that_fails(self) -> None:
        for error in (errno.EBUSY, errno.EIO, errno.ESTALE, errno.ETXTBSY, errno.EACCES, errno.EPERM):
            maildrop = await self.open("alice", ONE, TWO, b"three")
            stuck, *_ = self.files()
            with self.refusals():
                self.refusing("unlink", error, stuck.name)
                assert await maildrop.commit([1, 2]) == 1
            assert self.told("store.note")[-1] == f"{stuck} cannot be removed: {os.strerror(error)}"
            assert len(await self.reopen()) == 2
            assert not (self.root() / "mailserver-journal").exists()
            for path in self.files():
                path.unlink()

    async def test_a_look_that_fails_where_it_can_be_read(self) -> None:
        paths = [self.deliver("alice", message) for message in (ONE, TWO)]
        self.refusing("lstat", errno.EIO, paths[0].name)
        maildrop = await self.open()
        assert list(maildrop.messages.octets) == [len(ONE), len(TWO)]
        assert await contents(maildrop.fetch(1)) == ONE
        assert await maildrop.commit([1]) == 0
        assert self.stored("alice") == [TWO]

    async def test_a_look_and_an_open_that_fail(self) -> None:
        for error in (errno.EIO, errno.EUCLEAN, errno.ESTALE, errno.EACCES):
            paths = [self.deliver("alice", message, f"new/{name}") for name, message in (("bad", ONE), ("good", TWO))]
            with self.refusals():
                self.refusing("lstat", error, paths[0].name)
                self.refusing("open", error, paths[0].name)
                maildrop = await self.open()
                uidls = list(maildrop.messages.uidls)
                assert sorted(uidls) == [b"bad", b"good"]
                with pytest.raises(MessageGone):
                    maildrop.fetch(uidls.index(b"bad") + 1)
                assert await contents(maildrop.fetch(uidls.index(b"good") + 1)) == TWO
                assert await maildrop.commit([]) == 0
            assert self.told("store.note")[-1].endswith(f"{os.strerror(error)}: {str(paths[0])!r}")
            maildrop = await self.open()
            assert await contents(maildrop.fetch(list(maildrop.messages.uidls).index(b"bad") + 1)) == ONE
            assert await maildrop.commit([1, 2]) == 0

    async def test_an_entry_whose_kind_cannot_be_told(self) -> None:
        class Entry:
            def __init__(self, entry: os.DirEntry[bytes]) -> None:
                self.name, self.inode = entry.name, entry.inode

            def is_file(self, *, follow_symlinks: bool) -> bool:
                raise OSError(errno.EIO, f"follow_symlinks={follow_symlinks}")

        renames = Renames(lambda _: None)
        renames.shown = Entry
        self.deliver("alice", ONE)
        (self.root() / "new/folder").mkdir()
        self.patch(os, "scandir", renames.scandir)
        assert [octets for _, octets in await self.reopen()] == [len(ONE)]

    async def test_a_tmp_that_cannot_be_made(self) -> None:
        self.deliver("alice", ONE)
        (self.root() / "tmp").rmdir()
        (self.root() / "tmp").touch()
        assert len(await self.reopen()) == 1
        assert "tmp cannot be made" in self.told("store.note")[0]
