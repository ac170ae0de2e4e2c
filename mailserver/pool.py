"""A pool of threads with bounds: a fixed number of threads, a bounded queue, a share of it for each key, and an undo."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, ClassVar, Final
from weakref import WeakSet

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.errors import TemporaryFailure
from mailserver.threads import begin, dismiss

STOP_SECONDS: Final = 5.0
"""How long a stop waits for running work. A commit takes milliseconds: longer work hangs on a disk or a server that is gone,
and the stop must end before a service manager gives up (after 30 to 90 s).
"""

log = Logger()


@dataclass(slots=True, eq=False)
class _Job:
    """A piece of work with its key, its callbacks and its result."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    key: Hashable
    mandatory: bool
    undo: Callable[[Any], object] | None
    never_begun: Callable[[], object] | None
    context: Context = field(default_factory=copy_context)  # so that the callbacks on the result have the same `asker`
    inbox: Any = None
    begun: float = 0.0
    reported: bool = False
    result: Deferred[Any] = field(init=False)

    def refuse(self) -> None:
        """Fail a job that never began with TemporaryFailure."""
        if self.never_begun is not None:
            self.never_begun()
        if not self.result.called:
            self.result.errback(TemporaryFailure())


class Pool:
    """Runs functions in `threads` threads, which all start at once, so that none can be missing when work comes.

    Work has a key, such as a client's address or a maildrop. Keys are served in turn, those without running work first, so a
    busy key delays no other. At most `together` jobs of one key run at a time, `share` of them wait, and `waiting` of all
    keys together; work without a key (None) has no share. When the queue is full, a key gets in by turning away the last job
    of a key with more waiting jobs. A job that runs longer than `slow_seconds` is reported once, by its key.
    """

    started: ClassVar[WeakSet[Pool]] = WeakSet()
    """Those of this process that have threads, for whoever shows how they are; nothing else may depend on it."""
    refused: ClassVar[Counter[str]] = Counter()
    """How many jobs were turned away, because too many waited, by the name of the pool: of all that had it, so that it never goes back."""

    def __init__(  # noqa: PLR0913 - numbers by keyword, each with its reason where the pool is made
        self,
        reactor: Any,
        threads: int,
        waiting: int,
        name: str,
        *,
        share: int | None = None,
        together: int | None = None,
        slow_seconds: float | None = None,
        thread: Callable[..., threading.Thread] = threading.Thread,
    ) -> None:
        self._reactor = reactor  # provides IReactorTime and IReactorFromThreads; zope has no type for both
        self._threads = threads
        self._limit = waiting
        self._share = waiting if share is None else share
        self._together = threads if together is None else together
        self._name = name
        self._slow_seconds = slow_seconds
        self._thread = thread
        self._inbox: SimpleQueue[_Job | None] | None = None
        self._alive: list[threading.Thread] = []
        self._open = False
        self._idle = 0
        self._running: set[_Job] = set()
        self._keys: Counter[Hashable] = Counter()  # the number of running jobs
        self._queues: OrderedDict[Hashable, deque[_Job]] = OrderedDict()
        self._queued = 0
        self._stops: list[Deferred[None]] = []
        self._patience: Any = None
        self._watch: Any = None

    @property
    def running(self) -> bool:
        """Whether the pool accepts work."""
        return self._open

    @property
    def standing(self) -> tuple[str, int, int, int]:
        """Its name, its threads, those that work, and the jobs that wait."""
        return (self._name, self._threads, len(self._running), self._queued)

    def has(self, key: Hashable) -> bool:
        """Whether a job of this key runs or waits."""
        return key in self._keys or key in self._queues

    def start(self) -> None:
        """Start all threads, even during a stop; idempotent. Errors: NoThreads, and then no thread is left."""
        if self._inbox is None:
            inbox: SimpleQueue[_Job | None] = SimpleQueue()
            alive = begin(self._threads, self._name, self._serve, inbox, self._thread)
            self._inbox, self._alive, self._idle = inbox, alive, self._threads
            self.started.add(self)
        self._open = True

    def run(
        self,
        work: Callable[..., Any],
        *arguments: Any,
        key: Hashable = None,
        mandatory: bool = False,
        undo: Callable[[Any], object] | None = None,
        never_begun: Callable[[], object] | None = None,
    ) -> Deferred[Any]:
        """Answer ``work(*arguments)`` from a thread. Errors: those of `work`; TemporaryFailure when too many wait.

        A job that is cancelled while it waits never begins; `never_begun` is then called to give back what was taken for it.
        If a running job is cancelled, `undo` gets its answer. A job that is `mandatory` is never refused, and runs even at a stop.
        """
        job = _Job(work, arguments, key, mandatory, undo, never_begun)
        job.result = Deferred(lambda _: self._drop(job))
        if not self._open:
            job.refuse()
        elif self._idle and self._keys.get(key, 0) < self._together and key not in self._queues:
            self._begin(job)
        elif mandatory or self._has_room(key):
            self._queues.setdefault(key, deque()).append(job)
            self._queued += 1
        else:
            self.refused[self._name] += 1
            job.refuse()
        return job.result

    def stop(self, seconds: float = STOP_SECONDS) -> Deferred[None]:
        """Refuse waiting jobs that are not mandatory, and end the threads. Fires when they are done; idempotent.

        Jobs that run longer than `seconds` are reported by their keys, and abandoned.
        """
        self._open = False
        self._refuse([each for queue in self._queues.values() for each in queue if not each.mandatory])
        if self._is_done():
            self._end()
            return succeed(None)
        if self._patience is None:
            self._patience = self._reactor.callLater(seconds, self._give_up)
        stopped: Deferred[None] = Deferred()
        self._stops.append(stopped)
        return stopped

    # Waiting jobs.

    def _has_room(self, key: Hashable) -> bool:
        own = len(self._queues.get(key, ()))
        if key is not None and own >= self._share:
            return False
        if self._queued < self._limit:
            return True
        longest = max(self._queues.values(), key=len, default=None)
        if longest is None or len(longest) <= own + 1 or longest[-1].mandatory:
            return False
        last = longest[-1]
        self._take(last)
        self.refused[self._name] += 1
        last.refuse()
        return True

    def _take(self, job: _Job) -> None:
        """Take a job out of its queue."""
        queue = self._queues[job.key]
        queue.remove(job)
        self._queued -= 1
        if not queue:
            del self._queues[job.key]

    def _refuse(self, jobs: list[_Job]) -> None:
        """Refuse jobs. All are taken out first, since a refusal's callback may cancel another job."""
        for job in jobs:
            self._take(job)
        for job in jobs:
            job.refuse()

    def _drop(self, job: _Job) -> None:
        """Drop a cancelled job, unless it runs already."""
        if job in self._queues.get(job.key, ()):
            self._take(job)
            if job.never_begun is not None:
                job.never_begun()
            self._settle()

    def _next(self) -> _Job | None:
        """The next job: of the key with the fewest running jobs; of equal keys, the one whose turn it is."""
        free = [key for key in self._queues if self._keys[key] < self._together]
        if not free:
            return None
        key = min(free, key=self._keys.__getitem__)
        job = self._queues[key][0]
        self._take(job)
        return job

    # Running jobs.

    def _begin(self, job: _Job) -> None:
        job.inbox = self._inbox
        self._idle -= 1
        self._running.add(job)
        self._keys[job.key] += 1
        if self._slow_seconds is not None:
            job.begun = self._reactor.seconds()
            if self._watch is None:
                self._watch = self._reactor.callLater(self._slow_seconds, self._look, self._slow_seconds)
        job.inbox.put(job)

    def _serve(self, inbox: SimpleQueue[_Job | None]) -> None:
        """The loop of a thread."""
        while (job := inbox.get()) is not None:
            try:
                outcome = job.work(*job.arguments)
            except BaseException:  # noqa: BLE001 - any error goes to the job's Deferred
                outcome = Failure()
            self._reactor.callFromThread(self._finished, job, outcome)
            del job, outcome  # they may hold passwords, so do not keep them until the next job

    def _look(self, seconds: float) -> None:
        """Report the jobs that have run for so long."""
        self._watch, now = None, self._reactor.seconds()
        young = [job.begun for job in self._running if not job.reported and now - job.begun < seconds]
        if young:
            self._watch = self._reactor.callLater(min(young) + seconds - now, self._look, seconds)
        for job in self._running:
            if not job.reported and now - job.begun >= seconds:
                job.reported = True
                log.warn(
                    "{pool}: {what} has not answered for {seconds} s: its disk or server hangs, and so do the sessions that need it",
                    event="pool.slow",
                    pool=self._name,
                    what=_shown(job.key),
                    seconds=seconds,
                )

    def _finished(self, job: _Job, outcome: Any) -> None:
        self._running.remove(job)
        if self._watch is not None and not self._running:
            self._watch.cancel()
            self._watch = None
        self._keys[job.key] -= 1
        if not self._keys[job.key]:
            del self._keys[job.key]
        if job.key in self._queues:
            self._queues.move_to_end(job.key)  # this key has had its turn
        if job.inbox is self._inbox:
            self._idle += 1
            while self._queues and self._idle and (waiting := self._next()) is not None:
                self._begin(waiting)
        try:
            if not job.result.called:
                job.context.run(job.result.callback, outcome)
            elif job.undo is not None and not isinstance(outcome, Failure):
                job.undo(outcome)
        finally:
            self._settle()

    # The end.

    def _is_done(self) -> bool:
        return not self._queues and not any(job.inbox is self._inbox for job in self._running)

    def _settle(self) -> None:
        """Fire the Deferreds of `stop` once all jobs are done."""
        if self._stops and self._is_done():
            if not self._open:  # not started again meanwhile
                self._end()
            self._fire_stops()

    def _give_up(self) -> None:
        self._patience = None
        if not self._open:
            hanging = sorted({_shown(job.key) for job in self._running if job.inbox is self._inbox})
            log.error(
                "the stop abandons threads for {pool} that hang: {hanging}",
                event="pool.hanging",
                pool=self._name,
                hanging=hanging,
            )
            self._refuse([each for queue in self._queues.values() for each in queue])
            self._end()
        self._fire_stops()

    def _end(self) -> None:
        inbox, self._inbox, self._idle = self._inbox, None, 0
        self.started.discard(self)
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        hanging = any(job.inbox is inbox for job in self._running)
        if inbox is not None:
            dismiss(inbox, self._alive, join=not hanging)

    def _fire_stops(self) -> None:
        patience, self._patience = self._patience, None
        if patience is not None:
            patience.cancel()
        stops, self._stops = self._stops, []
        for each in stops:
            each.callback(None)


def _shown(key: Hashable) -> str:
    """A key as the log shows it; octets are a path."""
    return os.fsdecode(key) if isinstance(key, bytes) else str(key)
