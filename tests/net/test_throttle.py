from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle
from math import floor
from typing import Any, ClassVar

import pytest
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from mailserver.errors import HeldTooLong
from mailserver.net import throttle as module
from mailserver.net.attempts import AT_ONCE, Attempt
from mailserver.net.common.memory import CommonMemory
from mailserver.net.common.throttle import LOOK_AGAIN_SECONDS, CommonThrottle
from mailserver.net.regulars import KNOWN_NETWORKS
from mailserver.net.throttle import (
    LONGEST_SECONDS,
    LOOKED_AT,
    PATIENCE_SECONDS,
    REMEMBERED_SECONDS,
    Throttle,
    network,
)
from tests.net.common.views import views


class Door:
    """A throttle, and what becomes of the attempts at it."""

    memories: ClassVar[Sequence[CommonMemory]] = ()
    """What the processes have in common whose doors are knocked at in turn; none: it is one process."""

    def __init__(self, first_seconds: float = 2) -> None:
        self.clock = Clock()
        throttles = [CommonThrottle(self.clock, first_seconds, memory) for memory in self.memories]
        self.throttle = throttles[0] if throttles else Throttle(self.clock, first_seconds)
        self.processes = cycle(throttles or [self.throttle])
        self.verified = 0

    def knock(self, address: str, user: str, secret: str = "") -> Attempt:
        return next(self.processes).attempt(address, user, secret)

    def look_again(self) -> None:
        """Wait until each process has seen what another has settled."""
        self.clock.advance(LOOK_AGAIN_SECONDS if len(self.memories) > 1 else 0)

    @property
    def remembered(self) -> int:
        """The number of lanes that anything is known of."""
        return self.memories[0].lanes.used if self.memories else len(self.throttle._lanes)

    def try_(self, address: str, user: str, secret: str = "", *, right: bool = False) -> list[str]:
        """An attempt that is verified at once when its turn has come; what is said of it follows in the list."""
        said: list[str] = []
        attempt = self.knock(address, user, secret)

        def granted(_: object) -> None:
            self.verified += 1
            said.append("right" if right else "wrong")
            (attempt.succeeded if right else attempt.failed)()

        attempt.granted.addCallbacks(granted, lambda failure: said.append(kind(failure)))
        return said

    def wait_of(self, address: str, user: str, *, right: bool = False) -> float:
        """Whole seconds until such an attempt is verified; several processes leave one another a moment."""
        said, begun = self.try_(address, user, right=right), self.clock.seconds()
        while not said:
            self.clock.advance(0.125)
        assert said != ["held"]
        waited = self.clock.seconds() - begun
        return floor(waited) if len(self.memories) > 1 else waited


def kind(failure: Failure) -> str:
    assert failure.check(HeldTooLong)
    return "held"


@pytest.fixture(autouse=True, params=[0, 1, 4], ids=["alone", "one-worker", "four-workers"])
def workers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """How many processes share a memory; 0: none is shared."""
    with views(max(1, request.param)) as memories:
        monkeypatch.setattr(Door, "memories", memories[: request.param])
        yield request.param


ALONE = pytest.mark.parametrize("workers", [0], indirect=True)
"""What is about the memory of one process; tests/net/common has the other's."""
IN_ONE_QUEUE = pytest.mark.parametrize("workers", [0, 1], indirect=True)
"""What is about the order of those who wait, which each process has for its own."""


def test_each_failure_of_an_address_holds_back_the_next_for_longer_up_to_a_limit() -> None:
    door = Door()
    assert [door.wait_of("192.0.2.1", f"user{n}") for n in range(8)] == [0, 2, 4, 8, *[LONGEST_SECONDS] * 4]


def test_each_failure_at_a_user_holds_back_the_next_wherever_it_comes_from() -> None:
    door = Door()
    assert [door.wait_of(f"192.0.2.{n}", "alice") for n in range(6)] == [0, 2, 4, 8, 16, 16]
    assert door.wait_of("198.51.100.1", "bob") == 0


