"""The memory itself: what it is made of, and what nobody can do to it."""

from __future__ import annotations

import os

import pytest

from mailserver.errors import Unusable
from mailserver.net.common import memory as module
from mailserver.net.common.memory import CommonMemory, make, size_of
from mailserver.net.common.table import KEY, WAYS, Shape, Table
from mailserver.net.common.throttle import CommonThrottle
from tests.net.common.views import SECRET, view, views


def test_it_takes_fourteen_megabytes_for_four_workers_of_which_only_what_was_used_is_there() -> None:
    assert size_of(4, 10_000) < 15_000_000
    descriptor = make(4, 10_000)
    try:
        view(descriptor, 0, 4, 10_000)
        assert os.fstat(descriptor).st_size == size_of(4, 10_000)
        assert os.fstat(descriptor).st_blocks * 512 < 100_000
    finally:
        os.close(descriptor)


def test_no_worker_can_take_it_from_the_others() -> None:
    descriptor = make(2, 100)
    try:
        for size in (0, size_of(2, 100) * 2):
            with pytest.raises(OSError, match="not permitted"):
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


def test_without_a_memfd_a_file_without_a_name_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(_name: str, _flags: int) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "memfd_create", forbidden)
    with views(2) as memories:
        assert memories[1].lanes.claim(b"12345678", 0, lambda _: 0) == 0
        assert memories[0].lanes.find(b"12345678", 0) == 0


def test_a_program_that_was_changed_under_its_parent_does_not_serve() -> None:
    descriptor = make(2, 100)
    try:
        with pytest.raises(Unusable, match="restart"):
            CommonMemory(descriptor, SECRET, 0, 2, 10_000)
    finally:
        os.close(descriptor)


def test_it_holds_no_name_and_no_address() -> None:
    from twisted.internet.task import Clock

    with views(1) as memories:
        throttle = CommonThrottle(Clock(), 2, memories[0])
        throttle.attempt("192.0.2.1", "wonderland").succeeded()
        throttle.attempt("192.0.2.2", "wonderland").failed()
        octets = memories[0].lanes.octets[:]
    assert memories[0].lanes.used == 2
    assert b"wonderland" not in octets
    assert b"192.0" not in octets


def test_the_hash_depends_on_the_key_that_the_parent_drew() -> None:
    descriptor = make(2, 100)
    try:
        one, same, other = (CommonMemory(descriptor, key, 0, 2, 100) for key in (SECRET, SECRET, bytes(32)))
        assert one.hash("user", "alice") == same.hash("user", "alice") != other.hash("user", "alice")
        assert one.hash("user", "alice") != one.hash("useralice")
    finally:
        os.close(descriptor)


def test_an_empty_slot_is_not_seen_in_the_zeros_of_two_keys() -> None:
    with views(1) as memories:
        table = memories[0].delays
        first = table.claim(b"\x01" + bytes(7), 0, lambda _: 0)
        second = table.claim(bytes(4) + b"\x02" + bytes(3), 0, lambda _: 0)
        third = table.claim(b"\x03" * 8, 0, lambda _: 0)
        assert (first, second, third) == (0, 1, 2)
        assert [table.find(key, 0) for key in (b"\x01" + bytes(7), b"\x03" * 8)] == [0, 2]


def test_a_slot_that_changes_hands_has_nothing_of_the_one_before() -> None:
    with views(1) as memories:
        table = memories[0].delays
        for number in range(WAYS):
            slot = table.claim(b"%08d" % number, 0, lambda slot: slot)
            table.octets[table.record(slot) : table.record(slot) + 8] = b"\xff" * 8
        slot = table.claim(b"newcomer", 0, lambda slot: -slot)
        assert slot == WAYS - 1
        assert table.octets[table.record(slot) : table.record(slot) + 8] == bytes(8)
        assert table.find(b"%08d" % (WAYS - 1), 0) == -1


def test_tables_do_not_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LANES", Shape(WAYS, 24, counts=2))
    monkeypatch.setattr(module, "REGULARS", Shape(WAYS, 8))
    monkeypatch.setattr(module, "DELAYS", Shape(WAYS, 8))
    with views(3, 4) as memories:
        memory = memories[2]
        tables: list[Table] = [memory.lanes, memory.regulars, memory.delays, memory.places]
        memory.set_taken(7)
        for number, table in enumerate(tables):
            for slot in range(table.slots):
                table.claim(bytes([number + 1] * (KEY - 1)) + bytes([slot]), 0, lambda _: 0)
        for table in (memory.lanes, memory.places):
            for slot in range(table.slots):
                table.set_own(slot, slot + 1)
        assert memory.taken == 7
        for number, table in enumerate(tables):
            assert [table.find(bytes([number + 1] * (KEY - 1)) + bytes([slot]), 0) for slot in range(WAYS)] == [
                *range(WAYS)
            ]
        for table in (memories[0].lanes, memories[1].places):
            assert [table.count(slot) for slot in range(WAYS)] == [*range(1, WAYS + 1)]
            assert table.counted() == []
