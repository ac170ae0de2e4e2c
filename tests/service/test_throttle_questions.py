"""What operators are told of the throttle, and how they are heard when they forgive."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mailserver.config.settings import Config, Retention
from mailserver.control.port import Asking, Impossible
from mailserver.interfaces import User
from mailserver.limits import Limits
from mailserver.service.memories import Memories
from mailserver.service.questions import questions
from mailserver.service.questions import throttle as module
from mailserver.service.questions.facts import Facts


class Process:
    """One process: what it remembers, and what it answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        limits = Limits(connections=3, connections_per_address=2, failure_delay_seconds=2)
        settings = Config(limits=limits, retention=Retention(login_delay_seconds=60))
        self.memories = Memories.made(settings, self.clock)
        port = SimpleNamespace(listener="pop3", places=self.memories.places)
        ports: Any = SimpleNamespace(made=[port, port, SimpleNamespace(listener="pop3s", places=port.places)])
        self.questions = questions(Facts(ports, self.memories, self.clock, 1))

    def asked(self, question: str, name: str = "") -> list[dict[str, Any]]:
        """The rows, once they have all been said."""
        said: list[Any] = []
        answer: Any = self.questions[question].answer(Asking({"name": name}, said.append))
        ended: list[Any] = []
        Deferred.fromCoroutine(answer).addBoth(ended.append)
        self.clock.advance(0)  # with all turns that are given in between
        (end,) = ended
        if end is not None:
            raise end.value
        return [each["row"] for each in said]


@pytest.fixture
def process() -> Process:
    return Process()


def test_failures_are_told_by_user_and_by_address_the_longest_held_first(process: Process) -> None:
    throttle = process.memories.throttle
    throttle.attempt("192.0.2.1", "alice").failed()
    process.clock.advance(2)
    throttle.attempt("192.0.2.1", "bob").failed()
    told = process.asked("throttle list")
    assert told == [
        {**named, "worker": 1, "failures": failures, "ago": ago, "held": held, "waiting": 0}
        for named, failures, ago, held in (
            ({"kind": "address", "address": "192.0.2.1", "user": ""}, 2, 0, 4.0),
            ({"kind": "user", "address": "", "user": "bob"}, 1, 0, 2.0),
            ({"kind": "user", "address": "", "user": "alice"}, 1, 2.0, 0),
        )
    ] + [{"worker": 1, "kind": "all", "lanes": 3}]
    assert [row["user"] for row in process.asked("throttle list", "bob")] == ["bob"]


def test_delays_and_full_addresses_are_told(process: Process) -> None:
    process.memories.delays.begin(User("alice"))
    for _ in range(2):
        process.memories.places.take("2001:db8::1")
    process.memories.places.take("192.0.2.1")
    *rows, _all = process.asked("throttle list")
    assert rows[0] == {"worker": 1, "kind": "login_delay", "address": "", "user": "alice", "held": 60}
    assert [(row["address"], row["connections"]) for row in rows[1:]] == [("2001:db8::/64", 2), ("", 3)]
    assert rows[1]["listeners"] == ["pop3", "pop3s"]
    assert [row["address"] for row in process.asked("throttle list", "2001:db8::5")] == ["2001:db8::/64"]


def test_a_flood_is_told_by_those_who_are_held_longest(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 10)
    for number in range(1200):
        process.memories.throttle.attempt(f"192.0.{number // 256}.{number % 256}", "").failed()
    for number in range(20):
        process.clock.advance(1)
        process.memories.throttle.attempt(f"203.0.113.{number}", "").failed()
    rows = process.asked("throttle list")
    assert [row["address"] for row in rows[:2]] == ["203.0.113.19", "203.0.113.18"]
    assert (len(rows), rows[-1]["lanes"]) == (11, 1220)


def test_other_sessions_have_their_turn_within_a_flood(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1200):
        process.memories.throttle.attempt(f"192.0.{number // 256}.{number % 256}", "").failed()
    turns: list[float] = []
    later = process.clock.callLater
    monkeypatch.setattr(process.clock, "callLater", lambda *given: (turns.append(given[0]), later(*given))[1])
    process.asked("throttle list")
    assert turns.count(0) >= 3


def test_a_name_is_forgotten_and_told_and_no_other(process: Process) -> None:
    throttle = process.memories.throttle
    throttle.attempt("192.0.2.1", "alice").failed()
    process.memories.delays.begin(User("alice"))
    rows = process.asked("throttle forget", "alice")
    assert [(row["kind"], row["user"]) for row in rows] == [("user", "alice"), ("login_delay", "alice")]
    assert [row["address"] for row in process.asked("throttle list")[:-1]] == ["192.0.2.1"]
    assert process.asked("throttle forget", "alice") == []
    assert [row["address"] for row in process.asked("throttle forget", "192.0.2.0/24")] == ["192.0.2.1"]
    assert process.asked("throttle list") == [{"worker": 1, "kind": "all", "lanes": 0}]


def test_nobody_in_particular_cannot_be_forgotten(process: Process) -> None:
    with pytest.raises(Impossible) as told:
        process.asked("throttle forget")
    assert told.value.status == os.EX_USAGE
