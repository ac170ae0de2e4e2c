"""What happened over the last day, minute by minute, in a memory of fixed size: some 140 kB."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

MINUTES: Final = 1440
"""A day."""
STEP: Final = 5
"""Minutes of a point of the plots: a day of minutes has more points than a screen of a telephone has columns."""

COUNTED: Final = ("logins", "refused", "fetched")
"""Series of which each minute, and each process, adds to the others."""
LARGEST: Final = ("waited", "memory")
"""Series of which the largest of the minutes counts. Memory is then added over the processes; of waiting, the largest counts again."""
ADDED: Final = frozenset((*COUNTED, "memory"))

_NEVER: Final = -(1 << 63)

Series = Sequence[float | None]
"""A value for each step, the oldest first; None: nobody was there to count."""
Together = Callable[[list[float]], float]


class Minutes:
    """The last values of one series. A slot knows which minute it holds, so that neither a pause nor a changed clock shows old values as new."""

    def __init__(self, length: int = MINUTES) -> None:
        self._stamps = array("q", [_NEVER]) * length
        self._values = array("d", [0.0]) * length

    def add(self, minute: int, amount: float) -> None:
        """Add to the value of a minute."""
        slot = self._slot(minute)
        self._values[slot] += amount

    def reach(self, minute: int, value: float) -> None:
        """Let the value of a minute be at least this."""
        slot = self._slot(minute)
        self._values[slot] = max(self._values[slot], value)

    def last(self, minute: int) -> list[float | None]:
        """The values up to a minute, the oldest first; None where nothing was said."""
        length = len(self._values)
        slots = ((each, each % length) for each in range(minute - length + 1, minute + 1))
        return [self._values[slot] if self._stamps[slot] == each else None for each, slot in slots]

    def _slot(self, minute: int) -> int:
        slot = minute % len(self._values)
        if self._stamps[slot] != minute:
            self._stamps[slot], self._values[slot] = minute, 0.0
        return slot


class History:
    """All series of one process. Minutes are counted since the epoch."""

    def __init__(self) -> None:
        self._series = {name: Minutes() for name in (*COUNTED, *LARGEST)}

    def count(self, minute: int, name: str, amount: float = 1) -> None:
        """Count something: of `COUNTED` it is added, of `LARGEST` the largest is kept."""
        series = self._series[name]
        (series.add if name in COUNTED else series.reach)(minute, amount)

    def attend(self, minute: int) -> None:
        """Note that somebody counts in this minute, so that nothing is 0 and not unknown."""
        for series in self._series.values():
            series.add(minute, 0)

    def steps(self, minute: int) -> dict[str, list[float | None]]:
        """All series up to the step of this minute, a value a step."""
        end = minute - minute % STEP + STEP - 1
        return {
            name: _stepped(series.last(end), sum if name in COUNTED else max) for name, series in self._series.items()
        }


def merged(parts: Iterable[Mapping[str, Series]]) -> dict[str, list[float | None]]:
    """The series of several processes, of the same minute, as one."""
    rows = list(parts)
    return {name: _merged([row[name] for row in rows], name) for name in (*COUNTED, *LARGEST)}


def _merged(series: Sequence[Series], name: str) -> list[float | None]:
    together: Together = sum if name in ADDED else max
    return [_known(values, together) for values in zip(*series, strict=True)]


def _stepped(values: Series, together: Together) -> list[float | None]:
    return [_known(values[start : start + STEP], together) for start in range(0, len(values), STEP)]


def _known(values: Iterable[float | None], together: Together) -> float | None:
    known = [value for value in values if value is not None]
    return together(known) if known else None
