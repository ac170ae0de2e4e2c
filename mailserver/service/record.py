"""What a process remembers for the status page: failures that it hears of in its own log, and what it counts and its memory once a minute.

Nothing of it is done without a page. A record outlives a reload: it is the process's, not that of its settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from mailserver.counts import Counts
from mailserver.interfaces import IPart
from mailserver.service.process import memory
from mailserver.web.status.history import COUNTED, STEP, History
from mailserver.web.status.troubles import Group, Troubles

SAMPLE_SECONDS: Final = 60.0
"""Between looks at the memory and the counts: a point of the plots is five minutes."""

GRANTED: Final = "granted"
"""The result of a login that was let in, as it is counted."""


@implementer(ILogObserver)
class Record:
    """The last hour's failures and the last day's counts of this process. `now` tells the time since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.history = History()
        self.troubles = Troubles()
        self._watches = 0
        self._totals: Mapping[str, int] = {}

    def __call__(self, event: LogEvent) -> None:
        """Take notice of an event of the log."""
        self.troubles.note(event)

    def told(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Take notice of failures of another process: their groups, when they were seen last, and how often."""
        now = self.now()
        for row in rows:
            self.troubles.add(Group(*row["group"]), row["last"], row["times"], now)

    def sample(self, counts: Counts) -> None:
        """Note that this process is there, its memory, and what it has counted since the last look."""
        minute, history = int(self.now() // 60), self.history
        history.attend(minute)
        history.count(minute, "memory", memory())
        history.count(minute, "waited", counts.waits.longest)
        counts.waits.longest = 0.0
        totals, before = totals_of(counts), self._totals
        self._totals = totals
        for name, total in totals.items() if before else ():
            history.count(minute, name, total - before[name])

    def steps(self) -> dict[str, Any]:
        """The last day, as the page takes it: the number of the last step, and the series up to it."""
        minute = int(self.now() // 60)
        return {"step": minute // STEP, "series": self.history.steps(minute)}

    def watched(self, by: int) -> None:
        """Count one more who wants it, or one less; while there is any, it listens to the log."""
        before, self._watches = self._watches, self._watches + by
        if not before:
            globalLogPublisher.addObserver(self)
        elif not self._watches:
            globalLogPublisher.removeObserver(self)


def totals_of(counts: Counts) -> dict[str, int]:
    """What a process has counted of what is plotted, over all listeners."""
    counts.settle()
    found = dict.fromkeys(COUNTED, 0)
    for each in counts.traffic.values():
        found["fetched"] += each.retrieved
        for (_mechanism, result), number in each.logins.items():
            found["logins" if result == GRANTED else "refused"] += number
    return found


@implementer(IPart)
class Watch:
    """The part that lets a record listen, for the time that a page is served."""

    def __init__(self, record: Record, counts: Counts) -> None:
        self._record = record
        self._loop = LoopingCall(record.sample, counts)

    def start(self, reactor: Any) -> Deferred[None]:
        """Listen from now on."""
        return execute(self._begin, reactor)

    def reload(self) -> Deferred[None]:
        """Do nothing: nothing is read."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Listen no more."""
        return execute(self._end)

    def _begin(self, reactor: Any) -> None:
        self._record.watched(1)
        self._loop.clock = reactor
        self._loop.start(SAMPLE_SECONDS)

    def _end(self) -> None:
        if self._loop.running:
            self._loop.stop()
            self._record.watched(-1)
