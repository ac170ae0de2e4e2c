"""The reference store."""

from __future__ import annotations

from typing import Any, cast

from twisted.trial.unittest import TestCase

from mailserver.interfaces import User
from mailserver.store import MemoryStore
from mailserver.store.deleting import read_deleting
from mailserver.testing.contracts.store import ONE, TWO
from tests.store.whole import WholeContract


class MemoryContract(WholeContract, TestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()

    def tearDown(self) -> object:
        return self.store.stop()

    def deliver(self, name: str, message: bytes) -> None:
        self.store.add(name, message)

    def vanish(self, name: str, message: bytes) -> None:
        maildrop = self.store.maildrop(name)
        for uidl in [uidl for uidl, stored in maildrop.items() if stored == message]:
            del maildrop[uidl]

    def make_deleting(self, setting: str) -> MemoryStore:
        return MemoryStore(deleting=read_deleting(setting))

    def trash(self, name: str) -> list[bytes]:
        return cast("list[bytes]", self.store.trash(name))

    def stored(self, name: str) -> list[bytes]:
        return list(self.store.maildrop(name).values())


def test_it_is_filled_by_name() -> None:
    store = MemoryStore({"alice": [ONE, TWO], "bob": []})
    assert list(store.maildrop("alice").values()) == [ONE, TWO]
    assert list(store.maildrop("bob")) == []


def test_its_bodies_have_no_descriptor() -> None:
    store = MemoryStore({"alice": [ONE]})
    opened: list[object] = []
    store.open(User("alice"), "me").addCallback(opened.append)
    assert opened[0].fetch(1).fileno() is None


def test_a_clock_that_is_set_back_changes_no_order() -> None:
    times = iter([50.5, 20.0, 60.0])
    store = MemoryStore({"alice": [ONE, TWO, ONE]}, clock=lambda: next(times))
    opened: list[Any] = []
    store.open(User("alice"), "me").addCallback(opened.append)
    assert list(opened[0].messages.arrivals) == [50_500_000, 50_500_000, 60_000_000]
