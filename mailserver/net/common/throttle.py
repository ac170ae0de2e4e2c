"""The throttle over all worker processes: the lanes' figures are in the common memory, their waiting attempts in each process.

Each step holds the lanes that it is about, reads them, does what `net.throttle` does, and writes them: so of two guesses at the
same moment in two processes one counts before the other. An attempt that waits does so in its own process, which looks again when
its time comes; the others know the number of those who wait in a lane. A process that is killed in the middle of an attempt has failed at it: its successor says so.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Final, cast

from twisted.internet.interfaces import IReactorTime

from mailserver.net.attempts import Attempt, Held, Key, Lane, State
from mailserver.net.common.memory import CommonMemory
from mailserver.net.common.regulars import CommonRegulars
from mailserver.net.common.table import WAYS
from mailserver.net.regulars import Visitor
from mailserver.net.throttle import REMEMBERED_LANES, REMEMBERED_SECONDS, Throttle, is_open, recent

LOOK_AGAIN_SECONDS: Final = 0.25
"""How long an attempt may still wait when another process has settled the one that held it back: an office notices no more."""

LOOKS: Final = 16
"""Attempts whose lanes are read anew to find one that may go; then other work has its turn."""

STEP_SECONDS: Final = 0.01
"""How much later a process gives a turn for each failure and each other attempt that waits at the address whose turn it would be: so the
next turn is that of the address with the fewest, in whichever process it waits. A reactor is rarely later than that."""

UNDER_WAY: Final = 0
WAITING: Final = 1
"""The counts of each process in a slot."""

_FIGURES: Final = struct.Struct("=ddIxxxx")
"""When the last attempt failed, until when the next one is held back, and the number of failures."""


class CommonLane(Lane):
    """A lane whose figures were read from the memory. `under_way` counts the attempts of all processes."""

    __slots__ = ("bucket", "hash", "others", "others_waiting", "rank", "slot")

    def __init__(self, key: tuple[str, ...], hashed: bytes, bucket: int) -> None:
        super().__init__(key)
        self.hash = hashed
        self.bucket = bucket
        self.slot = -1
        self.others = 0  # the attempts of other processes
        self.others_waiting = 0
        self.rank = 0  # of the first among those that wait

    @property
    def crowd(self) -> int:
        """The number of failures and of all waiting attempts."""
        return super().crowd + self.others_waiting


class CommonThrottle(Throttle):
    """The throttle of one of several processes."""

    def __init__(self, clock: IReactorTime, first_seconds: float, memory: CommonMemory) -> None:
        super().__init__(clock, first_seconds)
        self._table = memory.lanes
        self._hash = memory.hash
        self._regulars = CommonRegulars(memory, clock)
        self._alone = memory.processes == 1
        self._held: tuple[CommonLane, ...] = ()
        self._known: OrderedDict[Key, None] = OrderedDict()
        """The names of lanes in which an attempt of this process has failed, the latest last: the memory has only hashes of them."""
        if memory.inherits:
            self._fail_abandoned(clock.seconds())

    def _fail_abandoned(self, now: float) -> None:
        """Count the attempts of a killed predecessor as one failure in each lane: it may have been a guesser who killed it."""
        for slot in self._table.counted(WAITING):
            self._table.set_own(slot, 0, WAITING)
        for slot in self._table.counted(UNDER_WAY):
            bucket = slot // WAYS * WAYS
            self._table.hold(bucket)
            try:
                self._table.set_own(slot, 0)
                at = self._table.record(slot)
                _last, until, failures = _FIGURES.unpack_from(self._table.octets, at)
                until = max(until, now + self._seconds(failures + 1))
                _FIGURES.pack_into(self._table.octets, at, now, until, failures + 1)
            finally:
                self._table.let_go(bucket)

    # The steps.

    def attempt(self, address: str, user: str, secret: str = "") -> Attempt:
        """As for one process."""
        try:
            return super().attempt(address, user, secret)
        finally:
            self._let_go()

    def _lanes_of(self, visitor: Visitor, now: float) -> tuple[Lane, ...]:
        """The lanes, which are held until the attempt has begun or waits."""
        lanes = super()._lanes_of(visitor, now)
        self._hold(lanes)
        for lane in self._held:
            if lane.failures and now - lane.last >= REMEMBERED_SECONDS:
                lane.failures = 0
        return lanes

    def settle(self, attempt: Attempt, *, good: bool | None) -> None:
        """As for one process."""
        if attempt.state is not State.UNDER_WAY:
            return
        try:
            self._hold(attempt.lanes)
            super().settle(attempt, good=good)
            self._write()
        finally:
            self._let_go()
        self._tidy(attempt.lanes)

    def leave(self, attempt: Attempt) -> bool:
        """As for one process, since it knows the attempts that wait."""
        left = super().leave(attempt)
        if left:
            now = self._clock.seconds()
            try:
                self._hold(attempt.lanes)
                self._write()
            finally:
                self._let_go()
            for lane in attempt.lanes:
                if lane.until > now:
                    self._arrange(lane, now)
        self._tidy(attempt.lanes)
        return left

    def _begin(self, attempt: Attempt, now: float) -> None:
        super()._begin(attempt, now)
        self._write()

    def _enqueue(self, attempt: Attempt, now: float) -> None:
        super()._enqueue(attempt, now)
        self._write()
        for lane in self._held:
            rank = _rank(attempt, lane)
            lane.rank = min(lane.rank, rank) if len(lane.waiting) > 1 else rank
            if lane.until > now:
                self._arrange(lane, now)

    def _next(self, lane: Lane, now: float) -> Attempt | None:
        common = cast("CommonLane", lane)
        self._hold((lane,))
        self._let_go()
        common.rank = min((_rank(attempt, common) for attempt in lane.waiting), default=0)
        latest = None
        for _ in range(LOOKS):
            attempt = self._first_of(lane, now)
            if attempt is None:
                return None
            if self._begun(attempt, common, now):
                return attempt
            for each in attempt.lanes:  # another process has had a turn there
                if each.until > now:
                    self._arrange(each, now)
            common.rank = _rank(attempt, common)
            if attempt is latest:  # it may go, if no better one does until then
                break
            latest = attempt
        if lane.timer is None:
            seconds = max(lane.until + self._grace(common) - now, STEP_SECONDS)
            lane.timer = self._clock.callLater(seconds, self._serve, lane)
        return None

    def _begun(self, attempt: Attempt, lane: CommonLane, now: float) -> bool:
        """Begin an attempt, if it may go by what is known in all processes, and nobody better can be waiting in another."""
        try:
            self._hold(attempt.lanes)
            if not is_open(attempt, now):
                return False
            lane.rank = _rank(attempt, lane)
            if now < lane.until + self._grace(lane):
                return False
            self._dequeue(attempt)
            self._begin(attempt, now)
            return True
        finally:
            self._let_go()

    def _grace(self, lane: CommonLane) -> float:
        return 0.0 if self._alone else min(STEP_SECONDS * lane.rank, LOOK_AGAIN_SECONDS)

    def _pause(self, lane: Lane, now: float) -> float:
        """Look soon if another process may open the lane before its time, and later than one where a better one waits."""
        seconds, common = super()._pause(lane, now), cast("CommonLane", lane)
        if common.others:
            seconds = min(seconds, LOOK_AGAIN_SECONDS)
        return seconds + self._grace(common)

    # What operators see and change.

    @property
    def names(self) -> list[Key]:
        """Those of which an attempt waits here or has failed here."""
        return list({**self._known, **self._lanes})

    @property
    def lanes(self) -> int:
        """As for one process."""
        now = self._clock.seconds()
        figures = self._table.records(_FIGURES)
        return sum(failures > 0 and now - last < REMEMBERED_SECONDS for last, _until, failures in figures)

    def held(self, key: Key) -> Held:
        """As for one process. It takes no lock: figures that change at this moment are old or new ones."""
        slot = self._slot(self._hash(*key))
        if slot < 0:
            return Held(0, 0.0, 0.0, 0)
        last, until, failures = _FIGURES.unpack_from(self._table.octets, self._table.record(slot))
        return recent(failures, last, until, self._clock.seconds(), self._table.count(slot, WAITING))

    def _looked_at(self, lanes: tuple[Lane, ...], now: float) -> None:  # noqa: ARG002 - the memory forgets by itself
        """As for one process."""
        self._let_go()
        self._tidy(lanes)

    def forgive(self, key: Key) -> None:
        """As for one process, for all: but each must be asked, that those who wait in it look again."""
        lane = self._lane(key, self._clock.seconds())
        try:
            self._hold((lane,))
            super().forgive(key)
            self._write()
        finally:
            self._let_go()
        self._tidy((lane,))

    def _fail(self, lane: Lane, now: float) -> None:
        super()._fail(lane, now)
        self._known[lane.key] = None
        self._known.move_to_end(lane.key)
        if len(self._known) > REMEMBERED_LANES:
            self._known.popitem(last=False)

    def _slot(self, hashed: bytes) -> int:
        return self._table.find(hashed, self._table.bucket(hashed))

    # The memory.

    def _lane(self, key: tuple[str, ...], now: float) -> Lane:  # noqa: ARG002 - `_lanes_of` looks how old it is
        lane = self._lanes.get(key)
        if lane is None:
            hashed = self._hash(*key)
            lane = self._lanes[key] = CommonLane(key, hashed, self._table.bucket(hashed))
        return lane

    def _hold(self, lanes: tuple[Lane, ...]) -> None:
        """Keep other processes from these lanes until `_let_go`, and read them."""
        held = cast("tuple[CommonLane, ...]", lanes)  # `_lane` makes no others
        self._held = held if len(held) == 1 or held[0].bucket <= held[1].bucket else held[::-1]
        table = self._table
        for lane in self._held:
            table.hold(lane.bucket)
        for lane in self._held:
            own = lane.under_way - lane.others
            slot = lane.slot = table.find(lane.hash, lane.bucket)
            if slot >= 0:
                lane.last, lane.until, lane.failures = _FIGURES.unpack_from(table.octets, table.record(slot))
                lane.others = table.count(slot) - table.own(slot)
                lane.others_waiting = table.count(slot, WAITING) - table.own(slot, WAITING)
                lane.under_way = lane.others + own
            elif own:  # the memory has no room for it
                lane.others, lane.under_way, lane.others_waiting = 0, own, 0
            else:
                lane.last = lane.until = 0.0
                lane.failures = lane.others = lane.under_way = lane.others_waiting = 0

    def _let_go(self) -> None:
        for lane in self._held:
            self._table.let_go(lane.bucket)
        self._held = ()

    def _write(self) -> None:
        table = self._table
        for lane in self._held:
            slot = lane.slot
            if lane.under_way or lane.crowd:
                if slot < 0:
                    slot = lane.slot = table.claim(lane.hash, lane.bucket, self._worth)
                if slot >= 0:
                    _FIGURES.pack_into(table.octets, table.record(slot), lane.last, lane.until, lane.failures)
                    table.set_own(slot, lane.under_way - lane.others, UNDER_WAY)
                    table.set_own(slot, len(lane.waiting), WAITING)
            elif slot >= 0:
                table.set_own(slot, 0, UNDER_WAY)
                table.set_own(slot, 0, WAITING)
                table.free(slot)

    def _worth(self, slot: int) -> tuple[int, float]:
        """Of those that nobody is trying, the lane with the fewest failures goes, and of these the oldest."""
        last, _until, failures = _FIGURES.unpack_from(self._table.octets, self._table.record(slot))
        return (failures if self._clock.seconds() - last < REMEMBERED_SECONDS else 0, last)

    def _tidy(self, lanes: tuple[Lane, ...]) -> None:
        """Forget the lanes without an attempt of this process: their figures are in the memory."""
        for lane in cast("tuple[CommonLane, ...]", lanes):
            if lane.under_way == lane.others and not lane.waiting and self._lanes.get(lane.key) is lane:
                del self._lanes[lane.key]


def _rank(attempt: Attempt, lane: CommonLane) -> int:
    """The failures, and the other waiting attempts, in the other lane for which it waits as well."""
    return sum([other.crowd - (attempt in other.waiting) for other in attempt.lanes if other is not lane])
