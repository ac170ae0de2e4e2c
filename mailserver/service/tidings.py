"""What fails in the parent of the worker processes, on its way to the pages, which workers serve.

One worker tells it as its own. What a worker has told that died is told by another one, so nothing of it is lost, and nothing told twice; it is
counted once, as a worker's own are: a counter begins anew with its process.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any, Final

from twisted.logger import ILogObserver, LogEvent
from zope.interface import implementer

from mailserver.counts import key_of
from mailserver.service.channel import TELL
from mailserver.service.employee import Worker
from mailserver.web.status.troubles import group_of, times_of

KEPT: Final = 50
"""Failures: enough to see that a worker dies again and again, and what else goes wrong meanwhile."""


class _Tiding:
    __slots__ = ("row", "teller")

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row
        self.teller: Worker | None = None


@implementer(ILogObserver)
class Tidings:
    """The latest failures in this process's own log. `workers` are those that run."""

    def __init__(self, workers: Collection[Worker]) -> None:
        self._workers = workers
        self._kept: deque[_Tiding] = deque(maxlen=KEPT)

    def __call__(self, event: LogEvent) -> None:
        """Take notice of an event of the log."""
        if "log_text" in event:
            return  # it has crossed from a worker, which tells it itself
        group = group_of(event)
        if group is not None:
            seen = {"group": group, "last": event["log_time"], "times": times_of(event)}
            self._kept.append(_Tiding({**seen, "counted": key_of(event)}))
            self.pass_on()

    def pass_on(self) -> None:
        """Let a worker that serves tell what nobody tells, or nobody any more."""
        teller = min((each for each in self._workers if each.serving), key=lambda each: each.number, default=None)
        if teller is None:
            return
        untold = [each for each in self._kept if each.teller not in self._workers]
        if untold:
            rows = [each.row if each.teller is None else {**each.row, "counted": None} for each in untold]
            for each in untold:
                each.teller = teller
            teller.send({"order": TELL, "troubles": rows})
