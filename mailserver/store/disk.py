"""Where the work on the disk runs: in bounded threads, so that neither the reactor nor anybody else waits for one maildrop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred

from mailserver.pool import NoThreads, Pool

T = TypeVar("T")

WAITING: Final = 500
"""Openings that may wait: at 10 ms each in eight threads, the last waits less than a second."""

SHARE: Final = 2
"""Openings that may wait for what runs on the same maildrop; two clients poll it at once, and more are a disk that hangs."""

COMMITS: Final = 4
"""Threads for the ends of sessions: a QUIT waits for no opening, and these for no QUIT."""


HANGING_SECONDS: Final = 10.0
"""What is told: the largest maildrop is read within two from a slow disk."""


class Disk:
    """Threads that start with the first work, or with `start`, and end with `stop` or the reactor.

    On each maildrop, which its root names, one piece of work runs at a time: a home on a server that is gone hangs one
    thread, and its others wait for that. Where something hangs, the log says so, and a stop ends all the same.
    """

    def __init__(self, reactor: Any, threads: int) -> None:
        self._reactor = reactor  # provides IReactorCore, too
        self._work = Pool(reactor, threads, WAITING, "maildrops", share=SHARE, together=1, tell_seconds=HANGING_SECONDS)
        self._commits = Pool(reactor, COMMITS, 0, "commits", together=1, tell_seconds=HANGING_SECONDS)
        self._started = False
        self._stopped = False

    def start(self) -> None:
        """Start all threads, also after a `stop`; idempotent. Errors: NoThreads."""
        self._work.start()
        try:
            self._commits.start()
        except NoThreads:
            self._work.stop()
            raise
        if not self._started:
            self._started = True
            self._reactor.addSystemEventTrigger("during", "shutdown", self.stop)
        self._stopped = False

    def stop(self) -> Deferred[None]:
        """Fires when what is owed is done and the threads have ended, or are known to hang; idempotent."""
        self._stopped = True
        return gatherResults([self._work.stop(), self._commits.stop()]).addCallback(lambda _: None)

    def open(
        self,
        root: bytes,
        function: Callable[..., T],
        *arguments: Any,
        undo: Callable[[T], object],
        unbegun: Callable[[], object],
    ) -> Deferred[T]:
        """Answer `function(*arguments)`. When that was cancelled meanwhile, `undo` gets the answer; if it never began,
        `unbegun` is called. Errors: those of `function`; TemporaryFailure when too many wait; NoThreads.
        """
        return self._run(self._work, root, function, *arguments, undo=undo, unbegun=unbegun)

    def read(
        self, root: bytes, function: Callable[..., T], *arguments: Any, undo: Callable[[T], object] | None = None
    ) -> Deferred[T]:
        """The same for a maildrop that is open: its session asks for one thing at a time, and is not refused."""
        return self._run(self._work, root, function, *arguments, owed=True, undo=undo)

    def commit(
        self, root: bytes, function: Callable[..., T], *arguments: Any, unbegun: Callable[[], object]
    ) -> Deferred[T]:
        """The same for the end of a session. After a `stop` it is done where it is asked; it must be cancelled by nobody."""
        return self._run(self._commits, root, function, *arguments, owed=True, unbegun=unbegun)

    def _run(self, pool: Pool, root: bytes, function: Callable[..., T], *arguments: Any, **how: Any) -> Deferred[T]:
        if self._stopped and how.get("owed") and not (self._work.has(root) or self._commits.has(root)):
            return maybeDeferred(function, *arguments)
        if not (self._stopped or pool.running):
            try:
                self.start()
            except NoThreads:
                _call(how.get("unbegun"))
                return fail()
        return pool.run(function, *arguments, key=root, **how)


def _call(unbegun: Callable[[], object] | None) -> None:
    if unbegun is not None:
        unbegun()
