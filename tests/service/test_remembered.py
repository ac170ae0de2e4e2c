"""What one process tells of failed logins, usual networks and login delays to the one that takes its place."""

import json
from itertools import chain

import pytest
from twisted.internet.task import Clock

from mailserver.config.settings import Config
from mailserver.interfaces import User
from mailserver.net.throttle import REMEMBERED_SECONDS
from mailserver.service.memories import Memories
from mailserver.service.remembered import hear, told

GUESSER, HOME = "192.0.2.7", "198.51.100.1"
ALICE = User(name="alice", login_delay=60)


class Process:
    """One process: its clock, and what it remembers."""

    def __init__(self, now):
        self.clock = Clock()
        self.clock.advance(now)
        self.memories = Memories.made(Config(), self.clock)
        self.throttle = self.memories.throttle

    def fail(self, count):
        for _ in range(count):
            self.clock.advance(20)
            self.throttle.attempt(GUESSER, "alice").failed()

    def follow(self, other):
        """Hear all that the other one tells, as it crosses the pipe."""
        for said in told(other.memories):
            hear(self.memories, json.loads(json.dumps(said)))


@pytest.fixture
def old():
    return Process(1_000_000)


@pytest.fixture
def new():
    return Process(2_000)


def test_a_guesser_is_held_back_by_the_next_process_for_as_long_as_by_this_one(old, new):
    old.fail(3)
    old.clock.advance(1.5)
    new.follow(old)
    held = new.throttle.hold(GUESSER, "alice")
    assert held == old.throttle.hold(GUESSER, "alice")
    assert (held.failures, held.seconds) == (3, 6.5)
    assert new.throttle.attempt(GUESSER, "bob").turn is not None, "the address is held, too"
    new.clock.advance(6.5)
    new.fail(1)
    assert new.throttle.held(("user", "alice")).failures == 4
    assert new.throttle.lanes == 2


def test_what_has_failed_in_both_is_added_and_who_waits_already_waits_longer(old, new):
    old.fail(3)
    new.fail(1)
    waiting = new.throttle.attempt(GUESSER, "alice")
    new.follow(old)
    assert new.throttle.held(("user", "alice")).failures == 4
    new.clock.advance(7.9)
    assert not waiting.turn.called
    new.clock.advance(0.1)
    assert waiting.turn.called


def test_failures_end_when_they_would_have_ended_in_the_old_process(old, new):
    old.fail(1)
    old.clock.advance(REMEMBERED_SECONDS - 10)
    new.follow(old)
    assert new.throttle.held(("user", "alice")).failures == 1
    new.clock.advance(10)
    assert new.throttle.held(("user", "alice")).failures == 0
    later = Process(2_000)
    old.clock.advance(10)
    later.follow(old)
    assert later.throttle.names == []


def test_an_owner_at_his_usual_network_is_not_held_back_by_strangers(old, new):
    old.throttle.attempt(HOME, "alice").succeeded()
    old.fail(5)
    new.follow(old)
    assert new.throttle.hold(HOME, "alice") == old.throttle.hold(HOME, "alice")
    assert new.throttle.hold(HOME, "alice").regular
    assert new.throttle.attempt(HOME, "alice").turn is None


def test_the_latest_networks_of_a_user_are_the_latest_there_too(old, new):
    for number in range(20):
        old.throttle.attempt(f"198.51.100.{number}", "alice").succeeded()
    new.follow(old)
    new.throttle.attempt(HOME + "00", "alice").succeeded()
    assert new.throttle.regulars.visitors("alice")[:-1] == old.throttle.regulars.visitors("alice")[1:]


def test_a_login_delay_goes_on(old, new):
    old.memories.delays.begin(ALICE)
    old.clock.advance(20)
    new.memories.delays.begin(User(name="bob", login_delay=10))
    new.follow(old)
    assert new.memories.delays.before(ALICE) == 40
    new.clock.advance(40)
    assert new.memories.delays.before(ALICE) == 0


def test_thousands_are_told_in_pieces_and_all_of_them(old, new):
    for number in range(1200):
        old.throttle.attempt(f"10.0.{number >> 8}.{number & 255}", "").failed()
    pieces = list(told(old.memories))
    assert [len(each["rows"]) for each in pieces] == [500, 500, 200]
    new.follow(old)
    assert new.throttle.names == old.throttle.names


@pytest.mark.parametrize(
    "row",
    [
        None,
        [],
        ["another", "kind"],
        ["failed", ["address", "a", "b"], 1, 1.0, 1.0],
        ["failed", ["network", "a"], 1, 1.0, 1.0],
        ["failed", ["user", 7], 1, 1.0, 1.0],
        ["failed", ["user", "x"], 0, 1.0, 1.0],
        ["failed", ["user", "x"], 1, -1.0, 1.0],
        ["failed", ["user", "x"], 1, 1.0, float("inf")],
        ["failed", ["user", "x"], 1, float("nan"), 1.0],
        ["failed", ["user", "x"], 1, 1.0, 1.0, "more"],
        ["regular", "a", "b"],
        ["regular", "a", "b", None],
        ["delay", "x", float("inf")],
        ["delay", "x", -1.0],
    ],
    ids=str,
)
def test_what_another_version_means_by_a_row_is_left_out_if_it_is_not_understood(old, new, row):
    old.fail(1)
    rows = list(chain.from_iterable(each["rows"] for each in told(old.memories)))
    hear(new.memories, {"rows": [row, *rows]})
    assert new.throttle.names == old.throttle.names
    assert new.throttle.regulars.secrets == new.memories.delays.names == []


def test_a_piece_without_rows_is_nothing(new):
    hear(new.memories, {})
    assert new.throttle.names == []
