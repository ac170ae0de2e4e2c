"""How long octets take on a line of so many bits a second."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

_WRITTEN: Final = re.compile(r"(\d+(?:\.\d+)?) ?([kmg]?)(?:bit(?:/s)?|bps)", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_EXACT: Final = 10
"""Seconds below which a tenth matters."""


class Line(NamedTuple):
    """A line, without what its protocols add."""

    bits: float
    """In a second."""
    written: str

    @classmethod
    def read(cls, text: str) -> Self:
        """A line as ``100Mbit`` or ``1 Gbit/s``. Errors: ValueError, which says what to write."""
        match = _WRITTEN.fullmatch(text)
        if match is None or not float(match[1]):
            raise ValueError(f"{text!r} is no speed of a line, such as 100Mbit or 1Gbit")
        return cls(float(match[1]) * _UNITS[match[2].lower()], text)

    def seconds(self, octets: int) -> float:
        """The time that these octets take."""
        return octets * 8 / self.bits

    def __str__(self) -> str:
        return self.written


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < _EXACT:
        tenths = max(round(seconds, 1), 0.1) if seconds else 0.0
        return f"{tenths:g} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min"
    hours, rest = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {rest} min" if rest else f"{hours} h"
