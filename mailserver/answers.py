"""Answers that may be there at once: a Deferred for each step of a login would cost as much as the steps themselves.

A method under `prompt` is written once: it answers with a value or a Deferred, and raises its errors. Whoever calls it as cred
does gets a Deferred of all that; our own parts use `ask`, and have a value as soon as there is one. What is not under
`prompt`, such as a foreign checker, or a subclass's own method in its place, answers `ask` with a Deferred.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # `typing` has it since Python 3.13

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")
U = TypeVar("U")

Answer: TypeAlias = T | Deferred[T]

is_later: Callable[[object], TypeIs[Deferred[Any]]] = cast("Any", type.__instancecheck__).__get__(Deferred)
"""Whether an answer is a Deferred: a sixth of the time of `isinstance`, since Deferred is an abstract class to Python."""


def prompt(method: Callable[Concatenate[S, P], Answer[T]]) -> Callable[Concatenate[S, P], Deferred[T]]:
    """The method for others: its answer and its errors come in a Deferred."""

    @wraps(method)
    def deferred(self: S, /, *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
        answer: Deferred[T] = maybeDeferred(cast("Callable[..., Deferred[T]]", method), self, *args, **kwargs)
        return answer

    deferred.prompt = deferred, method  # type: ignore[attr-defined]  # a function takes any attribute
    return deferred


def ask(method: Callable[P, Deferred[T]], *args: P.args, **kwargs: P.kwargs) -> Answer[T]:
    """Call a bound method; one under `prompt` may answer at once, and then raises its errors, too."""
    deferred, own = getattr(method, "prompt", (None, None))
    if own is None or deferred is not getattr(method, "__func__", None):  # `wraps` copies attributes to any wrapper
        return maybeDeferred(method, *args, **kwargs)
    return own(method.__self__, *args, **kwargs)  # type: ignore[attr-defined, no-any-return]  # it is bound


def then(answer: Answer[T], act: Callable[..., Answer[U]], *args: Any) -> Answer[U]:
    """Call ``act(answer, *args)``: now, or when the answer comes."""
    return answer.addCallback(act, *args) if is_later(answer) else act(answer, *args)


async def awaited(answer: Answer[T]) -> T:
    """The answer in a coroutine, which goes on at once where it is there."""
    return await answer if is_later(answer) else answer


def unstoppable(work: Deferred[T]) -> Deferred[T]:
    """The same answer. A cancel does not reach `work`, which goes on though nobody waits for it."""
    answer: Deferred[T] = Deferred()
    work.addBoth(cast("Callable[[object], None]", answer.callback))  # a Failure goes to the errbacks
    return answer


def rescued(
    errors: tuple[type[Exception], ...],
    rescue: Callable[[Any], Answer[T]],
    question: Callable[..., Answer[T]],
    *args: Any,
) -> Answer[T]:
    """The answer to ``question(*args)``, or what `rescue` makes of one of the `errors`, raised now or failed with later."""
    try:
        answer = question(*args)
    except errors as error:
        return rescue(error)
    return answer.addErrback(_rescued, errors, rescue) if is_later(answer) else answer


def _rescued(failure: Failure, errors: tuple[type[Exception], ...], rescue: Callable[[Any], Any]) -> Any:
    failure.trap(*errors)
    return rescue(failure.value)
