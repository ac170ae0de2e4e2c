"""When mail is old: the days of each user, and a clock that is believed only while it runs evenly.

Removed mail does not come back, so a wrong clock must not remove any. A clock is wrong in three ways that happen: it is that of a
machine without a battery (1970), or with a broken one (2099, or 2038 where 32 bits end); or it jumps while the server runs,
by a bad time server or by hand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.logger import Logger

from mailserver.interfaces import User

DAY: Final = 86_400
"""Seconds."""

EARLIEST: Final = 1_735_689_600.0
"""2025-01-01: no such program ran before it, so no right clock shows less."""

LATEST: Final = 2_114_380_800.0
"""2037-01-01: before the 32 bits of old clocks end. Versions of this program that run later have a later date here."""

JUMP_SECONDS: Final = 3600.0
"""More than a time server corrects without a person's help, and than the hour of summer time, which changes no such clock."""

WAIT_SECONDS: Final = float(DAY)
"""From a jump until the new time is believed: so long the operator has to see the warning."""

_JUMPED = (
    "the clock has jumped by {seconds:.0f} seconds: no mail expires for a day; if the time is wrong, set it right before that, and"
    " restart the server"
)
_IMPLAUSIBLE = (
    "the clock shows a time that cannot be ({when:.0f} seconds of the epoch): no mail expires until it is set right"
)

_UNANNOUNCED = (
    "{user!r} has expire_days {days}, which are fewer than CAPA announces before the login: set retention.shortest_expire_days to the"
    " fewest of all users"
)

log = Logger()


class EvenClock:
    """The time of day, while it can be believed. `wall` and `steady` answer seconds: of the epoch, and of a clock that never jumps.

    A machine that slept seems to have jumped, too: then mail stays a day longer.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float]) -> None:
        self._wall = wall
        self._steady = steady
        self._last: tuple[float, float] | None = None
        self._believed_from = steady()
        self._told = False

    def now(self) -> float | None:
        """Seconds of the epoch; None: the clock is not to be believed now."""
        wall, steady = self._wall(), self._steady()
        last, self._last = self._last, (wall, steady)
        if not EARLIEST <= wall < LATEST:
            if not self._told:
                log.warn(_IMPLAUSIBLE, event="retention.clock", when=wall)
            self._told = True
            self._believed_from = steady + WAIT_SECONDS  # a small step from such a time is no correction
            return None
        self._told = False
        jump = 0.0 if last is None else (wall - last[0]) - (steady - last[1])
        if abs(jump) > JUMP_SECONDS:
            log.warn(_JUMPED, event="retention.clock", seconds=jump)
            self._believed_from = steady + WAIT_SECONDS
        return wall if steady >= self._believed_from else None


class Expiry:
    """The site's rule: mail is removed `days` after its arrival, 0: never; users' own days come first.

    `shortest` are the fewest of those, as they are announced before a login; below 0: there are none.
    """

    def __init__(self, days: int, clock: EvenClock, shortest: int = -1) -> None:
        self._days = days
        self._announced = min(
            (each for each in (days or None, shortest if shortest >= 0 else None) if each is not None), default=None
        )
        self._told = False
        self.clock = clock

    def check(self, user: User) -> None:
        """Tell the operator, once, of a user with fewer days than were announced before the login."""
        days = user.expire_days
        if days is None or self._told or (self._announced is not None and self._announced <= days):
            return
        self._told = True
        log.warn(_UNANNOUNCED, event="retention.unannounced", user=user.name, days=days)

    def days(self, user: User) -> int | None:
        """The days after which the user's mail is removed by its age; None: it is not.

        With 0 of their own (EXPIRE 0), QUIT removes what was fetched, and what was not stays: its age says nothing.
        """
        return (self._days if user.expire_days is None else user.expire_days) or None

    def limit(self, user: User) -> float | None:
        """The user's mail that came before this time is old, in seconds of the epoch; None: none is, or nobody can tell."""
        days = self.days(user)
        now = None if days is None else self.clock.now()
        return None if now is None or days is None else now - days * DAY
