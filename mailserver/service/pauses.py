"""Keeps the pauses of the interpreter short while the process serves: of its lock, and of its garbage collector."""

from __future__ import annotations

import gc
import sys
from typing import Final

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from mailserver.interfaces import IPart

TURN_SECONDS: Final = 0.0005
"""How long a thread keeps the interpreter's lock while another waits. The reactor thread waits up to three times in a command,
and Python's own 5 ms made a NOOP beside the scan of a big maildrop take up to 15 ms."""


@implementer(IPart)
class ShortPauses:
    """The settings of the interpreter, which belong to the whole process; the last part to start."""

    def __init__(self) -> None:
        self._usual: float | None = None

    def start(self, _reactor: object) -> Deferred[None]:
        """Shorten the turns, and take all that was made so far out of the collector's work.

        Modules, settings and users stay until the end. A full collection looked at them for 20 to 30 ms, in whatever thread
        was at work, with the lock.
        """
        self._usual = sys.getswitchinterval()
        sys.setswitchinterval(min(self._usual, TURN_SECONDS))
        gc.collect()
        gc.freeze()
        return succeed(None)

    def reload(self) -> Deferred[None]:
        """Do nothing: what is replaced goes without the collector."""
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """Give the process back as it was."""
        if self._usual is not None:
            sys.setswitchinterval(self._usual)
            gc.unfreeze()
            self._usual = None
        return succeed(None)
