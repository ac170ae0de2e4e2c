"""Each member is looked at once in a round, whoever comes and goes."""

from __future__ import annotations

from typing import Any
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock

from mailserver.net import listener, rounds
from mailserver.net.listener import PAUSE_SECONDS, SWEEP_SECONDS, Listener
from mailserver.net.places import CHANGES, Places
from mailserver.net.rounds import SLICE, Rounds

ALICE = IPv4Address("TCP", "192.0.2.1", 1)


@given(st.lists(st.tuples(st.sampled_from(["come", "leave", "slice"]), st.integers(0, 11)), max_size=80))
def test_who_is_there_throughout_a_round_is_looked_at_once_in_it(steps: list[tuple[str, int]]) -> None:
    members = Rounds[int]()
    for each in range(6):
        members.add(each)
    members.begin()
    ahead, looked = set(range(6)), list[int]()
    with mock.patch.object(rounds, "SLICE", 3):
        for step, each in [*steps, *[("slice", 0)] * 2]:
            if step == "come" and each not in members:
                members.add(each)
            elif step == "leave":
                members.pop(each, None)
                ahead.discard(each)
            elif step == "slice":
                found = list(members.slice())
                assert len(found) == min(3, len(ahead))
                assert ahead.issuperset(found)
                ahead.difference_update(found)
                looked += found
            assert members.over is (not ahead)
    assert len(looked) == len(set(looked))


def test_the_order_is_that_of_the_last_looks_and_newcomers_are_last() -> None:
    members = Rounds[str]()
    with mock.patch.object(rounds, "SLICE", 2):
        for each in "abcd":
            members.add(each)
        members.begin()
        assert list(members.slice()) == ["a", "b"]
        members.add("e")
        assert list(members.slice()) == ["c", "d"]
        assert members.over
        assert list(members.slice()) == []
        members.begin()
        assert [list(members.slice()) for _ in range(3)] == [["a", "b"], ["e", "c"], ["d"]]


def test_who_leaves_at_another_members_look_is_not_looked_at() -> None:
    members = Rounds[str]()
    for each in "abc":
        members.add(each)
    members.begin()
    looked = []
    for each in members.slice():
        looked.append(each)
        members.pop("b", None)
    assert looked == ["a", "c"]
    assert list(members) == ["a", "c"]
    assert "b" not in members


class Quiet:
    """A connection that only counts what its port does with it."""

    def __init__(self, port: Port, peer: str) -> None:
        self.port, self.peer, self.transport = port, peer, mock.Mock()
        self.looks: list[float] = []
        self.told: list[str] = []

    def check(self, now: float) -> None:
        self.looks.append(now)
        self.port.looked.append(self)

    def drain(self) -> None:
        self.told.append("drain")

    def end(self, cause: str) -> None:
        self.told.append(cause)

    def abort(self) -> None:
        self.leave()

    def leave(self) -> None:
        self.port.ended(self)  # type: ignore[arg-type]  # it is enough of one


class Port(Listener):
    def __init__(self) -> None:
        self.turns = Clock()
        self.tidied: list[float] = []
        places = Places(100_000, 100_000, lambda: self.tidied.append(self.turns.seconds()))
        super().__init__("quiet", lambda refusal: refusal.line, clock=self.turns, places=places)
        self.looked: list[Quiet] = []

    def connection(self, peer: str) -> Any:
        return Quiet(self, peer)

    def come(self, count: int = 1) -> list[Any]:
        return [self.buildProtocol(ALICE) for _ in range(count)]

    def turn(self, seconds: float) -> int:
        """Let the time pass; answers the number of looks."""
        before = len(self.looked)
        self.turns.advance(seconds)
        return len(self.looked) - before


def test_a_turn_of_the_reactor_looks_at_a_slice_and_a_round_at_each_once() -> None:
    port = Port()
    all_of_them = port.come(2 * SLICE + 1)
    assert port.turn(SWEEP_SECONDS) == SLICE
    assert [port.turn(PAUSE_SECONDS) for _ in range(3)] == [SLICE, 1, 0]
    assert port.looked == all_of_them
    assert len(port.turns.getDelayedCalls()) == 1


