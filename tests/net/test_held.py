"""What operators see of those who are held back, and what they forgive, in one process and in several."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest
from twisted.internet.task import Clock

from mailserver.interfaces import Account, User
from mailserver.net.attempts import Key
from mailserver.net.common import throttle as common_module
from mailserver.net.common.delays import CommonDelays
from mailserver.net.common.places import CommonPlaces
from mailserver.net.common.throttle import CommonThrottle
from mailserver.net.delays import Delays, drop_of
from mailserver.net.held import Whom, address_of, fields
from mailserver.net.places import Places
from mailserver.net.throttle import REMEMBERED_SECONDS, Throttle, network
from tests.net.common.views import views

ALICE: Key = ("user", "alice")
THERE: Key = ("address", "192.0.2.1")
FIRST_SECONDS = 2.0


class House:
    """The processes that share a memory, or one that has its own."""

    def __init__(self, throttles: list[Throttle], delays: list[Delays], places: list[Places], clock: Clock) -> None:
        self.throttles = throttles
        self.delays = delays
        self.places = places
        self.clock = clock
        self._next = cycle(throttles)

    def fail(self, address: str, user: str) -> None:
        """A wrong secret, when its turn has come."""
        attempt = next(self._next).attempt(address, user)
        attempt.granted.addCallback(lambda _: attempt.failed())
        self.clock.pump([0.25] * 200)


@pytest.fixture(params=[0, 3], ids=["alone", "workers"])
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    clock = Clock()
    if not request.param:
        yield House([Throttle(clock, FIRST_SECONDS)], [Delays(clock, 60)], [Places(100, 2)], clock)
        return
    with views(request.param) as memories:
        yield House(
            [CommonThrottle(clock, FIRST_SECONDS, memory) for memory in memories],
            [CommonDelays(clock, 60, memory) for memory in memories],
            [CommonPlaces(100, 2, memory) for memory in memories],
            clock,
        )


def test_each_process_tells_the_failures_of_all(house: House) -> None:
    for _ in range(3):
        house.fail("192.0.2.1", "alice")
    house.fail("192.0.2.2", "bob")
    for throttle in house.throttles:
        assert (throttle.held(ALICE).failures, throttle.held(THERE).failures) == (3, 3)
        assert throttle.held(("user", "carol")) == (0, 0.0, 0.0, 0)
        assert throttle.lanes == 4
    named = {key for throttle in house.throttles for key in throttle.names}
    assert named == {ALICE, THERE, ("user", "bob"), ("address", "192.0.2.2")}


def test_how_long_one_is_held_back_and_who_waits_is_told(house: House) -> None:
    house.throttles[0].attempt("192.0.2.1", "alice").failed()
    house.clock.advance(0.5)
    assert house.throttles[-1].held(ALICE) == (1, 0.5, FIRST_SECONDS - 0.5, 0)
    waiting = [throttle.attempt("192.0.2.2", "alice") for throttle in house.throttles]
    assert house.throttles[0].held(ALICE).waiting == len(waiting)
    for each in waiting:
        each.abandoned()


def test_old_failures_are_none(house: House) -> None:
    house.throttles[0].attempt("192.0.2.1", "alice").failed()
    assert house.throttles[0].held(ALICE).matters
    house.clock.advance(REMEMBERED_SECONDS)
    assert house.throttles[0].held(ALICE) == (0, 0.0, 0.0, 0)
    assert house.throttles[0].lanes == 0


def test_those_who_wait_in_any_process_have_their_turn_once_it_is_forgiven_in_each(house: House) -> None:
    for _ in range(4):
        house.fail("192.0.2.1", "alice")
    house.clock.advance(100)
    house.throttles[0].attempt("192.0.2.1", "alice").failed()  # the next is held back for 16 s
    granted: list[int] = []
    for number, throttle in enumerate(house.throttles):
        attempt = throttle.attempt("203.0.113.7", "alice")
        assert attempt.turn is not None
        attempt.turn.addCallback(
            lambda _, number=number, attempt=attempt: (granted.append(number), attempt.succeeded())
        )
    for throttle in house.throttles:
        throttle.forgive(ALICE)
    house.clock.pump([0.01] * 30)
    assert sorted(granted) == list(range(len(house.throttles)))
    assert all(throttle.held(ALICE).failures == 0 for throttle in house.throttles)
    assert house.throttles[0].held(THERE).failures == 5


def test_what_is_forgiven_leaves_nothing_in_memory(house: House) -> None:
    house.fail("192.0.2.1", "alice")
    for throttle in house.throttles:
        throttle.forgive(ALICE)
        throttle.forgive(THERE)
        throttle.forgive(("user", "carol"))
    assert [throttle.lanes for throttle in house.throttles] == [0] * len(house.throttles)
    assert not any(throttle._lanes for throttle in house.throttles)


def test_an_attempt_under_way_still_fails_after_its_lane_was_forgiven(house: House) -> None:
    attempt = house.throttles[0].attempt("192.0.2.1", "alice")
    for throttle in house.throttles:
        throttle.forgive(ALICE)
    attempt.failed()
    assert house.throttles[-1].held(ALICE).failures == 1


def test_the_names_that_a_process_remembers_are_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common_module, "REMEMBERED_LANES", 10)
    with views(2) as memories:
        throttle = CommonThrottle(Clock(), 0, memories[0])
        for number in range(50):
            throttle.attempt("192.0.2.1", f"user{number}").failed()
        assert len(throttle.names) == 10
        assert ("user", "user49") in throttle.names
        assert THERE in throttle.names


def test_failures_whose_names_went_with_a_killed_process_are_found_by_them() -> None:
    with views(2) as memories:
        CommonThrottle(Clock(), FIRST_SECONDS, memories[0]).attempt("192.0.2.1", "alice").failed()
        other = CommonThrottle(Clock(), FIRST_SECONDS, memories[1])
        assert other.names == []
        assert other.lanes == 2
        assert other.held(ALICE).failures == 1


def test_each_process_tells_the_delays_of_all_and_ends_them(house: House) -> None:
    alice, account = User("alice"), User("x", account=Account("bob", "x"))
    assert house.delays[0].begin(alice) == 0
    house.clock.advance(10)
    assert house.delays[-1].left("alice") == 50
    assert house.delays[0].names == ["alice"]
    house.delays[-1].forget("alice")
    assert house.delays[0].left("alice") == 0
    assert house.delays[-1].begin(alice) == 0
    assert drop_of(account).endswith("\nx")


def test_each_process_tells_the_connections_of_all(house: House) -> None:
    taken = [places.take("192.0.2.1") for places in (house.places * 2)[:2]]
    assert taken == ["", ""]
    for places in house.places:
        assert (places.connections_of("192.0.2.1"), places.connections_of("192.0.2.2")) == (2, 0)
        assert (places.per_address, places.most, places.all_taken) == (2, 100, 2)


@pytest.mark.parametrize(
    ("name", "address", "is_meant"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.0/24", "192.0.2.77", True),
        ("192.0.2.9/24", "192.0.2.77", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("2001:db8::1", "2001:db8::2", True),
        ("2001:db8::1", "2001:db8:0:1::2", False),
        ("2001:db8::/32", "2001:db8:5::1", True),
        ("2001:db8::/120", "2001:db8::ffff:1", True),
        ("192.0.2.1", "", False),
        ("alice", "192.0.2.1", False),
        ("", "192.0.2.1", True),
    ],
)
def test_an_address_means_what_the_throttle_counts_as_one(name: str, address: str, is_meant: bool) -> None:
    key = ("address", network(address))
    assert Whom(name).means(key) is is_meant
    assert (key in Whom(name).lanes) == (is_meant and "/" not in name.replace("/120", "") and name != "")


def test_a_user_means_all_that_holds_him_back() -> None:
    assert all(Whom("alice").means(key) for key in (ALICE, ("regular", "192.0.2.1", "alice", "corp")))
    assert not any(Whom("bob").means(key) for key in (ALICE, ("regular", "bob", "alice", "corp"), THERE))
    assert Whom("192.0.2.0/24").means(("regular", "192.0.2.1", "alice", "corp"))
    assert Whom("corp").means(("regular", "192.0.2.1", "alice", "corp"))
    assert list(Whom("192.0.2.1").lanes) == [("user", "192.0.2.1"), THERE]
    assert list(Whom("192.0.2.0/24").lanes) == [("user", "192.0.2.0/24")]
    assert [Whom(name).is_user("bob\nx") for name in ("", "x", "bob", "b")] == [True, True, True, False]


def test_addresses_are_told_as_they_are_written() -> None:
    assert address_of(network("2001:db8::1")) == "2001:db8::/64"
    assert [address_of(each) for each in ("192.0.2.1", "", "255.255.255.1000")] == ["192.0.2.1", "", "255.255.255.1000"]
    assert fields(("regular", network("2001:db8::1"), "alice", "corp")) == {
        "kind": "regular",
        "address": "2001:db8::/64",
        "user": "alice",
    }
    assert fields(THERE) == {"kind": "address", "address": "192.0.2.1", "user": ""}