def test_who_waits_for_the_address_waits_no_longer_than_for_the_user_whom_another_tries_meanwhile() -> None:
    door = Door()
    door.try_("192.0.2.1", "bob")
    waiting = door.knock("192.0.2.1", "alice")
    door.clock.advance(1)
    assert door.knock("192.0.2.2", "alice").turn is None  # and nothing more is heard of it
    door.clock.advance(1)
    assert not waiting.granted.called
    door.clock.advance(1)
    door.look_again()
    assert waiting.granted.called


def test_a_right_secret_is_held_back_as_a_wrong_one_is() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice")
    assert door.wait_of("192.0.2.1", "alice", right=True) == 2


def test_who_does_not_wait_has_tried_nothing_and_shortened_nothing() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice")
    for _ in range(19):
        attempt = door.knock("192.0.2.1", "alice")
        door.clock.advance(0.1)
        attempt.abandoned()
        assert not attempt.granted.called
    assert door.try_("192.0.2.1", "alice") == []
    door.clock.advance(0.2)
    assert door.verified == 2


def test_many_at_once_gain_nothing() -> None:
    door = Door()
    for n in range(50):
        door.try_("192.0.2.1", f"user{n}")
        door.try_(f"198.51.100.{n}", "alice")
    assert door.verified == 2
    door.clock.advance(2)
    assert door.verified == 4


def test_an_attempt_that_is_not_decided_counts_as_a_failure_until_it_is() -> None:
    door = Door()
    undecided = door.knock("192.0.2.1", "alice")
    door.clock.advance(1)
    said = door.try_("192.0.2.2", "alice", right=True)
    assert said == []
    undecided.succeeded()
    door.look_again()
    assert said == ["right"]


def test_an_attempt_that_is_never_decided_does_not_close_the_lane_for_good() -> None:
    door = Door()
    door.knock("192.0.2.1", "alice")
    assert door.wait_of("192.0.2.2", "alice", right=True) == 2


def test_the_users_of_an_office_come_together() -> None:
    door = Door()
    attempts = [door.knock("192.0.2.1", f"user{n}") for n in range(AT_ONCE + 1)]
    assert [bool(attempt.granted.called) for attempt in attempts] == [True] * AT_ONCE + [False]
    attempts[0].succeeded()
    attempts[1].succeeded()
    attempts[2].succeeded()
    attempts[3].succeeded()
    door.look_again()
    assert attempts[-1].granted.called


def test_hundreds_of_right_secrets_that_wait_all_come_in_when_the_hold_is_over() -> None:
    door = Door()
    door.try_("192.0.2.1", "somebody")
    said = [door.try_("192.0.2.1", f"user{n}", right=True) for n in range(300)]
    door.clock.advance(2)
    assert said == [["right"]] * 300


def test_who_has_no_turn_for_too_long_is_refused_unverified() -> None:
    door = Door()
    for _ in range(4):
        door.wait_of("192.0.2.1", "alice")
    said = [door.try_(f"198.51.100.{n}", "alice", right=n > 1) for n in range(3)]
    verified = door.verified
    door.clock.advance(LONGEST_SECONDS)
    assert said == [["wrong"], [], []]
    door.clock.advance(PATIENCE_SECONDS - LONGEST_SECONDS)
    assert said == [["wrong"], ["held"], ["held"]]
    assert door.verified == verified + 1
    assert not door.clock.getDelayedCalls()


@IN_ONE_QUEUE
def test_each_is_refused_when_his_own_time_is_over() -> None:
    door = Door()
    for _ in range(6):
        door.wait_of("192.0.2.1", "alice")
    first = door.try_("192.0.2.1", "alice")
    door.clock.advance(5)
    others = [door.try_(f"198.51.100.{n}", "alice") for n in range(2)]
    third = door.try_("192.0.2.1", "alice")
    door.clock.advance(14.9)
    assert (first, others, third) == ([], [["wrong"], []], [])
    door.clock.advance(0.1)
    assert (first, others, third) == (["held"], [["wrong"], []], [])
    door.clock.advance(5)
    assert (others, third) == ([["wrong"], ["held"]], ["held"])


