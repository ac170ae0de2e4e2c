"""What a page is: what is asked of it, and what it answers. A page knows nothing of HTTP but that."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

PLAIN: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request for a page, by GET or HEAD."""

    accept: str = ""
    """The types that the client takes, as in its header Accept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a page says."""

    body: bytes
    type: str = PLAIN
    """As in the header Content-Type."""
    code: int = 200
    policy: str = ""
    """What the page may load or run, beside nothing: more of the header Content-Security-Policy, such as ``style-src 'sha256-...'``."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page, at one path."""

    answer: Callable[[Asked], Answer | Awaitable[Answer]]
    """Any exception is a fault: the log has it, and the client no word of it."""
    public: bool = False
    """Whether it is shown without a token, to whoever reaches the port: for probes, and nothing that only operators may know."""
