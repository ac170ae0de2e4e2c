"""Maildirs that mail is moved into: one move at a time, also of several processes."""

from __future__ import annotations

import os

import pytest
from twisted.internet import reactor

from mailserver.errors import MaildropInUse, MaildropUnavailable
from mailserver.interfaces import User
from mailserver.store import MaildirStore
from mailserver.store.maildir.locking import lock
from mailserver.store.maildir.reserving import NAME
from tests.store.maildir.maildirs import MaildirCase


class Reservations(MaildirCase):
    async def test_a_move_of_another_process_is_told(self) -> None:
        self.root().mkdir(parents=True)
        other = lock(self.octets(), "pid 7 migrate", NAME)
        for _ in range(2):
            with pytest.raises(MaildropInUse, match=r"another run moves mail there.*pid 7 migrate"):
                await self.store.reserve(User("alice"), "migrate")
        os.close(other)
        end = await self.store.reserve(User("alice"), "migrate")
        with pytest.raises(MaildropInUse, match=f"pid {os.getpid()} migrate"):
            lock(self.octets(), "me", NAME)
        end()
        os.close(lock(self.octets(), "me", NAME))

    async def test_a_missing_home_is_told_and_a_dry_run_makes_nothing(self) -> None:
        store = MaildirStore("{home}/Maildir", reactor)
        self.addCleanup(store.stop)
        home = self.homes / "alice"
        user = User("alice", home=str(home))
        for dry_run in (True, False):
            with pytest.raises(MaildropUnavailable, match=r"alice.*create the directory"):
                await store.reserve(user, "me", dry_run)
        assert not home.exists()
        home.mkdir()
        (await store.reserve(user, "me", dry_run=True))()
        assert list(home.iterdir()) == []
        (await store.reserve(user, "me"))()
        assert [path.name for path in home.rglob("*")] == ["Maildir", os.fsdecode(NAME)]
