"""How often the log tells of what any stranger can do as often as he likes."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

LEAST_SECONDS: Final = 1.0
"""The least between two lines of a kind: a flood that nothing stops writes 10 to 20 MB a day, not a second."""


class Tally:
    """Lets `tell` tell of the latest at most once in `LEAST_SECONDS`, with a remark on those that were only counted."""

    def __init__(self, tell: Callable[..., object]) -> None:
        self._tell = tell
        self._last = -inf
        self._counted = 0
        self._latest: dict[str, Any] = {}

    def count(self, now: float, **facts: Any) -> None:
        """Count one, of whom `facts` would be told."""
        self._counted += 1
        self._latest = facts
        self.catch_up(now)

    def catch_up(self, now: float) -> None:
        """Tell of those who were only counted, if it is time again."""
        if self._counted and now - self._last >= LEAST_SECONDS:
            others, self._counted, self._last = self._counted - 1, 0, now
            remarks = f", and {others} others since the last such line" if others else ""
            self._tell(others=others, remarks=remarks, **self._latest)
