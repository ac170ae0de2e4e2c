"""A rate limit for log events that any stranger can cause at will."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

LEAST_SECONDS: Final = 1.0
"""The minimum time between two lines of a kind: an endless flood writes 10 to 20 MB a day, not a second."""


class Tally:
    """Calls `tell` for the latest event at most once in `LEAST_SECONDS`, with a remark on those that were only counted."""

    def __init__(self, tell: Callable[..., object]) -> None:
        self._tell = tell
        self._last = -inf
        self._counted = 0
        self._latest: dict[str, Any] = {}

    def count(self, now: float, **facts: Any) -> None:
        """Count an event with these `facts`."""
        self._counted += 1
        self._latest = facts
        self.catch_up(now)

    def catch_up(self, now: float) -> None:
        """Report the events that were only counted, if it is time again."""
        if self._counted and now - self._last >= LEAST_SECONDS:
            others, self._counted, self._last = self._counted - 1, 0, now
            remarks = f", and {others} others since the last such line" if others else ""
            self._tell(others=others, remarks=remarks, **self._latest)