def test_who_waits_for_the_user_and_for_the_address_has_his_turn_when_both_are_free() -> None:
    door = Door()
    for n in range(3):
        door.wait_of("192.0.2.1", f"user{n}")
    door.try_("192.0.2.2", "alice")
    said = door.try_("192.0.2.1", "alice")
    door.clock.pump([2, 5.9])
    assert said == []
    door.clock.advance(0.1)
    door.look_again()
    assert said == ["wrong"]


def test_who_is_refused_may_ask_again_at_once() -> None:
    door = Door()
    for _ in range(6):
        door.wait_of("192.0.2.1", "alice")
    door.knock("203.0.113.1", "alice")  # who takes his turn and never shows whether he is good
    again: list[list[str]] = []
    door.knock("198.51.100.1", "alice").granted.addErrback(lambda _: again.append(door.try_("198.51.100.1", "alice")))
    door.clock.advance(5)
    other = door.try_("198.51.100.2", "alice")
    door.clock.pump([1] * 26)
    assert (again, other) == ([[]], ["held"])
    door.clock.advance(1)
    assert again == [["wrong"]]
    assert not door.clock.getDelayedCalls()


@IN_ONE_QUEUE
def test_the_next_turn_is_his_who_comes_from_where_fewest_failed_and_fewest_wait() -> None:
    door = Door()
    for _ in range(2):
        door.wait_of("192.0.2.1", "alice")
    door.wait_of("192.0.2.2", "alice")
    served: list[str] = []

    def serve(attempt: Attempt) -> None:
        served.append(attempt.visitor.where)
        attempt.withdrawn()

    for address in ("192.0.2.1", "198.51.100.1", "198.51.100.1", "203.0.113.1", "203.0.113.2"):
        attempt = door.knock(address, "alice")
        attempt.granted.addCallback(lambda _, attempt=attempt: serve(attempt))
    door.clock.advance(8)
    assert served == ["203.0.113.1", "203.0.113.2", "198.51.100.1", "198.51.100.1", "192.0.2.1"]


@IN_ONE_QUEUE
def test_who_gives_way_to_a_newcomer_keeps_nobody_else_waiting() -> None:
    door = Door()
    for n in range(3):
        door.wait_of(f"192.0.2.{n}", "bob")
    door.clock.advance(8)
    door.try_("198.51.100.1", "alice")
    said = [door.try_(address, user) for address, user in (("198.51.100.1", "alice"), ("198.51.100.1", "bob"))]
    newcomer = door.try_("203.0.113.1", "alice")
    door.clock.advance(2)
    assert (said, newcomer) == ([[], ["wrong"]], ["wrong"])


def test_the_owner_comes_in_from_his_network_whoever_guesses() -> None:
    door = Door()
    door.try_("2001:db8::1", "alice", right=True)
    for n in range(50):
        door.try_(f"192.0.2.{n}", "alice")
        door.try_("2001:db8::2", f"user{n}")
    assert door.wait_of("2001:db8::ffff:1", "alice", right=True) == 0
    assert door.try_("2001:db8:0:1::1", "alice", right=True) == []


def test_his_own_failures_hold_him_back_and_nobody_else() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice", right=True)
    assert [door.wait_of("192.0.2.1", "alice") for _ in range(3)] == [0, 2, 4]
    assert door.wait_of("192.0.2.1", "bob") == 0
    assert door.wait_of("192.0.2.2", "alice") == 0


def test_a_login_forgives_the_failures_at_the_user_and_not_those_of_the_address() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice")
    assert door.wait_of("192.0.2.1", "alice", right=True) == 2
    assert [door.wait_of(f"192.0.2.{n}", "alice") for n in (2, 3)] == [0, 2]
    assert [door.wait_of("192.0.2.1", user) for user in ("bob", "carol")] == [0, 4]


