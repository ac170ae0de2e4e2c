"""The memory of the last logins."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import cycle
from typing import TypeAlias

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from mailserver.interfaces import Account, IDelays, User
from mailserver.net import delays as module
from mailserver.net.common import memory as memory_module
from mailserver.net.common.delays import CommonDelays
from mailserver.net.common.memory import make
from mailserver.net.common.table import Shape
from mailserver.net.delays import Delays
from tests.net.common.views import view, views

Make: TypeAlias = "Callable[[int], Delays | Turns]"

ALICE, BOB = User("alice"), User("bob")


class Turns:
    """The delays of several processes, which are asked in turn."""

    def __init__(self, each: list[CommonDelays]) -> None:
        self._next = cycle(each)

    def begin(self, user: User) -> int:
        return next(self._next).begin(user)

    def before(self, user: User) -> int:
        return next(self._next).before(user)

    def give_back(self, user: User) -> None:
        next(self._next).give_back(user)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=[0, 1, 3], ids=["alone", "one-worker", "three-workers"])
def delays_of(request: pytest.FixtureRequest, clock: Clock) -> Iterator[Callable[[int], Delays | Turns]]:
    """Makes the memory of one process, or what several have in common."""
    with views(max(1, request.param)) as memories:

        def made(seconds: int) -> Delays | Turns:
            if not request.param:
                return Delays(clock, seconds)
            return Turns([CommonDelays(clock, seconds, memory) for memory in memories])

        yield made


def test_it_provides_its_interface(clock: Clock) -> None:
    verifyObject(IDelays, Delays(clock))


def test_a_second_login_has_to_wait_for_the_rest_of_the_delay(clock: Clock, delays_of: Make) -> None:
    delays = delays_of(60)
    assert delays.begin(ALICE) == 0
    clock.advance(0.5)
    assert (delays.begin(ALICE), delays.begin(BOB)) == (60, 0)
    clock.advance(59)
    assert delays.begin(ALICE) == 1  # whole seconds, and never 0 to wait
    clock.advance(0.5)
    assert delays.begin(ALICE) == 0


def test_who_comes_too_soon_begins_no_new_delay(clock: Clock, delays_of: Make) -> None:
    delays = delays_of(60)
    delays.begin(ALICE)
    clock.advance(59)
    delays.begin(ALICE)
    clock.advance(1)
    assert delays.begin(ALICE) == 0


@pytest.mark.parametrize(
    ("site", "own", "expected"), [(60, 10, 10), (60, 0, 0), (0, 10, 10), (60, None, 60), (0, None, 0)]
)
def test_a_user_s_own_delay_comes_first(delays_of: Make, site: int, own: int | None, expected: int) -> None:
    delays, user = delays_of(site), User("alice", login_delay=own)
    delays.begin(user)
    assert delays.begin(user) == expected


def test_a_delay_that_was_made_shorter_is(delays_of: Make) -> None:
    delays = delays_of(3600)
    delays.begin(ALICE)
    assert delays.begin(User("alice", login_delay=10)) == 0
    assert delays.begin(User("alice", login_delay=10)) == 10


def test_a_login_that_came_to_nothing_is_forgotten(delays_of: Make) -> None:
    delays = delays_of(60)
    delays.begin(ALICE)
    delays.give_back(ALICE)
    delays.give_back(ALICE)
    assert delays.begin(ALICE) == 0


def test_each_user_of_an_account_has_a_delay_of_his_own(delays_of: Make) -> None:
    delays = delays_of(60)
    users = [User("acc", account=Account("example.org", user)) for user in (None, "ann", "bob")]
    assert [delays.begin(user) for user in users] == [0, 0, 0]
    assert [delays.begin(user) for user in users] == [60, 60, 60]


def test_a_flood_of_users_fills_no_memory_and_forgets_the_oldest(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_LOGINS", 10)
    delays = Delays(clock, 60)
    for number in range(100):
        delays.begin(User(f"user{number}"))
    assert len(delays._over) == 10
    assert delays.begin(User("user99")) == 60
    assert delays.begin(User("user0")) == 0


def test_a_flood_of_users_fills_the_memory_of_all_and_forgets_those_who_may_come_soon(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "DELAYS", Shape(16, 8))
    with views() as memories:
        first, second = (CommonDelays(clock, 60, memory) for memory in memories)
        first.begin(ALICE)
        clock.advance(1)
        for number in range(16):
            second.begin(User(f"user{number}"))
        assert memories[0].delays.used == 16
        assert (first.begin(User("user15")), first.begin(ALICE)) == (60, 0)


def test_a_killed_process_leaves_the_delays_that_it_began(clock: Clock) -> None:
    descriptor = make(2, 100)
    try:
        CommonDelays(clock, 60, view(descriptor, 0)).begin(ALICE)
        assert CommonDelays(clock, 60, view(descriptor, 0)).begin(ALICE) == 60
    finally:
        os.close(descriptor)


def test_what_is_left_before_a_login_is_told_and_begins_nothing(
    clock: Clock, delays_of: Callable[[int], Delays | Turns]
) -> None:
    delays = delays_of(10)
    assert [delays.before(ALICE) for _ in range(3)] == [0, 0, 0]
    assert delays.begin(ALICE) == 0
    clock.advance(2.5)
    assert [delays.before(ALICE), delays.before(BOB), delays.begin(ALICE)] == [8, 0, 8]
    assert [delays.before(User("alice", login_delay=each)) for each in (0, 5, 8)] == [0, 0, 8]
    clock.advance(7.5)
    assert [delays.before(ALICE), delays.begin(ALICE)] == [0, 0]
