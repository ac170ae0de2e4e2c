"""The list of parts: their order, and that one which fails keeps no other from its start, its reload or its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from mailserver.config.problems import Problems
from mailserver.errors import ConfigError, Unusable
from mailserver.interfaces import IPart
from mailserver.service.parts import Parts

REACTOR = object()
Answer = Callable[[], Deferred[None]]


@implementer(IPart)
class Lamp:
    """A part that writes down what becomes of it, in a book that it shares with the others."""

    def __init__(self, name: str, book: list[str], **answers: Answer) -> None:
        self.name = name
        self.book = book
        self.answers = answers

    def start(self, reactor: object) -> Deferred[None]:
        assert reactor is REACTOR
        return self._answer("start")

    def reload(self) -> Deferred[None]:
        return self._answer("reload")

    def stop(self) -> Deferred[None]:
        return self._answer("stop")

    def _answer(self, verb: str) -> Deferred[None]:
        self.book.append(f"{verb} {self.name}")
        return self.answers.get(verb, lambda: succeed(None))()


def failing(error: Exception) -> Answer:
    return lambda: fail(error)


def raising(error: Exception) -> Answer:
    def answer() -> Deferred[None]:
        raise error

    return answer


class PartsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.book: list[str] = []
        self.problems = Problems({"store.url": "settings.toml:7", "auth.checkers": "--auth"})
        self.parts = Parts(self.problems)
        self.told: list[dict[str, Any]] = []
        globalLogPublisher.addObserver(self.told.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.told.append)

    def add(self, name: str, setting: str = "tls", **answers: Answer) -> Lamp:
        lamp = Lamp(name, self.book, **answers)
        self.parts.add(lamp, setting)
        return lamp

    def started(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.parts.start(REACTOR))

    def stop(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.parts.stop()))

    def faults(self, error: type[Exception]) -> list[str]:
        self.flushLoggedErrors(error)
        return [event["event"] for event in self.told if "log_failure" in event]

    def test_they_start_in_order_and_stop_the_other_way_round(self) -> None:
        for name in "abc":
            self.add(name)
        self.successResultOf(self.started())
        self.successResultOf(self.parts.reload())
        self.stop()
        assert self.book == [f"start {n}" for n in "abc"] + [f"reload {n}" for n in "abc"] + [
            f"stop {n}" for n in "cba"
        ]

    def test_each_waits_for_the_one_before_it(self) -> None:
        ready: Deferred[None] = Deferred()
        self.add("a", start=lambda: ready)
        self.add("b")
        started = self.started()
        assert self.book == ["start a"]
        ready.callback(None)
        self.successResultOf(started)
        assert self.book == ["start a", "start b"]

    def test_what_is_no_part_is_left_out(self) -> None:
        self.parts.add(object(), "auth.checkers")
        self.parts.add(None, "kerberos.keytab")
        self.add("a")
        self.successResultOf(self.started())
        assert self.book == ["start a"]

    def test_all_that_the_operator_must_mend_is_told_with_its_setting_and_nothing_runs_on(self) -> None:
        self.add("a")
        self.add("b", "auth.checkers", start=failing(Unusable("no such file")))
        self.add("c")
        self.add("d", "store.url", start=raising(PermissionError(13, "Permission denied", "/var/mail")))
        self.add("e")
        error = self.failureResultOf(self.started(), ConfigError).value
        assert [problem.split(" ")[0] for problem in error.problems] == ["--auth:", "settings.toml:7:"]
        assert "--auth: auth.checkers: no such file" in error.problems
        assert "settings.toml:7: store.url: " in error.problems[1]
        assert self.book == [f"start {n}" for n in "abcde"] + [f"stop {n}" for n in "eca"]

    def test_what_was_wrong_before_the_start_is_told_too(self) -> None:
        self.problems.add("user: there is no such user")
        self.add("a")
        error = self.failureResultOf(self.started(), ConfigError).value
        assert error.problems == ("user: there is no such user",)
        assert self.book == ["start a", "stop a"]

    def test_a_fault_in_the_middle_ends_the_start_and_stops_what_runs(self) -> None:
        self.add("a")
        self.add("b", start=failing(ZeroDivisionError()))
        self.add("c")
        self.failureResultOf(self.started(), ZeroDivisionError)
        assert self.book == ["start a", "start b", "stop a"]

    def test_a_start_that_is_cancelled_cancels_the_part_that_starts_and_waits_for_the_others_ends(self) -> None:
        let_go: Deferred[None] = Deferred()
        self.add("a", stop=lambda: let_go)
        cancelled: list[str] = []
        self.add("b", start=lambda: Deferred(lambda _: cancelled.append("b")))
        self.add("c")
        started = self.started()
        started.cancel()
        self.assertNoResult(started)
        let_go.callback(None)
        self.failureResultOf(started, CancelledError)
        assert cancelled == ["b"]
        assert self.book == ["start a", "start b", "stop a"]

    def test_one_that_cannot_stop_keeps_no_other_from_it(self) -> None:
        self.add("a")
        self.add("b", stop=failing(ZeroDivisionError()))
        self.add("c", stop=raising(ZeroDivisionError()))
        self.add("d")
        self.successResultOf(self.started())
        self.stop()
        assert self.book[4:] == [f"stop {n}" for n in "dcba"]
        assert self.faults(ZeroDivisionError) == ["service.stop_fault"] * 2

    def test_it_stops_each_part_once(self) -> None:
        self.add("a")
        self.successResultOf(self.started())
        self.stop()
        self.stop()
        self.successResultOf(self.parts.reload())
        assert self.book == ["start a", "stop a"]

    def test_one_that_cannot_reload_keeps_no_other_from_it(self) -> None:
        self.add("a", reload=failing(ZeroDivisionError()))
        self.add("b", reload=raising(ZeroDivisionError()))
        self.add("c")
        self.successResultOf(self.started())
        self.successResultOf(self.parts.reload())
        assert self.book[3:] == [f"reload {n}" for n in "abc"]
        assert self.faults(ZeroDivisionError) == ["service.reload_failed"] * 2

    def test_one_that_hangs_in_its_reload_holds_up_the_answer_alone(self) -> None:
        reloaded: Deferred[None] = Deferred()
        self.add("a", reload=lambda: reloaded)
        self.add("b")
        self.successResultOf(self.started())
        answer = self.parts.reload()
        assert self.book[2:] == ["reload a", "reload b"]
        self.assertNoResult(answer)
        reloaded.callback(None)
        self.successResultOf(answer)

    def test_it_may_start_again(self) -> None:
        self.add("a")
        for _ in range(2):
            self.successResultOf(self.started())
            self.stop()
        assert self.book == ["start a", "stop a"] * 2


@pytest.mark.parametrize("verb", ["start", "reload", "stop"])
def test_a_part_may_answer_at_once(verb: str) -> None:
    """Of somebody else's checker no Deferred is wanted where it has nothing to wait for."""
    book: list[str] = []
    parts = Parts(Problems())
    parts.add(Lamp("a", book, **{verb: lambda: None}), "auth.checkers")  # type: ignore[arg-type, return-value]
    started = Deferred.fromCoroutine(parts.start(REACTOR))
    answers = [started, parts.reload(), Deferred.fromCoroutine(parts.stop())]
    assert all(answer.called and answer.result is None for answer in answers)
    assert book == ["start a", "reload a", "stop a"]
