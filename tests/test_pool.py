from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase

from mailserver.asker import asked_by, asker
from mailserver.errors import TemporaryFailure
from mailserver.pool import STOP_SECONDS, Pool
from mailserver.threads import NoThreads


class PoolCase(TestCase):
    def setUp(self) -> None:
        self.gate = threading.Event()
        self.ran: list[object] = []
        self.undone: list[object] = []

    def pool(self, threads: int = 1, waiting: int = 2, **options: Any) -> Pool:
        pool = Pool(reactor, threads, waiting, "works", **options)
        pool.start()
        self.addCleanup(pool.stop)
        self.addCleanup(self.gate.set)
        return pool

    def work(self, what: object) -> object:
        self.gate.wait(60)
        self.ran.append(what)
        return what

    def refused(self, result: Deferred[object]) -> None:
        self.failureResultOf(result, TemporaryFailure)


class PoolTests(PoolCase):
    async def test_results_come_from_another_thread(self) -> None:
        assert await self.pool().run(threading.get_ident) != threading.get_ident()

    async def test_errors_come_too_and_the_pool_goes_on(self) -> None:
        pool = self.pool()
        with pytest.raises(ZeroDivisionError):
            await pool.run(divmod, 1, 0)
        assert await pool.run(divmod, 7, 2) == (3, 1)

    async def test_the_number_of_the_refused_does_not_go_back_with_a_pool_that_ends(self) -> None:
        before = Pool.refused["works"]
        for _ in range(2):
            pool = self.pool(waiting=0)
            busy = pool.run(self.work, "busy")
            self.refused(pool.run(self.work, "one too many"))
            self.gate.set()
            await busy
            await pool.stop()
            self.gate.clear()
        del pool
        assert Pool.refused["works"] == before + 2

    async def test_what_waits_has_an_end(self) -> None:
        pool = self.pool()
        accepted = [pool.run(self.work, number) for number in range(3)]
        self.refused(pool.run(self.work, 3, never_begun=lambda: self.undone.append(3)))
        assert self.undone == [3]
        self.gate.set()
        assert await gatherResults(accepted) == [0, 1, 2]
        assert await pool.run(self.work, 4) == 4

    async def test_what_is_owed_is_taken_over_every_limit(self) -> None:
        pool = self.pool(waiting=0)
        held = pool.run(self.work, 0)
        self.refused(pool.run(self.work, 1))
        mandatory = pool.run(self.work, 2, mandatory=True)
        self.gate.set()
        assert await gatherResults([held, mandatory]) == [0, 2]

    async def test_who_has_gone_is_not_served(self) -> None:
        pool = self.pool()
        first, second, third = (
            pool.run(self.work, number, never_begun=lambda number=number: self.undone.append(number))
            for number in range(3)
        )
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.gate.set()
        assert await gatherResults([first, third]) == [0, 2]
        assert self.ran == [0, 2]
        assert self.undone == [1]

    async def test_a_thread_is_busy_until_it_ends_though_nobody_waits_for_it(self) -> None:
        pool = self.pool()
        first = pool.run(self.work, 0, undo=self.undone.append)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        waiting = [pool.run(self.work, number) for number in (1, 2)]
        self.refused(pool.run(self.work, 3))
        self.gate.set()
        assert await gatherResults(waiting) == [1, 2]
        assert self.undone == [0]

    async def test_forty_that_have_gone_cost_what_was_running_and_the_next_is_another_one(self) -> None:
        pool = self.pool(threads=2, waiting=100, share=20)
        flood = [pool.run(self.work, "flood", key="192.0.2.1") for _ in range(40)]
        assert [each.called for each in flood].count(True) == 18  # over its share
        for each in flood:
            each.addErrback(lambda _: None)
        other = pool.run(self.work, "other", key="192.0.2.2")
        for each in flood:
            each.cancel()
        self.gate.set()
        assert await other == "other"
        assert sorted(self.ran) == ["flood", "flood", "other"]

    async def test_another_key_is_the_next_to_be_served(self) -> None:
        for threads in (1, 2):
            self.gate.clear()
            self.ran.clear()
            pool = self.pool(threads=threads, waiting=100)
            flood = [pool.run(self.work, "flood", key="a") for _ in range(6)]
            other = pool.run(self.work, "other", key="b")
            self.gate.set()
            await gatherResults([*flood, other])
            assert self.ran.index("other") <= threads + 1
            assert self.ran.index("other") >= threads - 1

    async def test_keys_are_served_in_turn(self) -> None:
        pool = self.pool(waiting=100)
        results = [pool.run(self.work, key, key=key) for key in "aaaabbcc"]
        self.gate.set()
        await gatherResults(results)
        assert self.ran == list("abcabcaa")

    async def test_a_full_queue_has_room_for_who_waits_for_less(self) -> None:
        pool = self.pool(waiting=3)
        accepted = [pool.run(self.work, key, key=key) for key in "aaab"]
        self.refused(pool.run(self.work, "a", key="a"))
        accepted.append(pool.run(self.work, "c", key="c"))
        self.refused(accepted.pop(2))  # the last of a's
        self.refused(pool.run(self.work, "d", key="d"))  # nobody has two now
        self.gate.set()
        assert await gatherResults(accepted) == ["a", "a", "b", "c"]

    async def test_one_key_has_no_more_than_its_share_of_threads_and_queue(self) -> None:
        pool = self.pool(threads=2, waiting=100, share=1, together=1)
        held, waiting = pool.run(self.work, "hung", key="a"), pool.run(self.work, "after", key="a")
        self.refused(pool.run(self.work, "too many", key="a"))
        assert await pool.run(int, key="b") == 0
        assert not held.called
        self.gate.set()
        assert await gatherResults([held, waiting]) == ["hung", "after"]

    async def test_what_goes_on_with_an_answer_knows_whom_it_is_for(self) -> None:
        pool = self.pool()
        first, second = (
            asked_by(name, None, pool.run, int).addCallback(lambda _: self.ran.append(asker())) for name in ("a", "b")
        )
        await gatherResults([first, second])
        assert self.ran == ["a", "b"]
        assert asker() is None


