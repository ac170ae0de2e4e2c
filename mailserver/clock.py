"""A reactor's time, made independent of the time of day.

Twisted's reactors time their calls by the wall clock. A wall clock that is set back by an hour delays every answer and timer
by that hour, and one that is set forward ends every session as idle.
"""

from __future__ import annotations

import time
from typing import Any


def steady(reactor: Any) -> None:
    """Let a reactor use the monotonic clock from now on, also for its pending calls.

    This replaces the reactor's `seconds` for everything in the process, so only the owner of the process may call it. From
    then on ``reactor.seconds()`` is no time of day.
    """
    moved = time.monotonic() - reactor.seconds()
    waiting = reactor.getDelayedCalls()
    reactor.seconds = time.monotonic
    for call in waiting:
        call.seconds = time.monotonic
        call.time += moved
