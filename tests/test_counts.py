"""What is counted: by size, by words, and of the log."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.logger import Logger, globalLogPublisher

from mailserver.answers import ask, is_later
from mailserver.counts import (
    BAD_ANSWERS,
    ENDS,
    LATELY_SECONDS,
    MOST_EVENTS,
    QUICK,
    Answers,
    Counts,
    Spread,
    Timing,
    word_for,
)
from mailserver.errors import LoginRefused, MaildropInUse, MaildropUnavailable, TemporaryFailure
from mailserver.interfaces import User
from mailserver.net.listener import SWEEP_SECONDS, Listener


@pytest.mark.parametrize(("value", "at"), [(0, 0), (0.001, 0), (0.0011, 1), (30, len(QUICK) - 1), (30.1, len(QUICK))])
def test_a_value_is_counted_at_the_first_bound_that_it_does_not_exceed(value: float, at: int) -> None:
    spread = Spread()
    spread.add(value)
    assert [number for number, n in enumerate(spread.numbers) if n] == [at]
    assert spread.sum == value


def test_what_nobody_looks_at_takes_no_memory_after_the_sweep() -> None:
    counts = Counts()
    traffic = counts.of("pop3")
    traffic.answered(b"USER", "granted", 0.2)
    traffic.session("QUIT", 0.5)
    counts.waits.add(3.0)
    counts.asked("sql").seconds.add(0.1)
    factory = Listener("pop3", lambda _: b"", clock=(clock := Clock()))
    factory.traffic = traffic
    factory._wake()
    clock.advance(SWEEP_SECONDS)
    assert not any(spread._new for spread in (traffic.login, counts.waits, counts.asked("sql").seconds))
    assert not any((traffic._answered, traffic._ended))
    assert (sum(traffic.login.numbers), counts.waits.sum) == (1, 3.0)
    assert (traffic.logins.total(), traffic.sessions.total()) == (1, 1)


def test_each_end_has_a_word_and_a_refusal_has_one_whatever_it_says() -> None:
    assert {word_for(ended) for ended in ENDS} == set(ENDS.values())
    assert (word_for("refusal: too many failed logins"), word_for("")) == ("refusal", "other")


class Asked:
    def __init__(self) -> None:
        self.clock = Clock()
        self.answers = Answers()
        self.whom = object()
        self.timing = Timing({id(self.whom): self.answers}, self.clock.seconds)

    def ask(self, question: object) -> object:
        answer = self.timing.ask(self.whom, question)  # type: ignore[arg-type,var-annotated]
        if is_later(answer):
            answer.addErrback(lambda _: None)
        return answer


def test_the_time_of_an_answer_is_counted_when_it_comes() -> None:
    asked, later = Asked(), Deferred[str]()
    assert asked.ask(lambda: "at once") == "at once"
    asked.ask(lambda: later)
    asked.clock.advance(0.3)
    assert sum(asked.answers.seconds.numbers) == 1
    later.callback("later")
    assert (sum(asked.answers.seconds.numbers), asked.answers.seconds.sum) == (2, 0.3)


def test_what_is_not_counted_is_asked_all_the_same() -> None:
    asked = Asked()
    assert asked.timing.ask(object(), int, "5") == 5
    assert asked.answers.seconds.sum == sum(asked.answers.seconds.numbers) == 0


@pytest.mark.parametrize(
    ("error", "errors"),
    [
        (TemporaryFailure(), 1),
        (MaildropUnavailable(), 1),
        (ZeroDivisionError(), 1),
        (MaildropInUse(), 0),
        (LoginRefused("no"), 0),
    ],
)
def test_a_refusal_is_an_answer_and_no_answer_is_an_error(error: Exception, errors: int) -> None:
    asked = Asked()
    asked.ask(lambda: fail(error))
    with pytest.raises(type(error)):
        asked.ask(lambda: raising(error))
    assert asked.answers.errors == 2 * errors


def raising(error: Exception) -> None:
    raise error


def test_who_gave_up_waiting_has_no_error() -> None:
    asked, never = Asked(), Deferred[None]()
    asked.ask(lambda: never)
    never.cancel()
    assert asked.answers.errors == 0


def test_what_fails_time_and_again_is_unusable_until_it_answers_or_some_time_has_passed() -> None:
    asked, usable = Asked(), []
    for _ in range(BAD_ANSWERS):
        usable.append(asked.answers.usable(asked.clock.seconds()))
        asked.ask(lambda: fail(TemporaryFailure()))
    usable.append(asked.answers.usable(asked.clock.seconds()))
    assert usable == [True] * BAD_ANSWERS + [False]
    assert asked.answers.usable(asked.clock.seconds() + LATELY_SECONDS)
    asked.ask(lambda: None)
    assert asked.answers.usable(asked.clock.seconds())


@pytest.mark.parametrize("names", ["aaaaa", "aabab", "abc", "abacad"])
def test_one_user_s_broken_maildrop_makes_the_store_not_unusable(names: str) -> None:
    asked = Asked()
    for name in names:
        asked.timing.ask(asked.whom, ask, lambda _: fail(MaildropUnavailable()), User(name)).addErrback(lambda _: None)
    assert asked.answers.usable(asked.clock.seconds()) == (len(set(names)) < BAD_ANSWERS)


def test_what_is_unusable_is_said_without_its_name() -> None:
    counts = Counts()
    assert counts.usable(0) == ""
    counts.asked("sql").failing |= set(range(BAD_ANSWERS))
    assert counts.usable(0) == "a users' database does not answer"
    counts.store.failing |= set(range(BAD_ANSWERS))
    assert counts.usable(0) == "maildrops cannot be opened"


def test_warnings_are_counted_by_their_names_whatever_the_log_shows() -> None:
    counts, log = Counts(), Logger("test")
    before = len(globalLogPublisher._observers)
    counts.watch()
    counts.watch()  # the server of a reload
    log.info("nothing", event="service.reload")
    log.warn("something", event="tls.expiring")
    counts.watch_no_more()
    log.error("something else", event="auth.sql.down")
    log.warn("somebody else's")
    counts.watch_no_more()
    log.warn("after the end", event="tls.expiring")
    assert counts.events == {("warn", "tls.expiring"): 1, ("error", "auth.sql.down"): 1, ("warn", "other"): 1}
    assert len(globalLogPublisher._observers) == before


def test_warnings_of_another_process_are_counted_while_its_own_are() -> None:
    counts = Counts()
    counts.told([("warn", "restart.refused")])
    assert counts.events == {}
    counts.watch()
    counts.told([("warn", "restart.refused"), ("error", "worker.ended")])
    counts.watch_no_more()
    assert counts.events == {("warn", "restart.refused"): 1, ("error", "worker.ended"): 1}


def test_a_library_that_makes_up_events_does_not_fill_the_memory() -> None:
    counts, log = Counts(), Logger("test")
    counts.watch()
    for number in range(MOST_EVENTS + 50):
        log.warn("x", event=f"made.up.{number}")
    counts.watch_no_more()
    assert len(counts.events) == MOST_EVENTS + 1
    assert counts.events["warn", "other"] == 50


def test_sessions_and_logins_that_are_alike_are_counted_together_and_each_once() -> None:
    counts = Counts()
    for times in range(1, 4):
        traffic = counts.of("pop3")  # anew, as a server after a reload asks for it
        for number in (3, 3, 5):
            traffic.session("QUIT", 0.5, retrieved=number, deleted=1)
            traffic.answered(b"USER", "granted", 0.01)
        traffic.session("refusal: -ERR no", 700.0, marked=2, again=True)
        traffic.session("refusal: -ERR another", 2000.0)
        traffic.answered(b"PLAIN", "refused", 0.01)
        if times == 2:
            continue  # nobody has looked before the reload
        for _ in range(2):
            counts.settle()
            assert traffic.sessions == {"quit": 3 * times, "refusal": 2 * times}
            assert traffic.logins == {("USER", "granted"): 3 * times, ("PLAIN", "refused"): times}
            figures = traffic.retrieved, traffic.deleted, traffic.marked, traffic.again
            assert figures == (11 * times, 3 * times, 2 * times, times)
            assert (sum(traffic.seconds.numbers), traffic.seconds.sum) == (5 * times, 2701.5 * times)
            assert traffic.seconds.numbers[-1] == times
            assert (sum(traffic.login.numbers), traffic.login.numbers[3]) == (4 * times, 4 * times)


def test_many_values_are_counted_as_each_by_itself() -> None:
    values = [bound * factor for bound in QUICK for factor in (0.5, 1, 1.5, 2)]
    together = Spread()
    for value in values:
        together.add(value)
    singly = [sum(low < value <= high for value in values) for low, high in pairwise((-1, *QUICK, inf))]
    assert together.numbers == singly
    assert together.sum == pytest.approx(sum(values))
