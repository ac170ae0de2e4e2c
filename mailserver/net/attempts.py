"""The login attempts at a `Throttle`, and the lanes in which they hold back one another."""

from __future__ import annotations

import enum
from typing import Final, NamedTuple, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall

from mailserver.errors import HeldTooLong
from mailserver.net.regulars import Visitor

AT_ONCE: Final = 4
"""Simultaneous attempts of one address while none has failed: the users of an office may log in at the same time, and each
may take the time of a slow hash."""


Key = tuple[str, ...]
"""A lane's: ``("address", network)``, ``("user", name)``, or ``("regular", network, user, secret)``."""


class State(enum.Enum):
    """What has become of an attempt."""

    WAITING = enum.auto()
    UNDER_WAY = enum.auto()
    OVER = enum.auto()


class Lane:
    """The attempts of one address, or at one user, which hold back one another."""

    __slots__ = ("failures", "key", "last", "timer", "under_way", "until", "waiting")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.failures = 0
        self.last = 0.0  # when the last one failed
        self.until = 0.0  # until when the next one is held back
        self.under_way = 0
        self.waiting: dict[Attempt, None] = {}  # in order of arrival
        self.timer: IDelayedCall | None = None

    @property
    def doubtful(self) -> int:
        """The number of failures, with the attempts that count as such until they succeed."""
        spared = AT_ONCE - 1 if self.key[0] == "address" and not self.failures else 0
        return self.failures + max(0, self.under_way - spared)

    @property
    def crowd(self) -> int:
        """The number of failures and of waiting attempts."""
        return self.failures + len(self.waiting)


class Held(NamedTuple):
    """What is remembered of a lane."""

    failures: int
    ago: float
    """Seconds since the last one."""
    left: float
    """Seconds until the next attempt may be verified; 0: now."""
    waiting: int
    """Attempts that wait, of all processes."""

    @property
    def matters(self) -> bool:
        """Whether anything of it holds an attempt back, now or after one more failure."""
        return bool(self.failures or self.waiting or self.left)


class Hold(NamedTuple):
    """What an attempt would have to wait for."""

    seconds: float
    """Until the next attempt has its turn; 0: it may be verified at once."""
    failures: int
    """The failures that count there."""
    waiting: int
    """Attempts that wait already."""
    further: float
    """The seconds for which those that wait would hold it back in their turn, if they fail."""
    regular: bool
    """Whether the user has logged in from this network before, so that strangers' failures do not count."""
    too_long: bool
    """Whether its turn would not come in time, if those who wait before it fail."""


class Turns(Protocol):
    """What an attempt asks of its throttle."""

    def settle(self, attempt: Attempt, *, good: bool | None) -> None:
        """Count its first outcome; `good` is None if nothing was verified."""

    def leave(self, attempt: Attempt) -> bool:
        """Take it out of the queue; False if it does not wait."""


class Attempt:
    """One attempt at a secret, which may be verified when it is its `turn`; after that, the first outcome counts."""

    __slots__ = ("_throttle", "lanes", "since", "state", "turn", "visitor", "waited")

    def __init__(self, throttle: Turns, lanes: tuple[Lane, ...], visitor: Visitor, since: float) -> None:
        self.visitor = visitor
        self.waited = 0.0
        """The seconds that the attempt was held back."""
        self.lanes = lanes
        self.since = since
        self.state = State.WAITING
        self._throttle = throttle
        self.turn: Deferred[None] | None = None
        """For an attempt that has to wait; None: it may be verified at once."""

    @property
    def granted(self) -> Deferred[None]:
        """Fires when it may be verified, or fails with HeldTooLong if the turn does not come, unless the client has left."""
        return succeed(None) if self.turn is None else self.turn

    def succeeded(self) -> None:
        """Settle: the secret was right."""
        self._throttle.settle(self, good=True)

    def failed(self) -> None:
        """Settle: the secret was wrong."""
        self._throttle.settle(self, good=False)

    def withdrawn(self) -> None:
        """Settle: nothing was verified, because of a fault of the server."""
        self._throttle.settle(self, good=None)

    def abandoned(self) -> None:
        """Settle: the client has left. During a verification that is a failure, since otherwise it would be a free guess."""
        if not self._throttle.leave(self):
            self.failed()

    def refuse(self) -> None:
        """Refuse the attempt if it waits; nothing is verified."""
        if self._throttle.leave(self):
            self.granted.errback(HeldTooLong())
