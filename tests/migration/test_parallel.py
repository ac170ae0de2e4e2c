"""Blocking work for many users at once."""

import threading

import pytest

from mailserver.migration.parallel import WINDOW, in_parallel


def test_results_come_in_the_order_of_the_items_whoever_is_ready_first():
    ready = {name: threading.Event() for name in "abc"}

    def work(name):
        if name != "c":
            ready[chr(ord(name) + 1)].wait(60)
        ready[name].set()
        return name.upper()

    assert list(in_parallel(work, "abc", 3)) == ["A", "B", "C"]


def test_no_more_run_at_once_than_there_are_threads():
    lock, running, most = threading.Lock(), 0, 0
    both = threading.Barrier(2)

    def work(_):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(60)
        with lock:
            running -= 1

    list(in_parallel(work, range(20), 2))
    assert most == 2


def test_many_items_are_not_read_before_their_time():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_parallel(str, items(), 2)
    assert next(results) == "0"
    assert len(taken) <= 2 * WINDOW + 1
    assert list(results) == [str(number) for number in range(1, 1000)]


def test_a_fault_comes_out_in_its_turn_and_the_threads_end():
    before = set(threading.enumerate())  # others may end meanwhile
    results = in_parallel(lambda number: 1 // number, [1, 0, 1], 2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []
    for thread in threading.enumerate():
        if thread.name.startswith("in parallel"):
            thread.join(60)
    assert set(threading.enumerate()) <= before


def test_who_wants_no_more_need_not_wait_for_what_hangs():
    hanging = threading.Event()
    results = in_parallel(lambda number: number and hanging.wait(60), [0, 1], 2)
    assert next(results) == 0
    results.close()
    hanging.set()
