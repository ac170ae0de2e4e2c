"""The memory of the last logins, for LOGIN-DELAY (RFC 2449 section 6.5): the least time between two logins of a user.

The delay begins with the login, not with the end of its session: the RFC counts from the +OK after PASS, APOP or AUTH. A login
that came too soon, or that opened no maildrop, changes nothing.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from mailserver.interfaces import IDelays, User

REMEMBERED_LOGINS: Final = 50_000
"""Logins whose delay is not over, about 200 octets each; the oldest go first. A user who is forgotten logs in too soon at worst."""


@implementer(IDelays)
class Delays:
    """The delays of one process. `seconds` is the site's, for users without one of their own."""

    def __init__(self, clock: IReactorTime, seconds: int = 0) -> None:
        self._clock = clock
        self._seconds = seconds
        self._over: dict[str, float] = {}  # when each delay is over, in order of the logins

    def adjust(self, seconds: int) -> None:
        """Let the site's delay be another one from now on."""
        self._seconds = seconds

    def begin(self, user: User) -> int:
        """Begin the user's delay; or answer the seconds that are left of the one that has begun."""
        delay = self.of(user)
        if delay <= 0:
            return 0
        return max(0, ceil(self._begin(drop_of(user), delay, self._clock.seconds())))

    def of(self, user: User) -> int:
        """The seconds between two logins of the user; 0: none."""
        return self._seconds if user.login_delay is None else user.login_delay

    def before(self, user: User) -> int:
        """What `begin` would answer now; nothing begins."""
        return ceil(within(self.of(user), self.left(drop_of(user))))

    def give_back(self, user: User) -> None:
        """Forget the login: it came to nothing."""
        self.forget(drop_of(user))

    # What operators see and change.

    @property
    def names(self) -> list[str]:
        """Whose delays this process knows, as `drop_of` names them; some may be over."""
        return list(self._over)

    def left(self, name: str) -> float:
        """The seconds that are left of a delay; 0: none."""
        return max(0.0, self._over.get(name, 0.0) - self._clock.seconds())

    def forget(self, name: str) -> None:
        """End a delay."""
        self._over.pop(name, None)

    def heard(self, name: str, left: float) -> None:
        """Remember a delay that began in another process, which is followed by this one."""
        if left > self.left(name):
            self._remember(name, self._clock.seconds() + left)

    def _begin(self, name: str, delay: int, now: float) -> float:
        left = within(delay, self._over.pop(name, now) - now)
        if left:
            self._over[name] = now + left
            return left
        self._remember(name, now + delay)
        return 0

    def _remember(self, name: str, over: float) -> None:
        self._over.pop(name, None)  # else it would stay where it was in their order
        self._over[name] = over
        if len(self._over) > REMEMBERED_LOGINS:
            del self._over[next(iter(self._over))]


def within(delay: float, left: float) -> float:
    """The seconds that are left of a delay; 0: it is over. A shorter one, since the user's entry has changed, counts from now on."""
    return left if 0 < left <= delay else 0.0


def drop_of(user: User) -> str:
    """A name for what the user opens: the users of an account (SDPS) have its name, and each a delay of their own."""
    if user.account is None or user.account.user is None:
        return user.name
    return f"{user.account.user}\n{user.name}"  # no name has a line's end in it