def test_a_login_forgives_the_failures_at_the_user_s_own_network() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice", right=True)
    door.try_("192.0.2.1", "alice")
    assert door.wait_of("192.0.2.1", "alice", right=True) == 2
    assert [door.wait_of("192.0.2.1", "alice") for _ in range(2)] == [0, 2]


def test_the_owner_s_polls_do_not_forgive_the_failures_of_strangers() -> None:
    door = Door()
    door.try_("203.0.113.1", "alice", right=True)
    for wait in (0, 2, 4, 8, 16):
        assert door.wait_of("192.0.2.1", "alice") == wait
        assert door.wait_of("203.0.113.1", "alice", right=True) == 0


def test_a_user_of_an_account_does_not_forgive_the_failures_at_the_account_s_secret() -> None:
    door = Door()
    assert door.try_("192.0.2.1", "mallory@acc", "acc", right=True) == ["right"]
    assert door.try_("192.0.2.2", "acc", "acc") == ["wrong"]
    assert door.try_("192.0.2.3", "bob@acc", "acc", right=True) == []
    door.clock.advance(2)
    assert door.verified == 3
    assert door.try_("192.0.2.4", "acc", "acc") == ["wrong"]  # bob has given back his turn
    assert door.try_("192.0.2.5", "acc", "acc") == []
    door.clock.advance(3.9)
    assert door.try_("192.0.2.1", "mallory@acc", "acc", right=True) == ["right"]  # where he is known
    assert door.verified == 5
    door.clock.advance(0.1)
    assert door.verified == 6


def test_the_account_s_own_name_forgives_them() -> None:
    door = Door()
    door.try_("192.0.2.2", "bob@acc", "acc")
    door.try_("192.0.2.3", "acc", "acc", right=True)
    door.clock.advance(2)
    assert door.try_("192.0.2.4", "bob@acc", "acc") == ["wrong"]
    door.clock.advance(2)
    assert door.try_("192.0.2.5", "acc", "acc") == ["wrong"]


def test_who_is_known_as_one_user_is_a_stranger_to_others() -> None:
    door = Door()
    door.try_("192.0.2.1", "mallory", right=True)
    assert [door.wait_of("192.0.2.1", "alice") for _ in range(3)] == [0, 2, 4]


def test_a_network_of_one_user_of_an_account_is_not_another_s() -> None:
    door = Door()
    door.wait_of("203.0.113.7", "ann", right=True)
    door.knock("203.0.113.7", "ann@acc", "acc").succeeded()
    door.knock("192.0.2.1", "eve@acc", "acc").failed()
    assert not door.knock("203.0.113.7", "bob@acc", "acc").granted.called
    assert door.knock("203.0.113.7", "ann@acc", "acc").granted.called


def test_to_leave_in_the_middle_of_a_check_is_a_failure() -> None:
    door = Door()
    door.knock("192.0.2.1", "alice").abandoned()
    assert door.wait_of("192.0.2.1", "alice") == 2
    assert door.wait_of("192.0.2.1", "alice") == 4


def test_the_server_s_own_trouble_is_nobody_s_failure() -> None:
    door = Door()
    door.knock("192.0.2.1", "alice").withdrawn()
    assert door.wait_of("192.0.2.1", "alice") == 0


def test_who_asks_again_as_soon_as_he_was_served_is_not_forgotten() -> None:
    door = Door()
    door.try_("192.0.2.1", "bob")
    first = door.knock("192.0.2.1", "alice")

    def again(_: object) -> None:
        first.withdrawn()
        door.knock("192.0.2.2", "alice")

    first.granted.addCallback(again)
    door.clock.advance(2)
    assert not door.knock("192.0.2.3", "alice").granted.called


def test_the_first_outcome_counts() -> None:
    door = Door()
    attempt = door.knock("192.0.2.1", "alice")
    attempt.failed()
    attempt.succeeded()
    attempt.abandoned()
    attempt.refuse()
    assert door.wait_of("192.0.2.1", "alice") == 2


