"""A small pool of threads for slow verifications, with an end to how many may wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from mailserver.errors import TemporaryFailure

THREADS = 2
"""Enough to keep a core or two busy with hashing and leave others to the mail; Argon2 may take 64 MiB in each."""

MAX_WAITING = 100
"""At 100 ms a hash, the last in the queue waits five seconds; a client would give up on more."""


class HashPool:
    """Runs functions in `THREADS` threads. One that is waiting is dropped when its Deferred is cancelled."""

    def __init__(
        self,
        reactor: IReactorFromThreads,
        threads: int = THREADS,
        waiting: int = MAX_WAITING,
        *,
        name: str = "passwords",
    ) -> None:
        self._reactor = reactor
        self._threads = threads
        self._limit = waiting
        self._pool = ThreadPool(0, threads, name)
        self._queue: deque[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._busy = 0

    def start(self) -> None:
        """Get ready; threads appear as they are needed."""
        self._pool.start()

    def stop(self) -> None:
        """End the threads, once each has finished what it is at; what waits fails with TemporaryFailure."""
        self._limit = 0
        queue, self._queue = self._queue, deque()
        for waiting, _work, _args in queue:
            waiting.errback(TemporaryFailure())
        self._pool.stop()

    def run(self, work: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """The result of ``work(*args)`` from a thread. Errors: those of `work`; TemporaryFailure when too many wait."""
        if len(self._queue) >= self._limit:
            return fail(TemporaryFailure())
        result: Deferred[Any] = Deferred(self._drop)
        self._queue.append((result, work, args))
        self._pump()
        return result

    def _drop(self, result: Deferred[Any]) -> None:
        """A client has gone: its verification need not begin. One that runs still counts as busy until it ends."""
        self._queue = deque(entry for entry in self._queue if entry[0] is not result)

    def _pump(self) -> None:
        while self._queue and self._busy < self._threads:
            self._busy += 1
            result, work, args = self._queue.popleft()
            deferToThreadPool(self._reactor, self._pool, work, *args).addBoth(self._finished, result)

    def _finished(self, outcome: Any, result: Deferred[Any]) -> None:
        self._busy -= 1
        self._pump()
        if not result.called:  # it was, if its client has gone meanwhile
            result.callback(outcome)
