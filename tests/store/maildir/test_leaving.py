"""Clients that go, and stores that stop, while a thread works for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import ClassVar

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred

from mailserver.interfaces import User
from mailserver.testing.contracts.store import ONE
from tests.store.maildir.maildirs import MaildirCase


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


class Leaving(MaildirCase):
    options: ClassVar = {"threads": 1}

    def setUp(self) -> None:
        super().setUp()
        self.gate = threading.Event()

    def hold(self) -> Deferred[bool]:
        """Keep the only thread busy until the gate opens."""
        return self.store._disk.read(b"/elsewhere", self.gate.wait, 60)

    async def test_a_cancelled_open_gives_the_lock_back(self) -> None:
        held = self.hold()
        opening_ = self.open_later()
        opening_.cancel()
        self.failureResultOf(opening_, CancelledError)
        self.gate.set()
        await held
        await self.store._disk.read(b"/elsewhere", int)  # the cancelled work is done before this is
        (await self.open()).release()

    async def test_an_avatar_that_comes_late_is_released(self) -> None:
        held = self.hold()
        opening_ = self.open_later()
        opening_.addCallback(lambda maildrop: maildrop.release())
        self.gate.set()
        await held
        await opening_
        (await self.open()).release()

    async def test_a_cancelled_open_that_fails_is_silent(self) -> None:
        held = self.hold()
        opening_ = self.store.open(User("alice", mail=f"maildir:{self.homes}/absent/Maildir"), "me")
        opening_.cancel()
        self.failureResultOf(opening_, CancelledError)
        self.gate.set()
        await held
        await self.store._disk.read(b"/elsewhere", int)

    async def test_a_cancelled_fetch_closes_its_file(self) -> None:
        maildrop = await self.open("alice", ONE)
        path = self.files()[0]
        path.rename(f"{path}:2,S")
        held = self.hold()
        before = open_files()
        fetched = maildrop.fetch(1)
        fetched.cancel()
        self.failureResultOf(fetched, CancelledError)
        self.gate.set()
        await held
        await self.store._disk.read(b"/elsewhere", int)
        assert open_files() == before
        maildrop.release()

    async def test_stop_waits_for_the_commit_under_way(self) -> None:
        maildrop = await self.open("alice", ONE)
        held = self.hold()
        committed = maildrop.commit([1])
        stopped = [self.store.stop(), self.store.stop()]
        assert not any(each.called for each in stopped)
        self.gate.set()
        await held
        assert await committed == 0
        for each in stopped:
            await each

    async def test_a_store_that_starts_while_it_stops_goes_on(self) -> None:
        held = self.hold()
        stopped = self.store.stop()
        await self.store.start()
        self.gate.set()
        await held
        await stopped
        opened = self.open_later()
        (await opened).release()

    async def test_a_session_that_outlives_the_store_still_commits(self) -> None:
        maildrop = await self.open("alice", ONE)
        await self.store.stop()
        committed = maildrop.commit([1])
        assert committed.called
        assert await committed == 0

    def open_later(self) -> Deferred:
        opened = maybeDeferred(self.store.open, self.user("alice"), "me")
        assert not opened.called
        return opened