class StartTests(PoolCase):
    def test_all_threads_are_there_from_the_start_on(self) -> None:
        before = threading.active_count()
        self.pool(threads=3)
        assert threading.active_count() == before + 3

    def test_a_start_that_gets_too_few_leaves_none_and_says_what_to_do(self) -> None:
        class Last(threading.Thread):
            def start(self) -> None:
                raise RuntimeError("can't start new thread")

        made: list[threading.Thread] = []

        def thread(**options: Any) -> threading.Thread:
            made.append((Last if len(made) == 2 else threading.Thread)(**options))
            return made[-1]

        pool = Pool(reactor, 3, 2, "works", thread=thread)
        with pytest.raises(NoThreads, match=r"3 threads for works .*ulimit -u.*TasksMax="):
            pool.start()
        for each in made[:2]:
            each.join(60)
            assert not each.is_alive()
        self.refused(pool.run(self.work, 0, never_begun=lambda: self.undone.append(0)))
        assert self.undone == [0]
        pool.start()
        self.addCleanup(pool.stop)
        assert pool.running

    def test_where_the_system_gives_none_the_start_fails(self) -> None:
        """As a user of its own, for root is never refused."""
        outcome = subprocess.run(
            [sys.executable, "-c", FEW], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=False
        )
        assert outcome.stdout == "none is left\n", outcome.stderr


FEW = """
import os, resource, threading
from twisted.internet import reactor
from mailserver.pool import Pool
from mailserver.threads import NoThreads
if os.geteuid() == 0:
    os.setgid(54321)
    os.setuid(54321)
resource.setrlimit(resource.RLIMIT_NPROC, (3, 3))
pool = Pool(reactor, 8, 8, "works")
try:
    pool.start()
except NoThreads as error:
    assert "ulimit -u" in str(error)
    for each in threading.enumerate():
        each is threading.main_thread() or each.join(60)
    print("none is left" if threading.active_count() == 1 and not pool.running else "some are left")
"""


