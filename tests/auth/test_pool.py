from __future__ import annotations

import threading

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.trial.unittest import TestCase

from mailserver.auth.pool import HashPool
from mailserver.errors import TemporaryFailure


class HashPoolTests(TestCase):
    timeout = 20

    def setUp(self) -> None:
        self.gate = threading.Event()
        self.ran: list[int] = []
        self.pool = HashPool(reactor, threads=1, waiting=2)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        self.addCleanup(self.gate.set)

    def work(self, number: int) -> int:
        self.gate.wait(15)
        self.ran.append(number)
        return number

    async def test_results_come_from_another_thread(self) -> None:
        assert await self.pool.run(threading.get_ident) != threading.get_ident()

    async def test_errors_come_too_and_the_pool_goes_on(self) -> None:
        with pytest.raises(ZeroDivisionError):
            await self.pool.run(divmod, 1, 0)
        assert await self.pool.run(divmod, 7, 2) == (3, 1)

    async def test_what_waits_has_an_end(self) -> None:
        accepted = [self.pool.run(self.work, number) for number in range(3)]
        with pytest.raises(TemporaryFailure):
            await self.pool.run(self.work, 3)
        self.gate.set()
        assert await gatherResults(accepted) == [0, 1, 2]
        assert await self.pool.run(self.work, 4) == 4

    async def test_who_has_gone_is_not_served(self) -> None:
        first, second, third = (self.pool.run(self.work, number) for number in range(3))
        second.cancel()
        with pytest.raises(CancelledError):
            await second
        self.gate.set()
        assert await gatherResults([first, third]) == [0, 2]
        assert self.ran == [0, 2]

    async def test_a_thread_is_busy_until_it_ends_though_nobody_waits_for_it(self) -> None:
        first = self.pool.run(self.work, 0)
        first.cancel()
        with pytest.raises(CancelledError):
            await first
        waiting = [self.pool.run(self.work, number) for number in (1, 2)]
        with pytest.raises(TemporaryFailure):
            await self.pool.run(self.work, 3)
        self.gate.set()
        assert await gatherResults(waiting) == [1, 2]

    async def test_at_the_stop_those_who_wait_hear_of_it(self) -> None:
        pool = HashPool(reactor, threads=1, waiting=2)
        pool.start()
        first, second = pool.run(self.work, 0), pool.run(self.work, 1)
        self.gate.set()
        pool.stop()
        with pytest.raises(TemporaryFailure):
            await second
        assert await first == 0
        with pytest.raises(TemporaryFailure):
            await pool.run(self.work, 2)
