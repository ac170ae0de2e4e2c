"""How far a move is: what one user's has done, and the sums, the rate and the time that is left of many."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass
from typing import Final, Protocol

EVERY_SECONDS: Final = 10.0
"""Between two lines about all users, where there is no terminal: a log of hours stays short."""


_STEP: Final = 1000
_UNITS: Final = ("octets", "kB", "MB", "GB")


@dataclass(slots=True)
class Tally:
    """One user's messages."""

    listed: int = 0
    """Those at the source."""
    there: int = 0
    """Those that had been moved before, or were there for another reason."""
    moved: int = 0
    octets: int = 0
    """On the wire, of the moved ones; in a dry run, what the source says."""
    unread: int = 0
    """Those that the source could not give."""

    @property
    def done(self) -> int:
        """Those whose fate is known."""
        return self.there + self.moved + self.unread

    @property
    def left(self) -> int:
        """The others, of a move that has ended early."""
        return self.listed - self.done


Changed = Callable[[Tally], object]
"""Called each time that a tally changes."""


class Progress(Protocol):
    """What shows it. A user's tally is one object, whose numbers grow."""

    def begin(self, user: str, tally: Tally) -> None:
        """This user's turn has come."""

    def changed(self, user: str) -> None:
        """The user's tally has changed."""

    def end(self, user: str) -> None:
        """The user's turn is over."""

    def say(self, line: str) -> None:
        """Say something on standard output. Errors: those of whoever writes it."""

    def warn(self, line: str) -> None:
        """Say something on standard error."""

    def close(self) -> None:
        """All turns are over; idempotent."""


class Sums:
    """The sums over `users` users, of whom some are done, some have their turn, and some wait. `clock` answers seconds."""

    def __init__(self, users: int, clock: Callable[[], float]) -> None:
        self.users = users
        self.ended = 0
        self._clock = clock
        self._begun = clock()
        self._past = Tally()
        self.present: dict[str, Tally] = {}
        """Of the users whose turn it is."""

    def begin(self, user: str, tally: Tally) -> None:
        """This user's turn has come."""
        self.present[user] = tally

    def end(self, user: str) -> None:
        """The user's turn is over."""
        self._past = _sum((self._past, self.present.pop(user)))
        self.ended += 1

    @property
    def total(self) -> Tally:
        """All users' messages so far."""
        return _sum((self._past, *self.present.values()))

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1. Of users who wait nobody knows how much mail they have: each counts as one."""
        parts = sum(each.done / each.listed for each in self.present.values() if each.listed)
        return min(1.0, (self.ended + parts) / self.users) if self.users else 1.0

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return max(self._clock() - self._begun, 1e-6)

    @property
    def left(self) -> float | None:
        """The seconds that are left, if the rest is as what is done; None: nothing is done yet."""
        fraction = self.fraction
        return self.seconds * (1 - fraction) / fraction if fraction else None

    @property
    def sentence(self) -> str:
        """All of it in a line."""
        total = self.total
        rate = f"{total.moved / self.seconds:,.0f} messages/s, {amount(total.octets / self.seconds)}/s"
        left = "" if self.left is None else f", {duration(self.left)} left"
        return f"{self.ended:,} of {self.users:,} users, {total.moved:,} messages moved, {rate}{left}"


def _sum(tallies: Iterable[Tally]) -> Tally:
    return Tally(*map(sum, zip(*map(astuple, tallies), strict=True)))


class Lines:
    """Progress as plain lines, now and then, on standard error."""

    def __init__(
        self, sums: Sums, clock: Callable[[], float], say: Callable[[str], None], warn: Callable[[str], None]
    ) -> None:
        self._sums = sums
        self._clock = clock
        self.say = say
        self.warn = warn
        self._last = clock()

    def begin(self, user: str, tally: Tally) -> None:
        """As Progress."""
        self._sums.begin(user, tally)

    def changed(self, user: str) -> None:  # noqa: ARG002 - as Progress
        """As Progress."""
        self._tell()

    def end(self, user: str) -> None:
        """As Progress."""
        self._sums.end(user)
        self._tell()

    def close(self) -> None:
        """As Progress."""

    def _tell(self) -> None:
        if self._clock() - self._last >= EVERY_SECONDS:
            self._last = self._clock()
            self.warn(self._sums.sentence)


def amount(octets: float) -> str:
    """Octets for people, as 12.3 MB."""
    unit = 0
    while octets >= _STEP and unit < len(_UNITS) - 1:
        octets /= _STEP
        unit += 1
    return f"{octets:,.{min(unit, 1)}f} {_UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds for people, as 1:02:03."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
