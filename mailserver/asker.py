"""On whose behalf something is asked, where the questions pass through portals and checkers that know of no client."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_ASKER: ContextVar[str | None] = ContextVar("asker", default=None)


def asked_by(key: str, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Ask; whoever needs to know finds `key`, an address or its network, in `asker`, also in what is asked later for it.

    Coroutines keep it by themselves, and so does what goes on when a `Pool` has answered.
    """
    token = _ASKER.set(key)
    try:
        return ask(*args, **kwargs)
    finally:
        _ASKER.reset(token)


def asker() -> str | None:
    """Whom the question under way is for; None where nobody has said it: an application of its own may ask, too."""
    return _ASKER.get()
