"""The harness finds what it is for: a checker that refuses wrongly, lets in, stays away, or blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from mailserver.errors import LoginRefused, TemporaryFailure
from tests.auth.outages import only_in_threads, password, weather


class Checker:
    """Answers later, and during a breakdown as `when_broken` says."""

    def __init__(self, when_broken: type[Exception] | None = TemporaryFailure) -> None:
        self.broken = False
        self.when_broken = when_broken

    def answer(self, credentials: Any) -> bytes:
        if self.broken and self.when_broken is not None:
            raise self.when_broken("no") if self.when_broken is LoginRefused else self.when_broken
        if self.broken or credentials.password == password(credentials.username.decode()):
            return bytes(credentials.username)
        raise LoginRefused("wrong password")

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes]:
        later: Deferred[bytes] = Deferred()
        later.addCallback(self.answer)
        reactor.callLater(0, later.callback, credentials)  # type: ignore[attr-defined]
        return later

    @contextmanager
    def breakdown(self, mended: bool = True) -> Iterator[None]:
        self.broken = True
        yield
        self.broken = not mended


class OutagesTests(TestCase):
    async def test_a_checker_that_says_that_it_cannot_tell_is_good(self) -> None:
        checker = Checker()
        tally = await weather(checker, ["alice", "bob"], checker.breakdown)
        tally.check()
        assert tally.right["taken"]
        assert tally.right["temporary"]

    async def test_one_that_refuses_or_lets_in_or_raises_is_not(self) -> None:
        for when_broken in (LoginRefused, None, ZeroDivisionError):
            checker = Checker(when_broken)
            with pytest.raises(AssertionError):
                (await weather(checker, ["alice", "bob"], checker.breakdown)).check()

    async def test_one_that_stays_away_is_not(self) -> None:
        checker = Checker()
        with pytest.raises(AssertionError):
            (await weather(checker, ["alice"], lambda: checker.breakdown(mended=False))).check()

    async def test_a_call_by_the_reactor_is_found(self) -> None:
        checker = Checker()
        with only_in_threads((Checker, "answer")) as calls, pytest.raises(LoginRefused):
            await deferToThread(checker.answer, _Wrong)
        assert calls == ["answer"]
        with pytest.raises(AssertionError, match="by the reactor"), only_in_threads((Checker, "answer")):
            await weather(checker, ["alice"], checker.breakdown)


class _Wrong:
    username = b"alice"
    password = b"wrong"
