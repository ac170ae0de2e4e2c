"""What the operator is told of something that does not answer: once when it begins, and once when it is over."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Final

QUIET_SECONDS: Final = 60.0
"""Trouble that comes and goes, as with some questions and not with others, is told once in so long, and not with each login."""


class Outage:
    """Whether trouble was told, and is not over. `seconds` is the clock."""

    __slots__ = ("_is_told", "_quiet_until", "_seconds")

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._is_told = False
        self._quiet_until = -inf

    def begins(self) -> bool:
        """There is trouble; answers whether to tell it."""
        now = self._seconds()
        if self._is_told or now < self._quiet_until:
            return False
        self._is_told, self._quiet_until = True, now + QUIET_SECONDS
        return True

    def ends(self) -> bool:
        """There is an answer; answers whether to tell that."""
        was_told, self._is_told = self._is_told, False
        return was_told
