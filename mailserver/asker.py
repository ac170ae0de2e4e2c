"""The client that a question is asked for. Portals and checkers on the way to the threads do not know the client."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from mailserver.interfaces import Mind

P = ParamSpec("P")
T = TypeVar("T")

_ASKER: ContextVar[tuple[str | None, Mind | None]] = ContextVar("asker", default=(None, None))


def asked_by(key: str, mind: Mind | None, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``ask(*args, **kwargs)``; during the call `asker` answers `key`, a client's address or network, and `client` its `mind`.

    Coroutines keep both, and a callback after a `Pool`'s answer has them as well.
    """
    token = _ASKER.set((key, mind))
    try:
        return ask(*args, **kwargs)
    finally:
        _ASKER.reset(token)


def asker() -> str | None:
    """The key of the question under way; None outside `asked_by`, such as in an application with a portal of its own."""
    return _ASKER.get()[0]


def client() -> Mind | None:
    """The client whose login is under way, for checkers that tell another service of it; None where there is no login."""
    return _ASKER.get()[1]