def test_who_stops_waiting_by_our_will_is_refused() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice")
    attempt = door.knock("192.0.2.1", "alice")
    said: list[str] = []
    attempt.granted.addErrback(lambda failure: said.append(kind(failure)))
    attempt.refuse()
    assert said == ["held"]
    assert not door.clock.getDelayedCalls()


def test_without_a_name_there_is_only_the_address() -> None:
    door = Door()
    assert [door.wait_of("192.0.2.1", "") for _ in range(2)] == [0, 2]
    assert door.wait_of("192.0.2.1", "", right=True) == 4
    assert door.wait_of("192.0.2.2", "") == 0


def test_a_name_that_reads_like_an_address_is_none() -> None:
    door = Door()
    door.try_("198.51.100.1", "192.0.2.1")
    assert door.wait_of("192.0.2.1", "alice") == 0


def test_an_old_failure_does_not_count() -> None:
    door = Door()
    for _ in range(4):
        door.wait_of("192.0.2.1", "alice")
    door.clock.advance(REMEMBERED_SECONDS)
    assert [door.wait_of("192.0.2.1", "alice") for _ in range(2)] == [0, 2]


def test_a_network_of_ipv6_counts_as_one_address() -> None:
    door = Door()
    assert door.wait_of("2001:db8::1", "a") == 0
    assert door.wait_of("2001:db8::ffff:1", "b") == 2
    assert door.wait_of("2001:db8:0:1::1", "c") == 0
    assert network("fe80::1%eth0") == network("fe80::2")


def test_no_delay_is_none() -> None:
    door = Door(0)
    for _ in range(50):
        door.try_("", "a")
    assert door.verified == 50


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_LANES", 100)


@ALONE
@pytest.mark.usefixtures("small")
def test_a_flood_of_names_and_addresses_fills_no_memory_and_hides_no_guessing() -> None:
    door = Door()
    for n in range(4):
        door.wait_of(f"192.0.2.{n}", "alice")
    for n in range(1000):
        door.try_(f"2001:db8:0:{n:x}::1", f"user{n}")
    assert len(door.throttle._lanes) == 100
    assert door.wait_of("198.51.100.1", "alice") == LONGEST_SECONDS


@ALONE
def test_who_failed_longest_ago_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_LANES", 2)
    monkeypatch.setattr(module, "LOOKED_AT", 1)
    door = Door()
    door.try_("192.0.2.1", "")
    door.try_("192.0.2.2", "")
    assert door.wait_of("192.0.2.1", "") == 2
    door.try_("192.0.2.3", "")
    assert door.wait_of("192.0.2.1", "") == 4


@ALONE
@pytest.mark.usefixtures("small")
def test_nobody_is_forgotten_while_he_is_asking() -> None:
    door = Door()
    attempts = [door.knock(f"192.0.2.{n}", f"user{n}") for n in range(200)]
    assert len(door.throttle._lanes) == 400
    for attempt in attempts:
        attempt.abandoned()
    for n in range(400):
        door.try_(f"198.51.100.{n}", f"other{n}")
    assert len(door.throttle._lanes) == 100


@ALONE
@pytest.mark.usefixtures("small")
def test_who_stays_where_it_would_be_looked_first_lets_the_others_be_forgotten() -> None:
    door = Door()
    attempts = [door.knock(f"192.0.2.{n}", f"user{n}") for n in range(LOOKED_AT)]
    for n in range(1000):
        door.try_(f"2001:db8:0:{n:x}::1", f"other{n}")
    assert len(door.throttle._lanes) <= 100 + LOOKED_AT
    for attempt in attempts:
        attempt.abandoned()


def test_good_logins_leave_nothing_but_who_comes_from_where() -> None:
    door = Door()
    for n in range(1000):
        door.try_(f"192.0.2.{n}", f"user{n}", right=True)
    assert not door.remembered
    assert not door.throttle._lanes
    assert not door.clock.getDelayedCalls()


