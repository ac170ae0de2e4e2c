"""The client address that a question is asked for. Portals and checkers on the way to the threads do not know the client."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_ASKER: ContextVar[str | None] = ContextVar("asker", default=None)


def asked_by(key: str, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``ask(*args, **kwargs)``; during the call `asker` answers `key`, a client's address or network.

    Coroutines keep the key, and a callback after a `Pool`'s answer has it as well.
    """
    token = _ASKER.set(key)
    try:
        return ask(*args, **kwargs)
    finally:
        _ASKER.reset(token)


def asker() -> str | None:
    """The key of the question under way; None outside `asked_by`, such as in an application with a portal of its own."""
    return _ASKER.get()
