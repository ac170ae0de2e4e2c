"""Old mail goes before its session sees it, and nothing else goes."""

from __future__ import annotations

import os
import time
from array import array
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, maybeDeferred, succeed
from twisted.logger import capturedLogs
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from mailserver.delivery.expiry import DAY, EARLIEST, EvenClock, Expiry
from mailserver.delivery.retention import Retention, old
from mailserver.errors import MaildropInUse, MaildropUnavailable
from mailserver.incoming import IDeposits, IKeeps
from mailserver.interfaces import Account, IStore, User
from mailserver.names import Names
from mailserver.snapshot import MICROSECONDS
from mailserver.store import MemoryStore, SharedStore
from mailserver.store.deleting import EXPUNGE, read_deleting
from mailserver.store.memory import _MemoryMaildrop
from tests.store.maildir.maildirs import MaildirCase
from tests.store.whole import WholeContract

NOW = EARLIEST + 500 * DAY
ALICE = User("alice")


class Site:
    """A store in memory whose messages came so many days ago, and a rule by a clock of ours."""

    def __init__(self, *ages: float, days: int = 30, delete: str = "expunge") -> None:
        self.now = NOW
        came = iter([NOW - age * DAY for age in ages])
        messages = [b"message %d\r\n" % number for number, _ in enumerate(ages, 1)]

        def clock() -> float:
            return next(came, self.now)

        self.inner = MemoryStore({"alice": messages}, clock=clock, deleting=read_deleting(delete))
        self.expiry = Expiry(days, EvenClock(lambda: self.now, lambda: self.now - NOW))
        self.store = Retention(self.inner, self.expiry)

    def opened(self, user: User = ALICE) -> Any:
        found: list[Any] = []
        self.store.open(user, "me").addBoth(found.append)
        return found[0]

    def seen(self, user: User = ALICE) -> list[bytes]:
        """What a session sees."""
        maildrop = self.opened(user)
        there = [maildrop.fetch(number).read(99) for number in range(1, len(maildrop.messages) + 1)]
        maildrop.release()
        return there


class RetentionContract(WholeContract, TestCase):
    """With a rule by which nothing in the contract is old."""

    def setUp(self) -> None:
        self.inner = MemoryStore()
        self.store: Any = self.over(self.inner)

    def over(self, store: IStore) -> Any:
        return Retention(store, Expiry(3650, EvenClock(time.time, time.monotonic)), tidies=lambda: True)

    def make_deleting(self, setting: str) -> Any:
        self.inner = MemoryStore(deleting=read_deleting(setting))
        return self.over(self.inner)

    def trash(self, name: str) -> list[bytes]:
        return self.inner.trash(name)

    def deliver(self, name: str, message: bytes) -> None:
        self.inner.add(name, message)

    def vanish(self, name: str, message: bytes) -> None:
        maildrop = self.inner.maildrop(name)
        for uidl in [uidl for uidl, stored in maildrop.items() if stored == message]:
            del maildrop[uidl]

    def stored(self, name: str) -> list[bytes]:
        return list(self.inner.maildrop(name).values())


def test_it_is_a_store() -> None:
    store = Site().store
    assert verifyObject(IStore, store)
    assert verifyObject(IDeposits, store)
    assert verifyObject(IKeeps, store)


def test_what_is_older_than_its_days_is_gone_before_the_session_sees_it() -> None:
    with capturedLogs() as events:
        assert Site(90, 31, 29, 0).seen() == [b"message 3\r\n", b"message 4\r\n"]
    (event,) = events
    assert (event["event"], event["user"], event["messages"], event["days"]) == ("retention.expired", "alice", 2, 30)


def test_where_nothing_is_old_the_maildrop_is_opened_once() -> None:
    site = Site(29, 1)
    calls: list[str] = []
    real = site.inner.open
    with patch.object(site.inner, "open", lambda *given: calls.append("open") or real(*given)):
        assert len(site.seen()) == 2
    assert calls == ["open"]


def test_a_user_s_own_days_come_first() -> None:
    assert len(Site(90, 31, 29).seen(User("alice", expire_days=60))) == 2
    assert len(Site(90, 31, 29, days=0).seen(User("alice", expire_days=60))) == 2
    assert len(Site(90, 31, 29).seen(User("alice", expire_days=0))) == 3, "EXPIRE 0 is no age"


def test_without_days_nothing_is_old() -> None:
    assert len(Site(9000, 1, days=0).seen()) == 2


def test_the_site_s_days_also_hold_for_who_may_delete_nothing() -> None:
    assert len(Site(90, 1).seen(User("alice", read_only=True))) == 1


@pytest.mark.parametrize("delete", ["keep 7 days", "trash"])
def test_what_the_site_removes_is_not_kept(delete: str) -> None:
    site = Site(90, 1, delete=delete)
    assert len(site.seen()) == 1
    assert site.inner.trash("alice") == []
    answer: list[int] = []
    site.store.undelete(ALICE).addCallback(answer.append)
    assert answer == [0]


def test_a_jump_to_2038_removes_nothing() -> None:
    site = Site(29, 1)
    assert len(site.seen()) == 2
    site.now = 2.0**31
    assert len(site.seen()) == 2


def test_an_account_s_old_mail_goes_at_the_login_of_any_of_its_users() -> None:
    site = Site(90, 1)
    shared = SharedStore(site.store, Names(accounts={"alice": "a.example.org"}))
    opened: list[Any] = []
    shared.open(User("alice", account=Account("a.example.org", "zoe")), "me").addCallback(opened.append)
    assert len(opened[0].messages) == 0
    assert list(site.inner.maildrop("alice").values()) == [b"message 2\r\n"]


