"""The throttle over several processes, beyond what tests/net/test_throttle.py demands of any."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mailserver.net import throttle as model
from mailserver.net.attempts import AT_ONCE, Attempt
from mailserver.net.common import memory as memory_module
from mailserver.net.common.memory import CommonMemory, make
from mailserver.net.common.table import WAYS, Shape
from mailserver.net.common.throttle import LOOK_AGAIN_SECONDS, LOOKS, STEP_SECONDS, WAITING, CommonThrottle
from mailserver.net.throttle import LONGEST_SECONDS, PATIENCE_SECONDS, REMEMBERED_SECONDS, Throttle
from tests.net.common.views import view, views


class House:
    """Processes that share a memory and a clock; each knows only its own attempts."""

    def __init__(self, memories: list[CommonMemory], first_seconds: float = 2) -> None:
        self.memories = memories
        self.clock = Clock()
        self.throttles = [CommonThrottle(self.clock, first_seconds, memory) for memory in memories]

    def fail(self, process: int, address: str, user: str) -> bool:
        """A wrong secret; whether it was looked at, at once."""
        attempt = self.throttles[process].attempt(address, user)
        looked_at = attempt.turn is None
        attempt.failed() if looked_at else attempt.abandoned()
        return looked_at


@pytest.fixture
def house() -> Iterator[House]:
    with views(2) as memories:
        yield House(memories)


@contextmanager
def dying() -> Iterator[tuple[int, House]]:
    """A house, and the descriptor for the successor of a process in it."""
    descriptor = make(2, 100)
    try:
        yield descriptor, House([view(descriptor, number) for number in range(2)])
    finally:
        os.close(descriptor)


def test_of_two_guesses_at_the_same_moment_in_two_processes_one_waits(house: House) -> None:
    first = house.throttles[0].attempt("192.0.2.1", "alice")
    second = house.throttles[1].attempt("192.0.2.2", "alice")
    assert (first.turn is None, second.turn is None) == (True, False)


def test_who_waits_in_another_process_goes_soon_after_the_right_secret_of_the_one_before(house: House) -> None:
    first = house.throttles[0].attempt("192.0.2.1", "alice")
    second = house.throttles[1].attempt("192.0.2.1", "alice")
    first.succeeded()
    house.clock.advance(LOOK_AGAIN_SECONDS)
    assert second.granted.called
    second.withdrawn()
    assert house.clock.getDelayedCalls() == []


def test_who_waits_for_a_failure_sleeps_until_its_time(house: House) -> None:
    house.fail(0, "192.0.2.1", "alice")
    house.throttles[1].attempt("192.0.2.1", "alice")
    times = sorted(call.getTime() for call in house.clock.getDelayedCalls())
    assert times[2:] == [PATIENCE_SECONDS]
    assert all(2 <= time <= 2 + LOOK_AGAIN_SECONDS for time in times[:2]), "one for each lane, and none in between"


def test_when_the_time_comes_in_both_processes_one_goes_and_the_other_waits_on(house: House) -> None:
    house.fail(0, "192.0.2.1", "alice")
    attempts = [throttle.attempt(f"192.0.2.{n}", "alice") for n, throttle in enumerate(house.throttles, 2)]
    house.clock.advance(2)
    assert [bool(attempt.granted.called) for attempt in attempts].count(True) == 1
    house.clock.advance(LONGEST_SECONDS)
    assert all(attempt.granted.called for attempt in attempts)


def test_a_lane_that_another_process_has_closed_meanwhile_is_waited_for_too(house: House) -> None:
    house.fail(0, "192.0.2.1", "alice")
    waiting = house.throttles[0].attempt("192.0.2.2", "alice")  # alice's lane is closed, the address's is open
    house.clock.advance(1.5)
    house.fail(1, "192.0.2.2", "bob")  # until 3.5
    house.clock.advance(0.5)
    assert not waiting.granted.called
    house.clock.advance(1.5 + LOOK_AGAIN_SECONDS)
    assert waiting.granted.called


def test_the_next_turn_is_the_newcomer_s_in_whatever_process_he_waits() -> None:
    with views(3) as memories:
        house = House(memories)
        house.fail(0, "192.0.2.1", "alice")
        guessers = [house.throttles[n % 2].attempt("192.0.2.2", "alice") for n in range(6)]
        newcomer = house.throttles[2].attempt("192.0.2.3", "alice")
        house.clock.advance(2)
        house.clock.pump([STEP_SECONDS / 2] * 20)
        assert (newcomer.granted.called, any(attempt.granted.called for attempt in guessers)) == (True, False)


def test_many_whose_lanes_others_have_closed_keep_nobody_from_the_lock_and_get_their_turn(house: House) -> None:
    house.fail(0, "192.0.2.1", "alice")
    waiting = [house.throttles[0].attempt(f"198.51.100.{n}", "alice") for n in range(LOOKS * 2)]
    house.clock.advance(1.9)
    for n in range(LOOKS * 2 - 1):
        house.fail(1, f"198.51.100.{n}", "")
    house.clock.advance(0.1)
    assert not any(attempt.granted.called for attempt in waiting)
    house.clock.advance(LOOK_AGAIN_SECONDS)
    assert [attempt.granted.called for attempt in waiting].index(True) == LOOKS * 2 - 1


def test_the_office_has_as_many_at_once_in_all_processes_as_in_one() -> None:
    with views(4) as memories:
        house = House(memories)
        attempts = [house.throttles[n % 4].attempt("192.0.2.1", f"user{n}") for n in range(3 * AT_ONCE)]
        assert sum(attempt.turn is None for attempt in attempts) == AT_ONCE


def test_a_process_that_is_killed_in_the_middle_of_an_attempt_has_failed_at_it_and_leaves_nothing_stuck() -> None:
    with dying() as (descriptor, house):
        for n in range(3):
            house.throttles[0].attempt("192.0.2.1", f"user{n}")
        survivor = house.throttles[1].attempt("192.0.2.2", "user0")
        assert survivor.turn is not None
        successor = CommonThrottle(house.clock, 2, view(descriptor, 0))
        assert view(descriptor, 0).lanes.counted() == []
        house.clock.advance(2)
        assert survivor.granted.called
        survivor.succeeded()
        # One failure at the address, whoever there tried: it is held for no more than two seconds at a time.
        for n in range(5):
            again = successor.attempt("192.0.2.1", f"other{n}")
            assert (again.turn, again.lanes[0].failures) == (None, 1)
            again.succeeded()
            house.clock.advance(2)


def test_those_who_waited_in_a_process_that_was_killed_wait_no_more() -> None:
    with dying() as (descriptor, house):
        house.fail(1, "192.0.2.1", "alice")
        house.throttles[0].attempt("192.0.2.2", "alice")
        assert len(view(descriptor, 0).lanes.counted(WAITING)) == 2
        CommonThrottle(house.clock, 2, view(descriptor, 0))
        assert view(descriptor, 0).lanes.counted(WAITING) == []


def test_what_a_killed_process_knew_is_known_to_its_successor() -> None:
    with dying() as (descriptor, house):
        house.throttles[0].attempt("203.0.113.7", "alice").succeeded()
        for _ in range(4):
            while not house.fail(0, "192.0.2.1", "bob"):
                house.clock.advance(1)
        successor = CommonThrottle(house.clock, 2, view(descriptor, 0))
        house.fail(1, "192.0.2.9", "alice")
        assert successor.attempt("203.0.113.7", "alice").turn is None
        held = successor.attempt("198.51.100.1", "bob")
        house.clock.advance(LONGEST_SECONDS - 0.1)
        assert not held.granted.called


def test_who_was_not_killed_has_no_successor_that_fails_for_him() -> None:
    with dying() as (descriptor, house):
        attempt = house.throttles[1].attempt("192.0.2.1", "alice")
        CommonThrottle(house.clock, 2, view(descriptor, 0))
        attempt.succeeded()
        assert house.memories[1].lanes.used == 0


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "LANES", Shape(8 * WAYS, 24, counts=2))
    monkeypatch.setattr(memory_module, "REGULARS", Shape(WAYS, 8 + 16 * 8))


def test_a_flood_fills_the_memory_and_hides_no_guessing(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    with views(2) as memories:
        house = House(memories)
        for n in range(4):
            while not house.fail(n % 2, f"192.0.2.{n}", "alice"):
                house.clock.advance(0.125)
        for n in range(2000):
            house.fail(n % 2, f"2001:db8:0:{n:x}::1", f"user{n}")
        assert memories[0].lanes.used == 8 * WAYS
        assert all(len(throttle._lanes) == 0 for throttle in house.throttles)
        held = house.throttles[0].attempt("198.51.100.1", "alice")
        house.clock.advance(LONGEST_SECONDS - 0.1)
        assert not held.granted.called


def test_old_failures_make_room_first(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    with views(2) as memories:
        house = House(memories, first_seconds=0.001)
        for n in range(2000):
            for _ in range(2):
                house.fail(0, f"2001:db8:0:{n:x}::1", "")
                house.clock.advance(0.01)
        house.clock.advance(REMEMBERED_SECONDS)
        for n in range(100):
            house.fail(0, f"2001:db8:1:{n:x}::1", "")
        worth = [house.throttles[1].attempt(f"2001:db8:1:{n:x}::1", "").lanes[0].failures for n in range(100)]
        assert sum(worth) > 50, "else each of eight buckets would hold one of them"


def test_when_all_are_in_use_nobody_is_forgotten_and_the_rest_counts_in_its_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small(monkeypatch)
    with views(2) as memories:
        house = House(memories)
        attempts = [house.throttles[n % 2].attempt(f"192.0.2.{n}", f"user{n}") for n in range(250)]
        assert all(attempt.turn is None for attempt in attempts)
        assert memories[0].lanes.used == 8 * WAYS
        again = [house.throttles[n % 2].attempt("", f"user{n}") for n in range(250)]
        assert all(attempt.turn is not None for attempt in again), "no attempt is forgotten by its own process"
        for attempt in again:
            attempt.abandoned()
        for attempt in attempts:
            attempt.succeeded()
        assert memories[0].lanes.used == 0
        assert not any(throttle._lanes for throttle in house.throttles)
        assert house.clock.getDelayedCalls() == []


def test_the_users_that_are_known_are_so_many_and_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    small(monkeypatch)
    with views(2) as memories:
        house = House(memories)
        for n in range(3 * WAYS):
            house.throttles[n % 2].attempt("203.0.113.1", f"user{n}").succeeded()
            house.clock.advance(1)
        assert memories[0].regulars.used == WAYS
        known = [("203.0.113.1", f"user{n}", f"user{n}") for n in range(3 * WAYS)]
        assert [model.Visitor(*each) in house.throttles[0]._regulars for each in known].count(True) == WAYS
        assert model.Visitor(*known[-1]) in house.throttles[1]._regulars


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("try"), st.integers(0, 3), st.integers(0, 2), st.sampled_from(["", "ann", "bob", "eve"])),
        st.tuples(st.just("settle"), st.integers(0, 30), st.sampled_from([True, False, None])),
        st.tuples(st.just("leave"), st.integers(0, 30)),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.0, 2.0, 7.0, 20.0, 900.0])),
    ),
    max_size=60,
)


class Play:
    """The same steps by any throttles; of each attempt, whether its turn has come."""

    def __init__(self, clock: Clock, throttles: list[Throttle]) -> None:
        self.clock, self.throttles = clock, throttles
        self.attempts: list[Attempt] = []

    def step(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("try", process, where, user):
                attempt = self.throttles[process % len(self.throttles)].attempt(f"192.0.2.{where}", user)
                if attempt.turn is not None:
                    attempt.turn.addErrback(lambda _: None)
                self.attempts.append(attempt)
            case ("settle", which, good) if self.attempts:
                attempt = self.attempts[which % len(self.attempts)]
                attempt._throttle.settle(attempt, good=good)
            case ("leave", which) if self.attempts:
                self.attempts[which % len(self.attempts)].abandoned()
            case ("wait", seconds):
                self.clock.advance(seconds)

    def states(self) -> list[object]:
        return [attempt.state for attempt in self.attempts]

    def figures(self) -> list[object]:
        """What is known of each lane, by attempts that only look."""
        found = []
        for where in range(3):
            for user in ("ann", "bob", "eve"):
                attempt = self.throttles[0].attempt(f"192.0.2.{where}", user)
                found.append([(lane.key, lane.failures) for lane in attempt.lanes])
                attempt._throttle.settle(attempt, good=None)
                attempt.refuse() if attempt.turn is None else attempt.abandoned()
        return found


@contextmanager
def views_of_few(patched: pytest.MonkeyPatch) -> Iterator[list[CommonMemory]]:
    """A memory in which the counts are soon added up."""
    patched.setattr(memory_module, "LANES", Shape(8 * WAYS, 24, counts=2))
    with views(4) as memories:
        yield memories


def counts(memory: CommonMemory) -> int:
    return sum(memory.lanes.own(slot) for slot in memory.lanes.counted())


@given(STEPS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_worker_does_what_a_process_without_a_memory_does(steps: list[tuple[Any, ...]]) -> None:
    with views(1) as memories:
        alone, other = Clock(), Clock()
        first = Play(alone, [Throttle(alone, 2)])
        second = Play(other, [CommonThrottle(other, 2, memories[0])])
        for step in steps:
            first.step(step)
            second.step(step)
            assert first.states() == second.states()
        assert first.figures() == second.figures()


@given(STEPS)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_four_workers_look_at_no_more_than_one_and_leave_nothing(steps: list[tuple[Any, ...]]) -> None:
    """Who waits in several processes may have his turn in another order, and so there is no model but that of the sums."""
    with pytest.MonkeyPatch.context() as patched, views_of_few(patched) as memories:
        clock = Clock()
        play = Play(clock, [CommonThrottle(clock, 2, memory) for memory in memories])
        for step in steps:
            play.step(step)
            under_way = [lane for each in play.attempts if each.state is model.State.UNDER_WAY for lane in each.lanes]
            assert sum(counts(memory) for memory in memories) == len(under_way)
        for attempt in play.attempts:
            attempt._throttle.settle(attempt, good=False)
            attempt.abandoned()
        assert clock.getDelayedCalls() == []
        assert not any(throttle._lanes or throttle._queue for throttle in play.throttles)
        assert not any(memory.lanes.counted() for memory in memories)
