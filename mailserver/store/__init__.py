"""Maildrops: where messages lie, under what lock, and in what order. It knows no protocol."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from typing import Any, Literal

from mailserver.envelope import EnvelopeHeaders
from mailserver.interfaces import IStore
from mailserver.store.maildir.store import MaildirStore
from mailserver.store.maildir.template import Template
from mailserver.store.memory import MemoryStore
from mailserver.store.share import SharedStore

__all__ = ["MaildirStore", "MemoryStore", "SharedStore", "needs_of", "open_store"]

Seen = Literal["never", "retr"]
IO = Literal["auto", "threads"]


def _maildir(path: str, reactor: Any, seen: Seen, io: IO, headers: EnvelopeHeaders) -> IStore:
    return MaildirStore(path, reactor, seen=seen, io=io, headers=headers)


def _memory(path: str, _reactor: Any, _seen: Seen, _io: IO, headers: EnvelopeHeaders) -> IStore:
    if path:
        raise ValueError("the store memory: takes no path")
    return MemoryStore(headers=headers)


_SCHEMES: dict[str, Callable[[str, Any, Seen, IO, EnvelopeHeaders], IStore]] = {"maildir": _maildir, "memory": _memory}
"""A new store adds its line here."""


def open_store(
    url: str, reactor: Any, *, seen: Seen = "never", io: IO = "auto", headers: EnvelopeHeaders | None = None
) -> IStore:
    """The store of a URL such as ``maildir:{home}/Maildir`` or ``memory:``. Errors: ValueError, for the operator."""
    scheme, path = _split(url)
    return _SCHEMES[scheme](path, reactor, seen, io, headers or EnvelopeHeaders())


def needs_of(url: str) -> frozenset[str]:
    """What the store of this URL must know of a user, as `IStore.needs` says it. Errors: ValueError, as of `open_store`."""
    scheme, path = _split(url)
    return Template(path).needs if scheme == "maildir" else frozenset()


def _split(url: str) -> tuple[str, str]:
    scheme, colon, path = url.partition(":")
    if not colon or scheme not in _SCHEMES:
        near = get_close_matches(scheme, _SCHEMES, 1)
        hint = f"did you mean {near[0]}:?" if near else f"known are {', '.join(f'{name}:' for name in _SCHEMES)}"
        raise ValueError(f"the store {url!r} has an unknown scheme; {hint}")
    return scheme, path
