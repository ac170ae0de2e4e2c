"""Answers at once for those who ask for them, Deferreds for all others, and nobody's own method is passed by."""

from __future__ import annotations

from functools import wraps
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, DeferredList, fail, succeed
from twisted.python.failure import Failure

from mailserver.answers import Answer, ask, is_later, prompt, rescued, then, unstoppable


class Oracle:
    """Answers what it was told."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    @prompt
    def asked(self, question: str) -> Answer[str]:
        """Answer."""
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[no-any-return]  # whatever a test gives


class Suspicious(Oracle):
    """Refuses whatever its elder would have answered."""

    def asked(self, question: str) -> Deferred[str]:
        return super().asked(question).addCallback(lambda _: "no")


class Disguised(Oracle):
    """The same, in the clothes of its elder."""

    @wraps(Oracle.asked)
    def asked(self, question: str) -> Deferred[str]:
        return super().asked(question).addCallback(lambda _: "no")


def heard(answer: Any) -> Any:
    """The result of a Deferred that has fired."""
    assert isinstance(answer, Deferred)
    found: list[Any] = []
    answer.addBoth(found.append)
    return found[0]


def test_who_asks_has_the_answer_or_the_error_at_once() -> None:
    assert ask(Oracle("yes").asked, "?") == "yes"
    assert ask(Oracle("yes").asked, question="?") == "yes"
    with pytest.raises(KeyError):
        ask(Oracle(KeyError("?")).asked, "?")


def test_what_comes_later_comes_in_a_deferred() -> None:
    later: Deferred[str] = Deferred()
    assert ask(Oracle(later).asked, "?") is later


def test_others_have_a_deferred_in_each_case() -> None:
    assert heard(Oracle("yes").asked("?")) == "yes"
    assert heard(Oracle(succeed("later")).asked("?")) == "later"
    assert heard(Oracle(KeyError("?")).asked("?")).check(KeyError)
    assert Oracle.asked.__doc__ == "Answer."


@pytest.mark.parametrize("kind", [Suspicious, Disguised])
def test_a_method_of_ones_own_is_asked_and_not_the_one_below_it(kind: type[Oracle]) -> None:
    assert heard(ask(kind("yes").asked, "?")) == "no"


def test_nor_is_one_passed_by_that_is_set_in_its_place() -> None:
    oracle: Any = Oracle("yes")
    own = oracle.asked
    oracle.asked = wraps(own)(lambda _: "no")
    assert heard(ask(oracle.asked, "?")) == "no"


def test_foreign_methods_answer_and_fail_in_a_deferred() -> None:
    assert heard(ask("abc".index, "c")) == 2
    assert heard(ask("abc".index, "d")).check(ValueError)


def test_the_next_step_is_taken_when_the_answer_is_there() -> None:
    assert then("a", "{} {}".format, "b") == "a b"
    later: Deferred[str] = Deferred()
    step = then(later, "{} {}".format, "b")
    later.callback("a")
    assert heard(step) == "a b"


def test_an_error_is_rescued_now_and_later() -> None:
    def raised(error: Exception) -> str:
        raise error

    errors = (KeyError, ValueError)
    assert rescued(errors, repr, raised, ValueError(1)) == "ValueError(1)"
    assert rescued(errors, repr, str, 1) == "1"
    with pytest.raises(TypeError):
        rescued(errors, repr, raised, TypeError(1))
    for error, outcome in ((KeyError(1), "KeyError(1)"), (None, "1")):
        later: Deferred[str] = Deferred()
        answer = rescued(errors, repr, lambda later=later: later)
        later.callback("1") if error is None else later.errback(error)
        assert heard(answer) == outcome
    later = Deferred()
    answer = rescued(errors, repr, lambda: later)
    later.errback(TypeError(1))
    assert heard(answer).check(TypeError)


def test_any_kind_of_deferred_is_later_and_nothing_else() -> None:
    assert is_later(Deferred())
    assert is_later(DeferredList([]))
    assert not any(map(is_later, (None, "", object(), Deferred)))


def test_work_that_is_unstoppable_answers_as_it_does() -> None:
    assert heard(unstoppable(succeed("yes"))) == "yes"
    assert heard(unstoppable(fail(ValueError("no")))).check(ValueError)


@pytest.mark.parametrize("outcome", ["yes", Failure(ValueError("no"))], ids=repr)
def test_work_that_is_unstoppable_goes_on_after_a_cancel(outcome: Any) -> None:
    done: list[object] = []
    work: Deferred[str] = Deferred(lambda _: done.append("stopped"))
    work.addBoth(lambda _: done.append("ended"))
    answer = unstoppable(work)
    answer.cancel()
    assert heard(answer).check(CancelledError)
    assert not done
    work.callback(outcome)
    assert done == ["ended"]
