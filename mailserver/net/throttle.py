"""When a secret may be tried: each failure holds back the next attempt of the same address, and the next at the same user.

An attempt is held back before it is verified, whatever will become of it: so silence says nothing, and who does not wait
for his turn has tried nothing. Until an attempt is known to be good it counts as a failure, so many at once gain nothing
either. All this belongs to the address and to the user; that a connection was lost changes nothing.

A user at a network where he has logged in before has a lane of his own, which nobody's failures close but his.
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailserver.errors import HeldTooLong
from mailserver.net.regulars import Regulars, Visitor

REMEMBERED_SECONDS: Final = 900
"""A failure older than this no longer counts: a guesser who waits so long for each guess gets a hundred a day."""

REMEMBERED_LANES: Final = 20_000
"""Addresses and names kept, besides those of attempts that are not over; some 400 octets each."""

LOOKED_AT: Final = 16
"""How many of those that failed longest ago are looked at to forget one. It is the one that failed least: so a flood of
names, each of which fails once, does not push out the one that is guessed at."""

LONGEST_SECONDS: Final = 16.0
"""No failure holds back for longer: a mistyped password is no crime. It leaves 5,400 guesses a day."""

PATIENCE_SECONDS: Final = 20.0
"""Who had no turn for so long hears that he should come again. Clients give up after 30 seconds and more; and it is longer
than `LONGEST_SECONDS`, so that who waits alone has his turn."""

AT_ONCE: Final = 4
"""Attempts of one address that may be under way together while none of its has failed: the users of an office come
together, and each may take the time of a slow hash."""

IPV6_PREFIX: Final = 64
"""Bits of an IPv6 address that count: one customer is handed the rest."""


class _State(enum.Enum):
    WAITING = enum.auto()
    UNDER_WAY = enum.auto()
    OVER = enum.auto()


class _Lane:
    """Attempts that hold back one another."""

    __slots__ = ("failures", "key", "last", "timer", "under_way", "until", "waiting")

    def __init__(self, key: tuple[str, ...]) -> None:
        self.key = key
        self.failures = 0
        self.last = 0.0  # when the last one failed
        self.until = 0.0  # until when the next one is held back
        self.under_way = 0
        self.waiting: dict[Attempt, None] = {}  # in their order
        self.timer: IDelayedCall | None = None

    @property
    def doubtful(self) -> int:
        """The failures, and what has to be taken for one."""
        spared = AT_ONCE - 1 if self.key[0] == "address" and not self.failures else 0
        return self.failures + max(0, self.under_way - spared)


class Attempt:
    """One attempt at a secret: `granted` fires when it may be verified; then the first outcome that is told counts.

    It fails with HeldTooLong if the turn does not come, and never fires once the client has left.
    """

    __slots__ = ("_throttle", "granted", "lanes", "since", "state", "visitor", "waited")

    def __init__(self, throttle: Throttle, lanes: tuple[_Lane, ...], visitor: Visitor, since: float) -> None:
        self.granted: Deferred[None] = Deferred()
        self.visitor = visitor
        self.waited = 0.0
        """Seconds that it was held back."""
        self.lanes = lanes
        self.since = since
        self.state = _State.WAITING
        self._throttle = throttle

    def succeeded(self) -> None:
        """Tell that the secret was right."""
        self._throttle.settle(self, good=True)

    def failed(self) -> None:
        """Tell that it was wrong."""
        self._throttle.settle(self, good=False)

    def withdrawn(self) -> None:
        """Tell that nothing was verified: the server had trouble of its own."""
        self._throttle.settle(self, good=None)

    def abandoned(self) -> None:
        """Tell that the client has left. In the middle of a check that is a failure: else it would be a free guess."""
        if not self._throttle.leave(self):
            self.failed()

    def refuse(self) -> None:
        """Let it wait no longer, if it waits; nothing is verified."""
        if self._throttle.leave(self):
            self.granted.errback(HeldTooLong())


class Throttle:
    """The memory of failed logins, shared by all listeners of a process. With 0 for `first_seconds` nobody waits."""

    def __init__(self, clock: IReactorTime, first_seconds: float) -> None:
        self._clock = clock
        self._first = first_seconds
        self._regulars = Regulars()
        self._lanes: OrderedDict[tuple[str, ...], _Lane] = OrderedDict()  # those that failed longest ago come first
        self._queue: OrderedDict[Attempt, float] = OrderedDict()  # all who wait, and until when
        self._lapsing: IDelayedCall | None = None

    def attempt(self, address: str, user: str, secret: str = "") -> Attempt:
        """Ask for a turn to verify what was given as `user`'s secret.

        `secret` says whose secret that is, where it is not his alone; without a `user` there is only the address to go by.
        """
        visitor, now = Visitor(network(address), user, secret or user), self._clock.seconds()
        attempt = Attempt(self, tuple(self._lane(key, now) for key in self._keys(visitor)), visitor, now)
        if _open(attempt, now):
            self._grant(attempt, now)
        else:
            self._enqueue(attempt, now)
        return attempt

    def _keys(self, visitor: Visitor) -> tuple[tuple[str, ...], ...]:
        if visitor in self._regulars:
            return (("regular", *visitor),)
        at_address = "address", visitor.where
        return (at_address, ("user", visitor.secret)) if visitor.user else (at_address,)

    # Turns.

    def _enqueue(self, attempt: Attempt, now: float) -> None:
        self._queue[attempt] = now + PATIENCE_SECONDS
        if self._lapsing is None:
            self._lapsing = self._clock.callLater(PATIENCE_SECONDS, self._lapse)
        for lane in attempt.lanes:
            lane.waiting[attempt] = None
            if lane.until > now:
                self._arrange(lane, now)

    def leave(self, attempt: Attempt) -> bool:
        """Take an attempt out of the queue; False if it does not wait."""
        if attempt.state is not _State.WAITING:
            return False
        attempt.state = _State.OVER
        self._dequeue(attempt)
        for lane in attempt.lanes:
            self._arrange(lane, self._clock.seconds())
        return True

    def _dequeue(self, attempt: Attempt) -> None:
        self._queue.pop(attempt, None)
        for lane in attempt.lanes:
            lane.waiting.pop(attempt, None)
        if not self._queue and self._lapsing is not None:
            self._lapsing.cancel()
            self._lapsing = None

    def _lapse(self) -> None:
        """Refuse those who have waited for too long."""
        self._lapsing = None
        now, due = self._clock.seconds(), []
        for attempt, deadline in self._queue.items():
            if deadline > now:
                self._lapsing = self._clock.callLater(deadline - now, self._lapse)
                break
            due.append(attempt)
        for attempt in due:
            attempt.refuse()  # after the look: whoever is refused may ask again at once

    def _grant(self, attempt: Attempt, now: float) -> None:
        self._dequeue(attempt)
        attempt.state = _State.UNDER_WAY
        attempt.waited = now - attempt.since
        for lane in attempt.lanes:
            lane.under_way += 1
            lane.until = max(lane.until, now + self._seconds(lane.doubtful))
        attempt.granted.callback(None)  # which may settle it at once
        for lane in attempt.lanes:
            self._arrange(lane, now)

    def _arrange(self, lane: _Lane, now: float) -> None:
        """See to it that those who wait get their turn. A timer that is early arranges itself anew."""
        if lane.waiting:
            seconds = max(0.0, lane.until - now)
            if lane.timer is not None and lane.timer.getTime() > now + seconds:
                lane.timer.cancel()
                lane.timer = None
            if lane.timer is None:
                lane.timer = self._clock.callLater(seconds, self._serve, lane)
            return
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        if not (lane.failures or lane.under_way) and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]

    def _serve(self, lane: _Lane) -> None:
        """Give the next turn, to who comes from where fewest have failed and fewest wait.

        One at a time: others run in between.
        """
        lane.timer = None
        now = self._clock.seconds()
        if now < lane.until:
            self._arrange(lane, now)
            return
        first = _first((lane,), now)
        if first is not None:  # else each waits for another lane, which has a timer
            self._grant(_first(first.lanes, now) or first, now)
            self._arrange(lane, now)

    # Outcomes.

    def settle(self, attempt: Attempt, *, good: bool | None) -> None:
        """Count an attempt's outcome, if it is the first; None where there is none, for nothing was verified."""
        if attempt.state is not _State.UNDER_WAY:
            return
        attempt.state = _State.OVER
        now = self._clock.seconds()
        for lane in attempt.lanes:
            lane.under_way -= 1
            if good is False:
                self._fail(lane, now)
            elif good and self._shown(lane, attempt):
                lane.failures = 0
            if good is not False and not lane.under_way:
                lane.until = lane.last + self._seconds(lane.failures) if lane.failures else 0.0
            self._arrange(lane, now)
        if good and attempt.visitor.user:
            self._regulars.welcome(attempt.visitor)

    def _fail(self, lane: _Lane, now: float) -> None:
        lane.failures += 1
        lane.last = now
        lane.until = max(lane.until, now + self._seconds(lane.failures))
        self._lanes.move_to_end(lane.key)

    def _shown(self, lane: _Lane, attempt: Attempt) -> bool:
        """Whether the lane's failures are forgiven: those at the secret that was shown are.

        Those of the address are not, for a guesser may have an account, too. Nor are an account's, when one of its users was
        let in: it may have been by a secret of his own.
        """
        return lane.key[0] == "regular" or lane.key == ("user", attempt.visitor.user)

    def _seconds(self, failures: int) -> float:
        """How long so many failures hold back the next attempt."""
        return min(LONGEST_SECONDS, self._first * 2.0 ** min(failures - 1, 10)) if failures else 0.0

    # Memory.

    def _lane(self, key: tuple[str, ...], now: float) -> _Lane:
        lane = self._lanes.get(key)
        if lane is None:
            self._make_room()
            lane = self._lanes[key] = _Lane(key)
        elif now - lane.last >= REMEMBERED_SECONDS:
            lane.failures = 0
        return lane

    def _make_room(self) -> None:
        """Forget lanes, but none that somebody is in: of these there are no more than connections."""
        while len(self._lanes) >= REMEMBERED_LANES:
            first = islice(self._lanes.values(), LOOKED_AT)
            empty = [lane for lane in first if not (lane.under_way or lane.waiting)]
            if not empty:
                for lane in tuple(islice(self._lanes.values(), LOOKED_AT)):
                    self._lanes.move_to_end(lane.key)  # else who stays in the first ones lets nobody else be forgotten
                return
            del self._lanes[min(empty, key=lambda lane: lane.failures).key]


def _open(attempt: Attempt, now: float) -> bool:
    for lane in attempt.lanes:  # noqa: SIM110 - `all` takes three times as long, and thousands may wait
        if lane.until > now:
            return False
    return True


def _first(lanes: Iterable[_Lane], now: float) -> Attempt | None:
    """Whose turn it is of those who wait in these lanes and may go."""
    able = (attempt for lane in lanes for attempt in lane.waiting if _open(attempt, now))
    return min(able, key=_crowd, default=None)


def _crowd(attempt: Attempt) -> int:
    crowd = 0
    for lane in attempt.lanes:
        crowd += lane.failures + len(lane.waiting)
    return crowd


def network(address: str) -> str:
    """Fold an IPv6 address to its customer's network; other names, a Unix socket's empty one included, stay."""
    if ":" not in address:
        return address
    packed = ip_address(address.partition("%")[0]).packed
    return packed[: IPV6_PREFIX // 8].hex()
