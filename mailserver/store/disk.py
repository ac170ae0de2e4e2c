"""Runs disk work in bounded threads, so that neither the reactor nor other maildrops wait for one maildrop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, fail, gatherResults, maybeDeferred

from mailserver.errors import MaildropUnavailable
from mailserver.pool import Pool
from mailserver.threads import NoThreads

T = TypeVar("T")

WAITING: Final = 500
"""Openings that may wait: at 10 ms each in eight threads, the last waits less than a second."""

SHARE: Final = 2
"""Openings that may wait for running work on the same maildrop: two clients may poll it at once; more mean a disk that hangs."""

COMMITS: Final = 4
"""Threads for the ends of sessions: a QUIT waits for no opening, and no opening for a QUIT."""

DEPOSITS: Final = 16
"""Threads for messages that come in: as many fsyncs share one commit of the file system's journal. More are no faster (measured)."""

DEPOSITS_TOGETHER: Final = 8
"""Of these, those for one maildrop: a home that hangs leaves the others a half."""

DEPOSITS_WAITING: Final = 200
"""Deposits for one maildrop that run or wait: twice the connections that may bring some. More come only from those who gave up and try
again while a home hangs; each would become another copy once it answers."""

HANGING_SECONDS: Final = 10.0
"""Longer work is reported: a slow disk reads the largest maildrop within two seconds."""


class Disk:
    """Threads that start with the first work, or with `start`, and end with `stop` or the reactor.

    On each maildrop, named by its root, one job runs at a time: a home on a server that is gone blocks one thread, and
    further jobs on it wait. The log reports a job that hangs, and a stop ends in spite of it.
    """

    def __init__(self, reactor: Any, threads: int) -> None:
        self._reactor = reactor  # provides IReactorCore, too
        self._work = Pool(reactor, threads, WAITING, "maildrops", share=SHARE, together=1, slow_seconds=HANGING_SECONDS)
        self._commits = Pool(reactor, COMMITS, 0, "commits", together=1, slow_seconds=HANGING_SECONDS)
        self._deposits = Pool(
            reactor, DEPOSITS, 0, "deposits", together=DEPOSITS_TOGETHER, slow_seconds=HANGING_SECONDS
        )
        self._depositing: Counter[bytes] = Counter()  # deposits that run or wait, by maildrop
        self._started = False
        self._stopped = False

    def start(self) -> None:
        """Start all threads but those for deposits, also after a `stop`; idempotent. Errors: NoThreads."""
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
        """Fires when mandatory work is done and the threads have ended, or are known to hang; idempotent."""
        self._stopped = True
        return gatherResults([self._work.stop(), self._commits.stop(), self._deposits.stop()]).addCallback(
            lambda _: None
        )

    def open(
        self,
        root: bytes,
        function: Callable[..., T],
        *arguments: Any,
        undo: Callable[[T], object],
        never_begun: Callable[[], object],
    ) -> Deferred[T]:
        """Answer `function(*arguments)`. After a cancel `undo` gets the answer, or `never_begun` is called if it never began.

        Errors: those of `function`; TemporaryFailure when too many wait; NoThreads.
        """
        return self._run(self._work, root, function, *arguments, undo=undo, never_begun=never_begun)

    def read(
        self, root: bytes, function: Callable[..., T], *arguments: Any, undo: Callable[[T], object] | None = None
    ) -> Deferred[T]:
        """The same for an open maildrop: its session does one thing at a time, and is never refused."""
        return self._run(self._work, root, function, *arguments, mandatory=True, undo=undo)

    def commit(
        self, root: bytes, function: Callable[..., T], *arguments: Any, never_begun: Callable[[], object]
    ) -> Deferred[T]:
        """The same for the end of a session. After a `stop` it runs in the caller's thread. Do not cancel it."""
        return self._run(self._commits, root, function, *arguments, mandatory=True, never_begun=never_begun)

    def deposit(
        self,
        roots: Sequence[bytes],
        function: Callable[..., T],
        *arguments: Any,
        mandatory: bool = False,
        never_begun: Callable[[], object] | None = None,
    ) -> Deferred[T]:
        """The same for a message that comes in: it waits for no opening and no QUIT, and they do not wait for it.

        Work on several maildrops counts for the one that has the most work already: one that hangs takes no more threads by
        messages for it and others than by its own.

        Its threads start with the first one: a server that only gives mail out has none. After a `stop` it runs in the caller's
        thread. Errors: also MaildropUnavailable where too much waits for one of them, unless it is `mandatory`.
        """
        if not self._deposits.running:
            if self._stopped:
                return maybeDeferred(function, *arguments)
            try:
                if not self._started:
                    self.start()  # for embedders: now the reactor's end stops the threads
                self._deposits.start()
            except NoThreads:
                _call(never_begun)
                return fail()
        busiest = max(roots, key=self._depositing.__getitem__, default=b"")
        if self._depositing[busiest] >= DEPOSITS_WAITING and not mandatory:
            return fail(
                MaildropUnavailable(f"the disk of a maildrop does not answer: {DEPOSITS_WAITING} deposits wait for it")
            )
        self._depositing.update(roots)
        done = self._deposits.run(function, *arguments, key=busiest, mandatory=True, never_begun=never_begun)
        return done.addBoth(self._deposited, roots)

    def _deposited(self, outcome: T, roots: Sequence[bytes]) -> T:
        self._depositing.subtract(roots)
        for root in roots:
            if not self._depositing[root]:
                del self._depositing[root]
        return outcome

    def _run(self, pool: Pool, root: bytes, function: Callable[..., T], *arguments: Any, **how: Any) -> Deferred[T]:
        if self._stopped and how.get("mandatory") and not (self._work.has(root) or self._commits.has(root)):
            return maybeDeferred(function, *arguments)
        if not (self._stopped or pool.running):
            try:
                self.start()
            except NoThreads:
                _call(how.get("never_begun"))
                return fail()
        return pool.run(function, *arguments, key=root, **how)


def _call(never_begun: Callable[[], object] | None) -> None:
    if never_begun is not None:
        never_begun()
