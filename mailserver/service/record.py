"""What a process remembers for the status page: it listens to its own log, and looks at its memory once a minute.

Nothing of it is done without a page. A record outlives a reload: it is the process's, not that of its settings.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.defer import Deferred, execute, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from mailserver.interfaces import IPart
from mailserver.service.process import memory
from mailserver.web.status.history import History
from mailserver.web.status.troubles import Troubles

SAMPLE_SECONDS: Final = 60.0
"""Between looks at the memory: a point of the plots is five minutes."""


@implementer(ILogObserver)
class Record:
    """The last hour's failures and the last day's counts of this process. `now` tells the time since the epoch."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.history = History()
        self.troubles = Troubles()
        self._watches = 0

    def __call__(self, event: LogEvent) -> None:
        """Take notice of an event of the log."""
        self.troubles.note(event)
        match event.get("event"):
            case "pop3.session":
                minute = self.minute
                self.history.count(minute, "logins")
                if fetched := event["retrieved"]:
                    self.history.count(minute, "fetched", fetched)
            case "pop3.login_failed":
                self.history.count(self.minute, "refused")
                if waited := event["waited"]:
                    self.history.count(self.minute, "waited", waited)
            case "pop3.login_held":
                self.history.count(self.minute, "refused")

    def sample(self) -> None:
        """Note that this process is there, and its memory."""
        self.history.attend(self.minute)
        self.history.count(self.minute, "memory", memory())

    @property
    def minute(self) -> int:
        """The minute of now, since the epoch."""
        return int(self.now() // 60)

    def watched(self, by: int) -> None:
        """Count one more who wants it, or one less; while there is any, it listens to the log."""
        before, self._watches = self._watches, self._watches + by
        if not before:
            globalLogPublisher.addObserver(self)
        elif not self._watches:
            globalLogPublisher.removeObserver(self)


@implementer(IPart)
class Watch:
    """The part that lets a record listen, for the time that a page is served."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._loop = LoopingCall(record.sample)

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
