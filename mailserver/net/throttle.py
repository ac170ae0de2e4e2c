"""The throttle of login attempts: each failure holds back the next attempt of the same address, and at the same user.

An attempt is held back before it is verified, whatever its outcome: so the delay reveals nothing, and a client that does not
wait for its turn has tried nothing. Until an attempt succeeds it counts as a failure, so simultaneous attempts gain nothing
either. The failures belong to the address and to the user; a lost connection does not change them.

A user at a network of an earlier login has a separate lane there, which only failures at that user from that network close.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from ipaddress import ip_address
from itertools import islice
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from mailserver.counts import Spread
from mailserver.net.attempts import Attempt, Held, Hold, Key, Lane, State
from mailserver.net.regulars import Regulars, Visitor

REMEMBERED_SECONDS: Final = 900
"""An older failure no longer counts: a guesser that waits so long after each guess has a hundred a day."""

REMEMBERED_LANES: Final = 20_000
"""Remembered addresses and names, besides those of unsettled attempts; about 400 octets each."""

LOOKED_AT: Final = 16
"""To forget one lane, this many with the oldest failures are examined, and the one with the fewest failures goes: so a flood
of names that fail once each does not displace a name that is being guessed at."""

LONGEST_SECONDS: Final = 16.0
"""The longest hold after a failure, for users who mistype. It allows 5,400 guesses a day."""

PATIENCE_SECONDS: Final = 20.0
"""An attempt without a turn for so long is refused with HeldTooLong. Clients give up after 30 seconds or more; and it is
longer than `LONGEST_SECONDS`, so that a single waiting attempt always gets its turn."""

IPV6_PREFIX: Final = 64
"""The bits of an IPv6 address that count: providers assign the rest to one customer."""


class Throttle:
    """The memory of failed logins, shared by all listeners of a process (`common.throttle`: of several). With 0 for `first_seconds` nobody waits."""

    waits: Spread | None = None
    """The seconds for which attempts were held back, if they are counted."""

    def __init__(self, clock: IReactorTime, first_seconds: float) -> None:
        self._clock = clock
        self._first = first_seconds
        self._regulars: Regulars = Regulars()
        self._lanes: OrderedDict[Key, Lane] = OrderedDict()  # in order of the last failure, the oldest first
        self._queue: OrderedDict[Attempt, float] = OrderedDict()  # the waiting attempts, and until when they wait
        self._lapsing: IDelayedCall | None = None

    def adjust(self, first_seconds: float) -> None:
        """Hold attempts back for so long from now on. What has failed stays known."""
        self._first = first_seconds

    def attempt(self, address: str, user: str, secret: str = "") -> Attempt:
        """Ask for a turn to verify `user`'s secret; without a `user` only the address counts.

        `secret` is the name that the secret belongs to, if that is not the user: an account, for its users.
        """
        visitor, now = Visitor(network(address), user, secret or user), self._clock.seconds()
        attempt = Attempt(self, self._lanes_of(visitor, now), visitor, now)
        if is_open(attempt, now):
            self._begin(attempt, now)
        else:
            self._enqueue(attempt, now)
        return attempt

    @property
    def waiting(self) -> int:
        """The attempts that wait for their turn."""
        return len(self._queue)

    def _lanes_of(self, visitor: Visitor, now: float) -> tuple[Lane, ...]:
        if visitor in self._regulars:
            return (self._lane(("regular", *visitor), now),)
        at_address = self._lane(("address", visitor.where), now)
        return (at_address, self._lane(("user", visitor.secret), now)) if visitor.user else (at_address,)

    # Turns.

    def _begin(self, attempt: Attempt, now: float) -> None:
        """It is the attempt's turn: until it is settled it counts as a failure."""
        attempt.state = State.UNDER_WAY
        attempt.waited = now - attempt.since
        if attempt.turn is not None and self.waits is not None:
            self.waits.add(attempt.waited)
        for lane in attempt.lanes:
            lane.under_way += 1
            lane.until = max(lane.until, now + self._seconds(lane.doubtful))
            if lane.waiting:
                self._arrange(lane, now)

    def _enqueue(self, attempt: Attempt, now: float) -> None:
        attempt.turn = Deferred()
        self._queue[attempt] = now + PATIENCE_SECONDS
        if self._lapsing is None:
            self._lapsing = self._clock.callLater(PATIENCE_SECONDS, self._lapse)
        for lane in attempt.lanes:
            lane.waiting[attempt] = None
            if lane.until > now:
                self._arrange(lane, now)

    def leave(self, attempt: Attempt) -> bool:
        """Take an attempt out of the queue; answers False if it does not wait."""
        if attempt.state is not State.WAITING:
            return False
        attempt.state = State.OVER
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
        """Refuse the attempts that have waited too long."""
        self._lapsing = None
        now, due = self._clock.seconds(), []
        for attempt, deadline in self._queue.items():
            if deadline > now:
                self._lapsing = self._clock.callLater(deadline - now, self._lapse)
                break
            due.append(attempt)
        for attempt in due:
            attempt.refuse()  # after the loop: a refused client may ask again at once

    def _arrange(self, lane: Lane, now: float) -> None:
        """Set the lane's timer for its waiting attempts. A timer that fires early sets itself again."""
        if lane.waiting:
            seconds = self._pause(lane, now)
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

    def _pause(self, lane: Lane, now: float) -> float:
        """The seconds until the lane is looked at again."""
        return max(0.0, lane.until - now)

    def _serve(self, lane: Lane) -> None:
        """Give the next turn to an attempt of the address with the fewest failures and the fewest waiting attempts.

        It gives one turn at a time, so that other work runs in between.
        """
        lane.timer = None
        now = self._clock.seconds()
        attempt = self._next(lane, now)
        if attempt is not None:
            attempt.granted.callback(None)  # may settle the attempt at once
        if attempt is not None or now < lane.until:  # otherwise each attempt waits for another lane, which has a timer
            self._arrange(lane, now)

    def _next(self, lane: Lane, now: float) -> Attempt | None:
        """Begin the next attempt; None: none of those that wait in this lane may go."""
        attempt = self._first_of(lane, now)
        if attempt is not None:
            self._dequeue(attempt)
            self._begin(attempt, now)
        return attempt

    def _first_of(self, lane: Lane, now: float) -> Attempt | None:
        if now < lane.until:
            return None
        first = _first((lane,), now)
        return first and (_first(first.lanes, now) or first)

    # Outcomes.

    def settle(self, attempt: Attempt, *, good: bool | None) -> None:
        """Count an attempt's first outcome; `good` is None if nothing was verified."""
        if attempt.state is not State.UNDER_WAY:
            return
        attempt.state = State.OVER
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

    def _fail(self, lane: Lane, now: float) -> None:
        lane.failures += 1
        lane.last = now
        lane.until = max(lane.until, now + self._seconds(lane.failures))
        self._lanes.move_to_end(lane.key)

    def _shown(self, lane: Lane, attempt: Attempt) -> bool:
        """Whether a success forgives the lane's failures: only those at the verified secret.

        It does not forgive the address, since a guesser may have an account, too; nor an account when one of its users has
        logged in, since that user may have a secret of their own.
        """
        return lane.key[0] == "regular" or lane.key == ("user", attempt.visitor.user)

    def _seconds(self, failures: int) -> float:
        """The seconds that this number of failures holds back the next attempt."""
        return min(LONGEST_SECONDS, self._first * 2.0 ** min(failures - 1, 10)) if failures else 0.0

    # What operators see and change.

    @property
    def names(self) -> list[Key]:
        """The lanes that this process knows by their names."""
        return list(self._lanes)

    @property
    def lanes(self) -> int:
        """The lanes with failures that count, with or without a name."""
        now = self._clock.seconds()
        return sum(lane.failures > 0 and now - lane.last < REMEMBERED_SECONDS for lane in self._lanes.values())

    def held(self, key: Key) -> Held:
        """What is remembered of a lane."""
        lane, now = self._lanes.get(key), self._clock.seconds()
        if lane is None:
            return Held(0, 0.0, 0.0, 0)
        return recent(lane.failures, lane.last, lane.until, now, len(lane.waiting))

    def hold(self, address: str, user: str, secret: str = "") -> Hold:
        """What an attempt would have to wait for now; the arguments are those of `attempt`. Nothing is counted."""
        now = self._clock.seconds()
        lanes = self._lanes_of(Visitor(network(address), user, secret or user), now)
        self._looked_at(lanes, now)
        longest = max((self.held(lane.key) for lane in lanes), key=lambda held: held.left)
        further = sum(self._seconds(longest.failures + turn) for turn in range(1, longest.waiting + 1))
        too_long = longest.left + further > PATIENCE_SECONDS
        return Hold(longest.left, longest.failures, longest.waiting, further, lanes[0].key[0] == "regular", too_long)

    def _looked_at(self, lanes: tuple[Lane, ...], now: float) -> None:
        """Forget lanes that were only made to be looked at."""
        for lane in lanes:
            self._arrange(lane, now)

    def forgive(self, key: Key) -> None:
        """Forget the failures of a lane, so that those who wait have their turn. An attempt under way may still fail."""
        lane = self._lanes.get(key)
        if lane is not None:
            lane.failures, lane.until = 0, 0.0
            self._arrange(lane, self._clock.seconds())

    # What another process knows that is followed by this one.

    @property
    def regulars(self) -> Regulars:
        """The networks of earlier logins."""
        return self._regulars

    def heard(self, key: Key, held: Held) -> None:
        """Count what has failed in another process, too."""
        now = self._clock.seconds()
        lane = self._lane(key, now)
        lane.failures += held.failures
        lane.last = max(lane.last, now - held.ago)
        lane.until = max(lane.until, now + held.left)
        self._arrange(lane, now)

    # Memory.

    def _lane(self, key: Key, now: float) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            self._make_room()
            lane = self._lanes[key] = Lane(key)
        elif now - lane.last >= REMEMBERED_SECONDS:
            lane.failures = 0
        return lane

    def _make_room(self) -> None:
        """Forget lanes, except those with attempts, which are no more than the connections."""
        while len(self._lanes) >= REMEMBERED_LANES:
            first = islice(self._lanes.values(), LOOKED_AT)
            empty = [lane for lane in first if not (lane.under_way or lane.waiting)]
            if not empty:
                for lane in tuple(islice(self._lanes.values(), LOOKED_AT)):
                    self._lanes.move_to_end(
                        lane.key
                    )  # else lanes in use at the front would keep all others from being forgotten
                return
            del self._lanes[min(empty, key=lambda lane: lane.failures).key]


def recent(failures: int, last: float, until: float, now: float, waiting: int) -> Held:
    """A lane by its figures, of which old failures do not count."""
    if now - last >= REMEMBERED_SECONDS:
        failures = 0
    return Held(failures, now - last if failures else 0.0, max(0.0, until - now), waiting)


def is_open(attempt: Attempt, now: float) -> bool:
    """Whether none of its lanes is held."""
    for lane in attempt.lanes:  # noqa: SIM110 - `all` takes three times as long, and thousands may wait
        if lane.until > now:
            return False
    return True


def _first(lanes: Iterable[Lane], now: float) -> Attempt | None:
    """The next attempt among those that wait in these lanes and may go."""
    able = (attempt for lane in lanes for attempt in lane.waiting if is_open(attempt, now))
    return min(able, key=_crowd, default=None)


def _crowd(attempt: Attempt) -> int:
    return sum([lane.crowd for lane in attempt.lanes])


def network(address: str) -> str:
    """Reduce an IPv6 address to its customer's network; others, including a Unix socket's "", stay the same."""
    if ":" not in address:
        return address
    packed = ip_address(address.partition("%")[0]).packed
    return packed[: IPV6_PREFIX // 8].hex()
