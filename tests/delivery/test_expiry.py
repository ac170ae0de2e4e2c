"""When mail is old, and which clocks are believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import capturedLogs

from mailserver.delivery.expiry import DAY, EARLIEST, JUMP_SECONDS, LATEST, EvenClock, Expiry
from mailserver.interfaces import User

NOW = EARLIEST + 500 * DAY


class Clocks:
    """A wall clock and a steady one that go together, until the wall clock is set."""

    def __init__(self, wall: float = NOW) -> None:
        self.wall = wall
        self.steady = 77.0
        self.even = EvenClock(lambda: self.wall, lambda: self.steady)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds


def test_a_clock_that_runs_evenly_is_believed() -> None:
    clocks = Clocks()
    with capturedLogs() as events:
        for _ in range(50):
            assert clocks.even.now() == clocks.wall
            clocks.advance(DAY)
            clocks.wall += JUMP_SECONDS - 1  # as a time server corrects it
    assert events == []


@pytest.mark.parametrize("jump", [12 * 365 * DAY - 500 * DAY, 2 * JUMP_SECONDS, -2 * JUMP_SECONDS])
def test_after_a_jump_it_is_not_believed_for_a_day(jump: float) -> None:
    clocks = Clocks()
    clocks.even.now()
    clocks.wall += jump
    with capturedLogs() as events:
        assert clocks.even.now() is None
        for _ in range(23):
            clocks.advance(3600)
            assert clocks.even.now() is None
        clocks.advance(3600)
        assert clocks.even.now() == clocks.wall
    assert [event["event"] for event in events] == ["retention.clock"]


def test_a_jump_and_its_correction_begin_the_day_anew() -> None:
    clocks = Clocks()
    clocks.even.now()
    clocks.wall += 400 * DAY
    assert clocks.even.now() is None
    clocks.advance(0.9 * DAY)
    clocks.wall -= 400 * DAY
    assert clocks.even.now() is None
    clocks.advance(0.9 * DAY)
    assert clocks.even.now() is None
    clocks.advance(0.2 * DAY)
    assert clocks.even.now() == clocks.wall


@pytest.mark.parametrize("wall", [0.0, EARLIEST - 1, LATEST, 2.0**31, 4e9])
def test_a_time_that_cannot_be_is_never_believed(wall: float) -> None:
    clocks = Clocks(wall)
    with capturedLogs() as events:
        for _ in range(5):
            assert clocks.even.now() is None
    assert [event["event"] for event in events] == ["retention.clock"]
    clocks.wall = NOW
    assert clocks.even.now() is None, "it has jumped"


@pytest.mark.parametrize("limit", [EARLIEST - 1, LATEST])
def test_a_time_that_could_be_is_not_believed_when_it_is_next_to_one_that_cannot(limit: float) -> None:
    clocks = Clocks()
    clocks.even.now()
    clocks.wall = limit
    assert clocks.even.now() is None
    clocks.wall += 1000 if limit < NOW else -1000
    assert clocks.even.now() is None, "a small step back from a jump"


@given(st.lists(st.floats(-20 * 365 * DAY, 20 * 365 * DAY), max_size=9))
def test_a_time_is_believed_only_a_day_after_the_last_jump(jumps: list[float]) -> None:
    clocks = Clocks()
    clocks.even.now()
    jumped = False
    for jump in jumps:
        clocks.wall += jump
        jumped |= abs(jump) > JUMP_SECONDS + 1  # a second: what is lost in adding
        assert clocks.even.now() is None or not jumped
        clocks.advance(600)  # all of them are within two hours


@pytest.mark.parametrize(
    ("site", "own", "days"),
    [(0, None, None), (30, None, 30), (30, 7, 7), (0, 7, 7), (30, 0, None), (0, 0, None), (30, 90, 90)],
)
def test_users_own_days_come_first_and_0_of_their_own_say_nothing_of_age(
    site: int, own: int | None, days: int | None
) -> None:
    clocks = Clocks()
    expiry = Expiry(site, clocks.even)
    user = User("alice", expire_days=own)
    assert expiry.days(user) == days
    assert expiry.limit(user) == (None if days is None else NOW - days * DAY)


def test_nothing_is_old_while_the_clock_is_not_believed() -> None:
    assert Expiry(30, Clocks(2.0**31).even).limit(User("alice")) is None


@pytest.mark.parametrize(
    ("site", "shortest", "own", "told"),
    [
        (0, -1, 7, True),
        (30, -1, 7, True),
        (30, -1, 30, False),
        (30, -1, 90, False),
        (0, 7, 7, False),
        (30, 7, 6, True),
        (30, 0, 0, False),
        (30, -1, None, False),
    ],
)
def test_fewer_days_than_were_announced_are_told_once(site: int, shortest: int, own: int | None, told: bool) -> None:
    expiry = Expiry(site, Clocks().even, shortest)
    with capturedLogs() as events:
        for _ in range(3):
            expiry.check(User("alice", expire_days=own))
    assert [event["event"] for event in events] == ["retention.unannounced"] * told