def test_the_networks_of_a_user_are_so_many_and_the_last_ones() -> None:
    door = Door()
    door.try_("203.0.113.1", "alice", right=True)
    for n in range(KNOWN_NETWORKS * 2):
        door.try_(f"192.0.2.{n}", "alice", right=True)
        door.try_("203.0.113.1", "alice", right=True)
    door.try_("198.51.100.1", "alice")
    assert door.try_("192.0.2.0", "alice", right=True) == []
    assert door.try_("203.0.113.1", "alice", right=True) == ["right"]
    known: Any = door.throttle._regulars._known
    assert door.memories or [len(each) for each in known.values()] == [KNOWN_NETWORKS]


def test_a_network_that_is_used_again_is_not_the_oldest() -> None:
    door = Door()
    networks = [f"203.0.113.{n}" for n in range(KNOWN_NETWORKS)]
    for network_ in [*networks, networks[0], "192.0.2.1"]:
        door.try_(network_, "alice", right=True)
    door.try_("198.51.100.1", "alice")
    assert door.try_(networks[0], "alice", right=True) == ["right"]
    assert door.try_(networks[1], "alice", right=True) == []


@ALONE
def test_the_users_that_are_known_are_so_many_and_strangers_push_out_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mailserver.net.regulars.KNOWN_USERS", 10)
    door = Door()
    door.try_("203.0.113.1", "alice", right=True)
    for n in range(100):
        door.try_(f"192.0.2.{n}", f"user{n}")
    door.try_("198.51.100.1", "alice")
    assert door.try_("203.0.113.1", "alice", right=True) == ["right"]
    for n in range(20):
        door.try_("203.0.113.2", f"customer{n}", right=True)
    assert len(door.throttle._regulars._known) == 10


def test_what_a_hold_tells_is_what_an_attempt_waits_and_it_counts_nothing() -> None:
    door = Door()
    for failures, seconds in enumerate([0, 2, 4, 8, LONGEST_SECONDS, LONGEST_SECONDS]):
        for _ in range(3):
            hold = next(door.processes).hold("192.0.2.1", "alice")
            assert (hold.failures, hold.seconds, hold.waiting, hold.too_long) == (failures, seconds, 0, False)
        assert door.wait_of("192.0.2.1", "alice") == seconds


def test_a_look_at_a_hold_leaves_nothing_behind() -> None:
    door = Door()
    assert next(door.processes).hold("192.0.2.1", "alice").seconds == 0
    assert door.remembered == 0
    assert not door.clock.getDelayedCalls()


def test_a_hold_tells_that_strangers_do_not_hold_back_a_regular() -> None:
    door = Door()
    door.try_("192.0.2.1", "alice", right=True)
    door.try_("198.51.100.1", "alice")
    assert [door.throttle.hold(each, "alice").regular for each in ("192.0.2.1", "198.51.100.1")] == [True, False]
    assert door.throttle.hold("192.0.2.1", "alice").seconds == 0
    assert door.throttle.hold("198.51.100.1", "alice").seconds == 2


@IN_ONE_QUEUE
@pytest.mark.parametrize("failures", range(5))
@pytest.mark.parametrize("waiting", range(5))
def test_a_hold_foretells_whether_the_turn_comes_if_all_others_fail(failures: int, waiting: int) -> None:
    door = Door()
    for _ in range(failures):
        door.wait_of("192.0.2.1", "alice")
    if failures:
        for _ in range(waiting):
            door.try_("192.0.2.1", "alice")
    hold = door.throttle.hold("192.0.2.1", "alice")
    said, begun = door.try_("192.0.2.1", "alice", right=True), door.clock.seconds()
    while not said:
        door.clock.advance(0.125)
    assert said == ["held" if hold.too_long else "right"]
    if not hold.too_long:
        assert door.clock.seconds() - begun == pytest.approx(hold.seconds + hold.further, abs=0.3)
