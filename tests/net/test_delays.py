"""The memory of the last logins."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from mailserver.interfaces import Account, IDelays, User
from mailserver.net import delays as module
from mailserver.net.delays import Delays

ALICE, BOB = User("alice"), User("bob")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_provides_its_interface(clock: Clock) -> None:
    verifyObject(IDelays, Delays(clock))


def test_a_second_login_has_to_wait_for_the_rest_of_the_delay(clock: Clock) -> None:
    delays = Delays(clock, 60)
    assert delays.begin(ALICE) == 0
    clock.advance(0.5)
    assert (delays.begin(ALICE), delays.begin(BOB)) == (60, 0)
    clock.advance(59)
    assert delays.begin(ALICE) == 1  # whole seconds, and never 0 to wait
    clock.advance(0.5)
    assert delays.begin(ALICE) == 0


def test_who_comes_too_soon_begins_no_new_delay(clock: Clock) -> None:
    delays = Delays(clock, 60)
    delays.begin(ALICE)
    clock.advance(59)
    delays.begin(ALICE)
    clock.advance(1)
    assert delays.begin(ALICE) == 0


@pytest.mark.parametrize(
    ("site", "own", "expected"), [(60, 10, 10), (60, 0, 0), (0, 10, 10), (60, None, 60), (0, None, 0)]
)
def test_a_user_s_own_delay_comes_first(clock: Clock, site: int, own: int | None, expected: int) -> None:
    delays, user = Delays(clock, site), User("alice", login_delay=own)
    delays.begin(user)
    assert delays.begin(user) == expected


def test_a_delay_that_was_made_shorter_is(clock: Clock) -> None:
    delays = Delays(clock, 3600)
    delays.begin(ALICE)
    assert delays.begin(User("alice", login_delay=10)) == 0
    assert delays.begin(User("alice", login_delay=10)) == 10


def test_a_login_that_came_to_nothing_is_forgotten(clock: Clock) -> None:
    delays = Delays(clock, 60)
    delays.begin(ALICE)
    delays.give_back(ALICE)
    delays.give_back(ALICE)
    assert delays.begin(ALICE) == 0


def test_each_user_of_an_account_has_a_delay_of_his_own(clock: Clock) -> None:
    delays = Delays(clock, 60)
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