class StopTests(PoolCase):
    async def test_at_the_stop_those_who_wait_hear_of_it(self) -> None:
        pool = self.pool()
        first, second = pool.run(self.work, 0), pool.run(self.work, 1)
        stopped = pool.stop()
        self.refused(second)
        self.assertNoResult(stopped)
        self.gate.set()
        await stopped
        assert await first == 0
        self.refused(pool.run(self.work, 2))

    async def test_what_is_owed_is_done_before_the_end(self) -> None:
        pool = self.pool()
        mandatory = [pool.run(self.work, number, mandatory=True) for number in (0, 1)]
        stopped = gatherResults([pool.stop(), pool.stop()])
        self.gate.set()
        await stopped
        assert await gatherResults(mandatory) == [0, 1]

    async def test_what_has_gone_holds_up_no_stop(self) -> None:
        pool = self.pool()
        first, second = pool.run(self.work, 0), pool.run(self.work, 1, mandatory=True)
        stopped = pool.stop()
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.gate.set()
        await gatherResults([first, stopped])
        assert self.ran == [0]

    async def test_a_stop_ends_though_something_hangs_and_says_what(self) -> None:
        clock = Clock()
        clock.callFromThread = reactor.callFromThread
        pool = Pool(clock, 1, 5, "works")
        pool.start()
        hung = pool.run(self.work, "late", key="/home/alice", undo=self.undone.append)
        waiting = pool.run(self.work, "never", key="/home/alice", mandatory=True)
        stopped = pool.stop()
        clock.advance(STOP_SECONDS - 1)
        self.assertNoResult(stopped)
        with capturedLogs() as events:
            clock.advance(1)
        assert stopped.called
        (event,) = events
        assert (event["event"], event["hanging"]) == ("pool.hanging", ["/home/alice"])
        self.refused(waiting)
        self.gate.set()
        assert await hung == "late"
        assert self.ran == ["late"]

    async def test_who_hears_of_the_stop_may_cancel_another_that_waits(self) -> None:
        pool = self.pool()
        held, first = pool.run(self.work, 0), pool.run(self.work, 1)
        second = pool.run(self.work, 2, never_begun=lambda: self.undone.append(2))
        first.addErrback(lambda _: second.cancel())
        second.addErrback(lambda failure: failure.trap(CancelledError))
        stopped = pool.stop()
        self.gate.set()
        await gatherResults([held, stopped])
        assert (self.ran, self.undone) == ([0], [2])

    async def test_a_key_of_which_nothing_runs_comes_before_one_that_waits_longer(self) -> None:
        pool = self.pool(threads=2, waiting=10)
        gate = threading.Event()
        self.addCleanup(gate.set)
        running = [pool.run(self.work, "a", key="a"), pool.run(gate.wait, 60, key="b")]
        waiting = [pool.run(self.work, f"{key} again", key=key) for key in ("b", "c")]
        self.gate.set()
        await waiting[1]
        assert self.ran[:2] == ["a", "c again"]
        gate.set()
        await gatherResults([*running, *waiting])

    async def test_what_hangs_is_told_once_by_its_key_while_all_goes_on(self) -> None:
        clock = Clock()
        clock.callFromThread = reactor.callFromThread
        pool = Pool(clock, 3, 5, "maildrops", together=1, slow_seconds=10)
        pool.start()
        self.addCleanup(self.gate.set)
        hung = [pool.run(self.work, b"/home/alice", key=b"/home/alice")]
        clock.advance(6)
        hung.append(pool.run(self.work, "late", key="late"))
        assert await pool.run(int, key=b"/home/bob") == 0
        with capturedLogs() as events:
            for seconds, told in (
                (3.9, []),
                (0.1, ["/home/alice"]),
                (5.9, ["/home/alice"]),
                (60, ["/home/alice", "late"]),
            ):
                clock.advance(seconds)
                assert [event["what"] for event in events if event["event"] == "pool.slow"] == told
        self.gate.set()
        await gatherResults(hung)
        assert clock.getDelayedCalls() == [], "idle, it looks at nothing"
        quick = pool.run(self.work, 1)
        assert len(clock.getDelayedCalls()) == 1
        await gatherResults([quick, pool.stop()])
        assert clock.getDelayedCalls() == []

    async def test_a_pool_that_starts_while_it_stops_goes_on(self) -> None:
        pool = self.pool()
        held = pool.run(self.work, 0)
        stopped = pool.stop()
        pool.start()
        self.gate.set()
        await gatherResults([held, stopped])
        assert await pool.run(self.work, 1) == 1

    def test_a_thread_that_hangs_does_not_hold_the_process(self) -> None:
        code = (
            "import threading; from twisted.internet import reactor; from mailserver.pool import Pool; "
            "pool = Pool(reactor, 1, 1, 'works'); pool.start(); pool.run(threading.Event().wait)"
        )
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        subprocess.run([sys.executable, "-c", code], env=environment, timeout=60, check=True)