ARRIVALS = st.lists(st.integers(0, 3 * 10**9 * MICROSECONDS), max_size=20).map(sorted)


@given(ARRIVALS, st.floats(EARLIEST, 2.1e9))
def test_what_has_no_time_is_never_old(arrivals: list[int], limit: float) -> None:
    numbers = old(array("Q", arrivals), limit)
    first_mail = 820_454_400 * MICROSECONDS
    assert [arrivals[number - 1] for number in numbers] == [
        each for each in arrivals if first_mail <= each < int(limit * MICROSECONDS)
    ]


def test_a_maildrop_that_tells_no_arrivals_stays_as_it_is() -> None:
    site = Site(90)
    maildrop = site.inner.open(ALICE, "me").result
    maildrop.messages.arrivals = ()
    inner = patch.object(site.inner, "open", lambda *_: succeed(maildrop))
    with inner:
        assert site.opened() is maildrop


@pytest.mark.parametrize("answer", [MaildropUnavailable("no disk"), 1], ids=["error", "left"])
def test_what_cannot_be_removed_stays_and_the_session_begins(answer: Any) -> None:
    site = Site(90, 1)

    def refused(maildrop: Any, _: object) -> Any:
        maildrop.release()
        return fail(answer) if isinstance(answer, Exception) else succeed(answer)

    with patch.object(_MemoryMaildrop, "expunge", refused), capturedLogs() as events:
        assert len(site.seen()) == 2
    assert [event["event"] for event in events] == ["retention.left"]


def test_a_cancel_leaves_no_lock_and_the_removal_goes_on() -> None:
    site = Site(90, 1)
    waiting: Deferred[int] = Deferred()
    maildrop = site.inner.open(ALICE, "me").result
    with (
        patch.object(site.inner, "open", lambda *_: succeed(maildrop)),
        patch.object(_MemoryMaildrop, "expunge", lambda *_: waiting),
    ):
        opening = site.store.open(ALICE, "me")
        opening.cancel()
    outcome: list[Any] = []
    opening.addErrback(outcome.append)
    assert outcome[0].check(CancelledError)
    assert not waiting.called
    maildrop.release()
    waiting.callback(0)
    assert len(site.seen()) == 1


def test_another_session_that_comes_between_keeps_the_maildrop() -> None:
    site = Site(90, 1)
    real = site.inner.open
    calls: list[object] = []

    def second_time(user: User, owner: str) -> Any:
        calls.append(owner)
        return real(user, owner) if len(calls) == 1 else fail(MaildropInUse("held by another"))

    with patch.object(site.inner, "open", second_time):
        assert site.opened().check(MaildropInUse)


def test_users_whom_no_sweep_finds_are_tidied_at_the_first_login_of_a_day() -> None:
    site = Site(5, 1, delete="keep 7 days")
    store = Retention(site.inner, site.expiry, tidies=lambda: True)
    tidied: list[float] = []
    real = site.inner.tidy
    with patch.object(site.inner, "tidy", lambda user, now, days: tidied.append(now) or real(user, now, days)):
        for _ in range(30):
            store.open(ALICE, "me").addCallback(lambda maildrop: maildrop.release())
            site.now += DAY / 10
    assert len(tidied) == 3


class MaildirTests(MaildirCase):
    """With the arrivals that file names and mtimes tell."""

    def old(self, days: int = 30) -> Retention:
        return Retention(self.store, Expiry(days, EvenClock(time.time, time.monotonic)))

    async def test_names_and_mtimes_tell_the_age(self) -> None:
        now = int(time.time())
        self.deliver("alice", b"old\r\n", f"new/{now - 31 * DAY}.M1P1.h")
        self.deliver("alice", b"old, seen\r\n", f"cur/{now - 31 * DAY}.M2P1.h,S=11:2,S")
        self.deliver("alice", b"young\r\n", f"cur/{now - 29 * DAY}.M3P1.h:2,S")
        without = self.deliver("alice", b"old by mtime\r\n", "new/message.eml")
        os.utime(without, (now - 40 * DAY, now - 40 * DAY))
        self.deliver("alice", b"a number is no time\r\n", "new/12.eml")
        maildrop = await self.old().open(ALICE, "me")
        assert sorted(self.stored("alice")) == sorted([b"young\r\n", b"a number is no time\r\n"])
        assert len(maildrop.messages) == 2
        maildrop.release()

    async def test_a_removal_that_a_crash_interrupted_is_finished_by_the_next_login(self) -> None:
        now = int(time.time())
        for number in range(3):
            self.deliver("alice", b"old\r\n", f"new/{now - 31 * DAY}.M{number}P1.h")
        young = self.deliver("alice", b"young\r\n", f"new/{now}.M9P1.h")
        retention = self.old()
        unlink = os.unlink

        def dying(path: Any) -> None:
            if b"new/" in os.fsencode(path):
                raise OSError(5, "the machine is gone")
            unlink(path)

        with patch.object(os, "unlink", dying):
            maildrop = await retention.open(ALICE, "me")
            assert len(maildrop.messages) == 4, "what cannot be removed stays"
            maildrop.release()
        maildrop = await retention.open(ALICE, "me")
        assert [path.name for path in self.files()] == [young.name]
        maildrop.release()

    async def test_nothing_young_goes_by_any_setting_of_what_is_kept(self) -> None:
        now = int(time.time())
        for delete in ("expunge", "trash", "keep 3 days"):
            name = delete.split()[0]
            self.store = self.make(deleting=read_deleting(delete) if delete != "expunge" else EXPUNGE)
            self.deliver(name, b"young\r\n", f"new/{now}.M1P1.{name}")
            maildrop = await maybeDeferred(self.old().open, User(name), "me")
            maildrop.release()
            assert self.stored(name) == [b"young\r\n"]
