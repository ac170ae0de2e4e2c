"""A disk that hangs under one maildrop, and a system that gives no thread."""

from __future__ import annotations

import os
import threading
from typing import Any, ClassVar

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from mailserver.errors import TemporaryFailure
from mailserver.pool import STOP_SECONDS
from mailserver.store.disk import COMMITS, HANGING_SECONDS, SHARE
from mailserver.testing.contracts.store import ONE
from mailserver.threads import NoThreads
from tests.store.maildir.maildirs import MaildirCase
from tests.store.maildir.test_leaving import open_files


class Refusing(threading.Thread):
    def start(self) -> None:
        raise RuntimeError("can't start new thread")


class Hanging(MaildirCase):
    options: ClassVar = {"io": "threads", "threads": 2}

    def setUp(self) -> None:
        super().setUp()
        self.gate = threading.Event()
        self.addCleanup(self.gate.set)

    def hang(self, name: str = "alice") -> Deferred[bool]:
        """As a thread does whose disk does not answer."""
        return self.store._disk.read(os.fsencode(f"{self.root(name)}/"), self.gate.wait, 60)

    def polls(self, count: int) -> list[Deferred[Any]]:
        return [self.store.open(self.user("alice"), "me") for _ in range(count)]

    async def test_polls_of_one_user_whose_home_hangs_leave_the_threads_to_others(self) -> None:
        held, polls = self.hang(), self.polls(8)
        for each in polls[SHARE:]:
            self.failureResultOf(each, TemporaryFailure)
        bob = await self.open("bob", ONE)
        assert await bob.commit([1]) == 0
        assert self.files("bob") == []
        for each in polls[:SHARE]:
            each.addErrback(lambda failure: failure.trap(CancelledError))
            each.cancel()
        self.gate.set()
        await held
        (await self.open()).release()

    async def test_commits_wait_for_no_opening(self) -> None:
        maildrop = await self.open("alice", ONE)
        held = [self.hang("bob"), self.hang("carol")]
        assert await maildrop.commit([1]) == 0
        assert not any(each.called for each in held)
        self.gate.set()
        await gatherResults(held)

    async def test_a_hung_home_is_named_while_the_server_runs(self) -> None:
        clock = Clock()
        clock.callFromThread = reactor.callFromThread
        self.store._disk.start()
        self.store._disk._work._reactor = clock
        held = self.hang()
        with capturedLogs() as events:
            clock.advance(HANGING_SECONDS)
        assert [event["what"] for event in events if event.get("event") == "pool.slow"] == [f"{self.root()}/"]
        self.gate.set()
        await held

    async def test_a_hung_home_is_named_at_the_stop_which_ends(self) -> None:
        held = self.hang()
        clock = Clock()
        clock.callFromThread = reactor.callFromThread
        self.store._disk._work._reactor = clock
        with capturedLogs() as events:
            stopped = self.store.stop()
            clock.advance(STOP_SECONDS)
            await stopped
        (event,) = [each for each in events if each.get("event") == "pool.hanging"]
        assert str(self.root()) in event["hanging"][0]
        self.failureResultOf(self.polls(1)[0], TemporaryFailure)
        self.gate.set()
        await held


class NoMoreThreads(MaildirCase):
    def setUp(self) -> None:
        super().setUp()
        self.pools = [self.store._disk._work, self.store._disk._commits]

    def refuse(self, *, thread: Any = Refusing) -> None:
        for each in self.pools:
            each._thread = thread

    async def test_an_opening_gives_the_lock_back(self) -> None:
        self.deliver("alice", ONE)
        self.refuse()
        descriptors = open_files()
        for _ in range(3):
            self.failureResultOf(self.store.open(self.user("alice"), "me"), NoThreads)
        assert open_files() == descriptors
        self.refuse(thread=threading.Thread)
        (await self.open()).release()

    async def test_a_start_fails_and_leaves_nothing(self) -> None:
        self.pools[1]._thread = Refusing
        before = threading.active_count()
        self.failureResultOf(self.store.start(), NoThreads)
        assert threading.active_count() == before
        self.refuse(thread=threading.Thread)
        await self.store.start()
        assert threading.active_count() == before + 8 + COMMITS

    async def test_a_commit_gives_the_lock_back_and_deletes_nothing(self) -> None:
        maildrop = await self.open("alice", ONE)
        for each in self.pools:
            await each.stop()
        self.refuse()
        self.failureResultOf(maildrop.commit([1]), NoThreads)
        self.refuse(thread=threading.Thread)
        assert len((await self.open()).messages) == 1