def test_each_connection_is_looked_at_once_in_each_interval() -> None:
    port = Port()
    all_of_them = port.come(2 * SLICE + 1)
    port.turns.pump([PAUSE_SECONDS / 2] * round(4 * SWEEP_SECONDS / PAUSE_SECONDS * 2))
    for each in all_of_them:
        assert len(each.looks) == 3
        assert {round(after - before, 6) for before, after in zip(each.looks, each.looks[1:], strict=False)} == {
            SWEEP_SECONDS
        }


def test_a_sweep_that_takes_longer_than_its_interval_is_followed_by_the_next_one() -> None:
    with mock.patch.object(listener, "PAUSE_SECONDS", SWEEP_SECONDS):
        port = Port()
        port.come(3 * SLICE)
        assert [port.turn(SWEEP_SECONDS) for _ in range(3)] == [SLICE, SLICE, 2 * SLICE]


def test_who_comes_during_a_sweep_waits_for_the_next_and_who_goes_is_not_looked_at() -> None:
    port = Port()
    first = port.come(2 * SLICE)
    port.turn(SWEEP_SECONDS)
    (newcomer,) = port.come()
    first[-1].leave()
    assert port.turn(PAUSE_SECONDS) == SLICE - 1
    assert newcomer.looks == first[-1].looks == []
    port.turn(SWEEP_SECONDS)
    port.turn(PAUSE_SECONDS)
    assert port.turn(PAUSE_SECONDS) == 0
    assert len(newcomer.looks) == 1


def test_a_drain_during_a_sweep_reaches_all_and_the_looks_go_on() -> None:
    port = Port()
    everyone = port.come(2 * SLICE)
    port.turn(SWEEP_SECONDS)
    drained = port.drain()
    assert {tuple(each.told) for each in everyone} == {("drain",)}
    assert port.turn(PAUSE_SECONDS) == SLICE
    for each in everyone:
        each.leave()
    assert drained.called
    assert port.turns.getDelayedCalls() == []


def test_an_abort_during_a_sweep_ends_all_and_the_timer_rests() -> None:
    port = Port()
    everyone = port.come(2 * SLICE)
    port.turn(SWEEP_SECONDS)
    port.abort()
    assert {tuple(each.told) for each in everyone} == {("server stop",)}
    assert port.turns.getDelayedCalls() == []
    port.come()
    assert port.turn(SWEEP_SECONDS) == 1


def test_a_look_that_ends_the_last_connection_leaves_no_timer() -> None:
    port = Port()
    (lone,) = port.come()
    lone.check = lambda _: lone.leave()
    port.turn(SWEEP_SECONDS)
    assert port.turns.getDelayedCalls() == []


def test_a_look_that_lets_another_in_leaves_one_timer() -> None:
    port = Port()
    (lone,) = port.come()
    lone.check = lambda _: (lone.leave(), port.come())
    port.turn(SWEEP_SECONDS)
    assert len(port.turns.getDelayedCalls()) == 1
    assert port.turn(SWEEP_SECONDS) == 1


def test_memory_is_tidied_at_the_end_of_a_sweep_if_many_came_or_went() -> None:
    port = Port()
    everyone = port.come(2 * SLICE)
    port.turn(SWEEP_SECONDS)
    assert port.tidied == []
    port.turn(PAUSE_SECONDS)
    first = port.turns.seconds()
    assert port.tidied == [first]
    for each in everyone[: CHANGES - 1]:
        each.leave()
    port.turn(SWEEP_SECONDS)
    port.turn(SWEEP_SECONDS)
    assert port.tidied == [first]
    port.come()
    port.turn(SWEEP_SECONDS)
    assert len(port.tidied) == 2


def test_memory_is_tidied_once_after_all_went() -> None:
    port = Port()
    port.doStart()
    for each in port.come(CHANGES):
        each.leave()
    port.turn(SWEEP_SECONDS)
    assert len(port.tidied) == 1
    assert port.turns.getDelayedCalls() == []


def test_two_listeners_tidy_their_common_memory_once() -> None:
    first, second = Port(), Port()
    second.places = first.places
    first.come(CHANGES // 2)
    second.come(CHANGES // 2)
    first.turn(SWEEP_SECONDS)
    second.turn(SWEEP_SECONDS)
    assert len(first.tidied) == 1
