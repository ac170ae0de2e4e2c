"""The memory between real processes: nothing is lost between them, and what one of them was about ends with it."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable, Iterator

import pytest
from twisted.internet.task import Clock

from mailserver.interfaces import User
from mailserver.net.common import memory as memory_module
from mailserver.net.common.delays import CommonDelays
from mailserver.net.common.memory import CommonMemory, make
from mailserver.net.common.places import CommonPlaces
from mailserver.net.common.regulars import CommonRegulars
from mailserver.net.common.table import WAYS, Shape
from mailserver.net.common.throttle import CommonThrottle
from mailserver.net.regulars import Visitor
from tests.net.common.views import view

PROCESSES = 4


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = make(PROCESSES, 1000)
    yield made
    os.close(made)


def look(descriptor: int, number: int) -> CommonMemory:
    return view(descriptor, number, PROCESSES, 1000)


def child(act: Callable[[], object]) -> int:
    """Fork a process that does this and no more."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # of threads that other tests have left; the child needs none
        pid = os.fork()
    if pid:
        return pid
    try:
        act()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of the test may go on in the child
        os._exit(1)


def together(descriptor: int, act: Callable[[CommonMemory], object]) -> None:
    """Let processes begin with this at the same moment, and end well."""
    ready, go = os.pipe()

    def begin(number: int) -> None:
        os.close(go)
        memory = look(descriptor, number)
        os.read(ready, 1)  # the end of the file
        act(memory)

    pids = [child(lambda number=number: begin(number)) for number in range(PROCESSES)]
    os.close(go)
    assert [os.waitpid(pid, 0)[1] for pid in pids] == [0] * PROCESSES
    os.close(ready)


def test_no_failure_is_lost_between_processes(descriptor: int) -> None:
    guesses = 2000

    def guess(memory: CommonMemory) -> None:
        throttle = CommonThrottle(Clock(), 0, memory)
        for number in range(guesses):
            throttle.attempt(f"192.0.2.{number % 9}", "alice").failed()

    together(descriptor, guess)
    lanes = CommonThrottle(Clock(), 0, look(descriptor, 0)).attempt("192.0.2.0", "alice").lanes
    assert lanes[1].failures == PROCESSES * guesses
    assert look(descriptor, 1).lanes.used == 10


def test_who_needs_two_lanes_never_waits_for_one_who_waits_for_him(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(memory_module, "LANES", Shape(2 * WAYS, 24, counts=2))  # so that all need the same two locks
    descriptor = make(PROCESSES, 1000)

    def guess(memory: CommonMemory) -> None:
        throttle = CommonThrottle(Clock(), 0, memory)
        for number in range(3000):
            throttle.attempt(f"192.0.2.{number % 7}", f"user{number % 5}").failed()

    try:
        together(descriptor, guess)  # the kernel would refuse a lock to one of those who wait for one another
    finally:
        os.close(descriptor)


def test_no_network_of_a_user_is_lost_between_processes(descriptor: int) -> None:
    users = 400

    def log_in(memory: CommonMemory) -> None:
        regulars, number = CommonRegulars(memory, Clock()), memory.lanes._number
        for user in range(users):
            for network in range(4):
                regulars.welcome(Visitor(f"192.0.{number}.{network}", f"user{user}", f"user{user}"))

    together(descriptor, log_in)
    known = CommonRegulars(look(descriptor, 0), Clock())
    everywhere = [f"192.0.{number}.{network}" for number in range(PROCESSES) for network in range(4)]
    lost = [
        user for user in range(users) for each in everywhere if Visitor(each, f"user{user}", f"user{user}") not in known
    ]
    assert lost == []


def test_no_two_processes_try_the_same_user_at_once(descriptor: int) -> None:
    reading, writing = os.pipe()

    def guess(memory: CommonMemory) -> None:
        throttle = CommonThrottle(Clock(), 2, memory)
        turns = sum(throttle.attempt("", f"user{number}").turn is None for number in range(1000))
        os.write(writing, b"%d\n" % turns)

    together(descriptor, guess)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert sum(map(int, told)) <= 4, "the address is everybody's"


def test_each_user_has_one_turn_however_many_ask(descriptor: int) -> None:
    reading, writing = os.pipe()

    def guess(memory: CommonMemory) -> None:
        throttle = CommonThrottle(Clock(), 2, memory)
        number = memory.lanes._number
        turns = [throttle.attempt(f"192.0.{number}.{n % 250}.{n}", f"user{n}").turn is None for n in range(1000)]
        os.write(writing, bytes(turns))

    together(descriptor, guess)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        turns = told.read()
    assert len(turns) == PROCESSES * 1000
    assert sum(turns) == 1000


def test_no_address_has_more_connections_than_it_may(descriptor: int) -> None:
    addresses, most = 400, 5

    def connect(memory: CommonMemory) -> None:
        places = CommonPlaces(100_000, most, memory)
        for number in range(addresses):
            while not places.take(f"2001:db8:0:{number:x}::1"):
                pass

    together(descriptor, connect)
    table = look(descriptor, 0).places
    assert table.used == addresses
    taken = [table.count(slot) for slot in range(table.slots)]
    assert [count for count in taken if count] == [most] * addresses


def test_of_many_logins_at_once_one_begins_the_delay(descriptor: int) -> None:
    reading, writing = os.pipe()

    def log_in(memory: CommonMemory) -> None:
        delays = CommonDelays(Clock(), 60, memory)
        os.write(writing, bytes(delays.begin(User(f"user{number}")) == 0 for number in range(1000)))

    together(descriptor, log_in)
    os.close(writing)
    with os.fdopen(reading, "rb") as told:
        assert sum(told.read()) == 1000


def test_a_process_that_is_killed_with_a_lock_keeps_nobody_waiting(descriptor: int) -> None:
    def die() -> None:
        memory = look(descriptor, 1)
        for table in (memory.lanes, memory.regulars, memory.delays, memory.places):
            for bucket in range(0, table.slots, 16):
                table.hold(bucket)
        os.kill(os.getpid(), signal.SIGKILL)

    _, status = os.waitpid(child(die), 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    memory = look(descriptor, 0)
    CommonThrottle(Clock(), 2, memory).attempt("192.0.2.1", "alice").succeeded()
    assert CommonPlaces(9, 9, memory).take("192.0.2.1") == ""
    assert CommonDelays(Clock(), 60, memory).begin(User("alice")) == 0


def test_processes_that_are_killed_at_any_moment_leave_nothing_stuck(descriptor: int) -> None:
    def work() -> None:
        memory = look(descriptor, 1)
        throttle, places = CommonThrottle(Clock(), 0, memory), CommonPlaces(1000, 1000, memory)
        os.write(writing, b".")
        while True:
            for number in range(50):
                places.take(f"192.0.2.{number}")
                attempt = throttle.attempt(f"192.0.2.{number}", f"user{number}")
                (attempt.succeeded if number % 2 else attempt.failed)()
                places.give_back(f"192.0.2.{number}")

    for _ in range(20):
        reading, writing = os.pipe()
        pid = child(work)
        os.read(reading, 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    memory = look(descriptor, 1)
    CommonThrottle(Clock(), 2, memory)
    CommonPlaces(9, 9, memory)
    assert (memory.lanes.counted(), memory.places.counted(), memory.taken) == ([], [], 0)
