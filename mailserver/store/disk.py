"""Where the work on the disk runs: a bounded pool of threads, so that the reactor never waits for a scan or a commit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

T = TypeVar("T")


class Disk:
    """A pool that starts with the first work, or with `start`, and ends with `stop` or the reactor."""

    def __init__(self, reactor: Any, threads: int, name: str) -> None:
        self._reactor = reactor  # provides IReactorCore and IReactorFromThreads; zope has no word for both
        self._threads = threads
        self._name = name
        self._pool: ThreadPool | None = None
        self._running = 0
        self._waiting: list[Deferred[None]] = []
        self._stopped = False

    def start(self) -> None:
        """Start the threads, also after a `stop`; idempotent."""
        self._stopped = False
        self._threads_running()

    def stop(self) -> Deferred[None]:
        """Fires when all work is done and the threads have ended; idempotent. What comes later runs where it is asked."""
        self._stopped = True
        if not self._running:
            self._end()
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._waiting.append(waiting)
        return waiting

    def run(
        self, function: Callable[..., T], *arguments: Any, undo: Callable[[T], object] | None = None
    ) -> Deferred[T]:
        """Answer `function(*arguments)` from a thread. When the answer was cancelled meanwhile, `undo` gets it."""
        if self._stopped:
            return maybeDeferred(function, *arguments)
        pool = self._threads_running()
        self._running += 1
        answer: Deferred[T] = Deferred()
        deferToThreadPool(self._reactor, pool, function, *arguments).addBoth(self._finished, answer, undo)
        return answer

    def _finished(self, result: T | Failure, answer: Deferred[T], undo: Callable[[T], object] | None) -> None:
        self._running -= 1
        if not answer.called:
            answer.callback(result)  # a Failure goes to the errbacks
        elif undo is not None and not isinstance(result, Failure):
            undo(result)
        if self._waiting and not self._running:
            if self._stopped:  # and not started again meanwhile
                self._end()
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    def _threads_running(self) -> ThreadPool:
        if self._pool is None:
            self._pool = ThreadPool(0, self._threads, self._name)
            self._pool.start()
            self._reactor.addSystemEventTrigger("during", "shutdown", self.stop)
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.stop()
