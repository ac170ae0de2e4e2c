"""The sweep: all users, one at a time, each day; whatever fails for one, the others have their turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mailserver.auth.users import page
from mailserver.delivery import sweep
from mailserver.delivery.expiry import DAY, EARLIEST, EvenClock, Expiry
from mailserver.delivery.retention import Retention
from mailserver.delivery.sweep import AGAIN_SECONDS, FIRST_SECONDS, SPREAD_SECONDS, Sweep
from mailserver.errors import MaildropUnavailable, TemporaryFailure
from mailserver.interfaces import Account, IPart, IUserList, User
from mailserver.store import MemoryStore
from mailserver.store.deleting import read_deleting

PAGE = 20
"""Fewer than the sweep asks for, which are too many for a test."""

NOW = EARLIEST + 500 * DAY


@implementer(IUserList)
class Listed:
    """Users in a list."""

    def __init__(self, *users: User) -> None:
        self.users = {user.name: user for user in users}
        self.pages = 0
        self.broken = 0

    def lookup(self, name: str) -> Deferred[User | None]:
        return succeed(self.users.get(name))

    def names(self, after: str, limit: int) -> Deferred[Sequence[str]]:
        self.pages += 1
        if self.broken:
            self.broken -= 1
            return fail(TemporaryFailure())
        return succeed(page(sorted(self.users), after, limit))


class Site:
    """Users, each with a message of 90 days and one of today."""

    def __init__(self, *users: User, days: int = 30, delete: str = "expunge") -> None:
        self.clock = Clock()
        self.users = Listed(*users)
        self.offset = NOW - 90 * DAY
        self.inner = MemoryStore(clock=lambda: self.offset + self.clock.seconds(), deleting=read_deleting(delete))
        for user in users:
            self.inner.add(user.name, b"old")
        self.offset = NOW
        for user in users:
            self.inner.add(user.name, b"young")
        expiry = Expiry(days, EvenClock(lambda: NOW + self.clock.seconds(), self.clock.seconds))
        self.sweep = Sweep(self.users, Retention(self.inner, expiry), expiry, draw=lambda: 0.5)
        self.sweep.start(self.clock)

    def go(self, seconds: float, step: float = 0.02) -> None:
        """Let time pass, in steps in which the sweep may go on."""
        steps = int(seconds / step)
        self.clock.pump([step] * min(steps, 2000))
        self.clock.advance(max(0.0, seconds - step * min(steps, 2000)))

    def first(self) -> None:
        self.clock.advance(FIRST_SECONDS + SPREAD_SECONDS / 2 + 0.001)

    def left(self, name: str) -> list[bytes]:
        return list(self.inner.maildrop(name).values())


def named(count: int, **fields: Any) -> list[User]:
    return [User(f"user{number:04}", **fields) for number in range(count)]


def test_it_is_a_part() -> None:
    assert verifyObject(IPart, Site().sweep)


def test_the_first_sweep_comes_some_time_after_the_start() -> None:
    site = Site(*named(1))
    site.clock.advance(FIRST_SECONDS + SPREAD_SECONDS / 2 - 1)
    assert len(site.left("user0000")) == 2
    site.clock.advance(2)
    assert site.left("user0000") == [b"young"]


@pytest.mark.parametrize("count", [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE])
def test_it_goes_through_all_pages_once(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "PAGE", PAGE)
    site = Site(*named(count))
    with capturedLogs() as events:
        site.first()
        site.go(10)
    assert all(site.left(user.name) == [b"young"] for user in named(count))
    (event,) = (event for event in events if event["event"] == "retention.swept")
    assert (event["users"], event["in_use"], event["failed"]) == (count, 0, 0)
    assert site.users.pages == count // PAGE + 1


def test_it_comes_again_after_a_day() -> None:
    site = Site(*named(2))
    site.first()
    site.go(1)
    site.clock.advance(29 * DAY)
    site.go(1)
    assert site.left("user0001") == [b"young"]
    for _ in range(3):
        site.clock.advance(DAY)
        site.go(1)
    assert site.left("user0001") == []


def test_one_maildrop_at_a_time_and_a_pause_after_each() -> None:
    site = Site(*named(3))
    site.first()
    assert [len(site.left(user.name)) for user in named(3)] == [1, 2, 2]
    site.clock.advance(0.011)
    assert [len(site.left(user.name)) for user in named(3)] == [1, 1, 2]
    site.clock.advance(0.011)
    assert [len(site.left(user.name)) for user in named(3)] == [1, 1, 1]


def test_a_maildrop_in_use_is_left_to_its_session() -> None:
    site = Site(*named(3))
    maildrop: Any = site.inner.open(User("user0001"), "a session").result
    with capturedLogs() as events:
        site.first()
        site.go(1)
    assert [len(site.left(user.name)) for user in named(3)] == [1, 2, 1]
    assert len(maildrop.messages) == 2
    assert [event["in_use"] for event in events if event["event"] == "retention.swept"] == [1]


def test_what_fails_for_one_user_fails_for_no_other() -> None:
    bad = [User("a", mail="nosuch:"), User("b", unserved="no home")]
    site = Site(*bad, *named(1))
    lookup = site.users.lookup

    def odd(name: str) -> Any:
        if name == "a":
            raise ZeroDivisionError
        return fail(TemporaryFailure()) if name == "zz" else lookup(name)

    site.users.users["zz"] = User("zz")
    site.users.users["c"] = User("c", mail="nosuch:")
    site.users.lookup = odd  # type: ignore[method-assign]
    with capturedLogs() as events:
        site.first()
        site.go(1)
    assert site.left("user0000") == [b"young"]
    assert len(site.left("b")) == 2
    assert [event["failed"] for event in events if event["event"] == "retention.swept"] == [3]
    assert sorted(event["event"] for event in events if event["event"] != "retention.expired") == [
        "retention.failed",
        "retention.failed",
        "retention.fault",
        "retention.swept",
    ]


def test_of_a_disk_that_fails_for_all_not_every_user_is_told() -> None:
    site = Site(*named(50))
    site.sweep._store = Broken()
    with capturedLogs() as events:
        site.first()
        site.go(2)
    assert sum(event["event"] == "retention.failed" for event in events) == 10
    assert [event["failed"] for event in events if event["event"] == "retention.swept"] == [50]


class Broken:
    def tidy(self, *_: object) -> Deferred[bool]:
        return fail(MaildropUnavailable("the disk is gone"))


def test_where_the_users_cannot_be_listed_it_tries_again_in_an_hour() -> None:
    site = Site(*named(1))
    site.users.broken = 1
    site.first()
    assert len(site.left("user0000")) == 2
    site.clock.advance(AGAIN_SECONDS - 1)
    assert len(site.left("user0000")) == 2
    site.clock.advance(2)
    assert len(site.left("user0000")) == 1


def test_users_without_a_maildrop_get_none() -> None:
    site = Site()
    site.users.users["newcomer"] = User("newcomer")
    site.first()
    site.go(1)
    assert "newcomer" not in site.inner._maildrops


def test_each_user_has_the_days_that_count() -> None:
    site = Site(
        User("never", expire_days=3650), User("none", expire_days=0), User("site"), User("short", expire_days=1)
    )
    site.first()
    site.go(1)
    assert [len(site.left(name)) for name in ("never", "none", "site", "short")] == [2, 2, 1, 1]


def test_what_is_kept_of_deletions_goes_after_its_days_and_with_it_nothing_else() -> None:
    site = Site(*named(1), days=0, delete="keep 7 days")
    maildrop: Any = site.inner.open(User("user0000"), "a session").result
    maildrop.commit([1])
    kept: list[int] = []
    site.first()
    site.go(1)
    site.inner.kept(User("user0000")).addCallback(kept.append)
    for _ in range(9):
        site.clock.advance(DAY)
        site.go(1)
    site.inner.kept(User("user0000")).addCallback(kept.append)
    assert kept == [1, 0]
    assert site.left("user0000") == [b"young"]


def test_an_account_is_swept_as_a_whole() -> None:
    site = Site(User("vision", account=Account("v.example.org")))
    site.first()
    assert site.left("vision") == [b"young"]


def test_while_the_clock_is_not_believed_nothing_goes() -> None:
    site = Site(*named(1))
    site.sweep._expiry = Expiry(30, EvenClock(lambda: 2.0**31, site.clock.seconds))
    site.first()
    site.go(1)
    assert len(site.left("user0000")) == 2


def test_a_stop_ends_it_and_leaves_no_timer() -> None:
    site = Site(*named(3))
    site.sweep.stop()
    assert site.clock.getDelayedCalls() == []
    site.sweep.start(site.clock)
    site.first()
    with capturedLogs() as events:
        site.sweep.stop()
        site.sweep.stop()
    assert site.clock.getDelayedCalls() == []
    assert [len(site.left(user.name)) for user in named(3)] == [1, 2, 2]
    assert events == []
