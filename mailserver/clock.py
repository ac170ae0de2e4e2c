"""A reactor's time, made independent of the time of day.

Twisted's reactors time their calls by the wall clock. One that is set back by an hour holds every answer, delay and timer
for that hour, and one that is set forward ends every session as idle.
"""

from __future__ import annotations

import time
from typing import Any


def steady(reactor: Any) -> None:
    """Let a reactor count by the monotonic clock from now on, and take the calls that wait over.

    It is the reactor's own `seconds` that is replaced, for all who use it: so this is for whoever owns the process. A
    reactor that is asked for the time of day says something else from then on.
    """
    moved = time.monotonic() - reactor.seconds()
    waiting = reactor.getDelayedCalls()
    reactor.seconds = time.monotonic
    for call in waiting:
        call.seconds = time.monotonic
        call.time += moved
