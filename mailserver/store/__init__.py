"""The stores: where maildrops are and how they are locked. They know no protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from typing import Any, Literal, NamedTuple

from mailserver.envelope import EnvelopeHeaders
from mailserver.incoming import IKeeps
from mailserver.interfaces import IStore
from mailserver.store.deleting import EXPUNGE, Deleting
from mailserver.store.maildir.foreign import NO_FORMER, Formerly
from mailserver.store.maildir.store import MaildirStore
from mailserver.store.maildir.template import Template
from mailserver.store.memory import MemoryStore
from mailserver.store.plugins import IStoreFactory, store_factories
from mailserver.store.router import Router
from mailserver.store.share import SharedStore

__all__ = ["MaildirStore", "MemoryStore", "Router", "SharedStore", "needs_of", "open_store", "open_stores"]

Seen = Literal["never", "retr"]
IO = Literal["auto", "threads"]


@dataclass(frozen=True, slots=True)
class _Options:
    """The settings for all stores; each store uses those that it has a use for."""

    reactor: Any
    seen: Seen
    io: IO
    headers: EnvelopeHeaders
    deleting: Deleting
    formerly: Formerly


def _maildir(path: str | None, options: _Options) -> IStore:
    return MaildirStore(
        path,
        options.reactor,
        seen=options.seen,
        io=options.io,
        headers=options.headers,
        deleting=options.deleting,
        former=options.formerly.former,
        extends=options.formerly.extends,
    )


def _memory(path: str | None, options: _Options) -> IStore:
    _memory_needs(path or "")
    return MemoryStore(headers=options.headers, deleting=options.deleting)


def _maildir_needs(path: str) -> frozenset[str]:
    return Template(path).needs


def _memory_needs(path: str) -> frozenset[str]:
    if path:
        raise ValueError("the store memory: takes no path")
    return frozenset()


class _Scheme(NamedTuple):
    make: Callable[[str | None, _Options], IStore]
    """Makes the store of a configured path, or with None a store only for users' own `mail`. Errors: ValueError."""
    needs: Callable[[str], frozenset[str]]
    """Answers `IStore.needs` for a configured path without making the store. Errors: ValueError for an invalid path."""


_SCHEMES = {"maildir": _Scheme(_maildir, _maildir_needs), "memory": _Scheme(_memory, _memory_needs)}
"""Our schemes by the beginning of a store URL. A new store adds its line here; other packages' are plugins (`plugins`)."""


def _schemes() -> Mapping[str, _Scheme]:
    """All that are installed."""
    return {name: _Scheme(partial(_foreign, each), each.needs) for name, each in store_factories().items()} | _SCHEMES


def _foreign(factory: IStoreFactory, path: str | None, options: _Options) -> IStore:
    """Another package's store, which has its settings in its own place. Errors: also ValueError where it cannot delete as it should."""
    store = factory.make(path, options.reactor)
    if options.deleting != EXPUNGE and not IKeeps.providedBy(store):
        raise ValueError(f'the store {factory.scheme}: keeps nothing that is deleted: set delivery.delete = "expunge"')
    return store


def open_store(  # noqa: PLR0913 - settings by keyword, each with its default
    url: str,
    reactor: Any,
    *,
    seen: Seen = "never",
    io: IO = "auto",
    headers: EnvelopeHeaders | None = None,
    deleting: Deleting = EXPUNGE,
    formerly: Formerly = NO_FORMER,
) -> IStore:
    """The store of a URL such as ``maildir:{home}/Maildir`` or ``memory:``. Errors: ValueError, for the operator."""
    scheme, path = _split(url)
    return scheme.make(path, _Options(reactor, seen, io, headers or EnvelopeHeaders(), deleting, formerly))


def open_stores(  # noqa: PLR0913 - as above
    url: str,
    reactor: Any,
    *,
    seen: Seen = "never",
    io: IO = "auto",
    headers: EnvelopeHeaders | None = None,
    deleting: Deleting = EXPUNGE,
    formerly: Formerly = NO_FORMER,
) -> Router:
    """The store of a URL, and those of the other schemes for users whose own `mail` names one. Errors: ValueError."""
    scheme, path = _split(url)
    options = _Options(reactor, seen, io, headers or EnvelopeHeaders(), deleting, formerly)
    own = {name: partial(each.make, None, options) for name, each in _schemes().items()}
    return Router(url.partition(":")[0], scheme.make(path, options), own)


def needs_of(url: str) -> frozenset[str]:
    """`IStore.needs` of this URL's store, without making the store. Errors: ValueError, as of `open_store`."""
    scheme, path = _split(url)
    return scheme.needs(path)


def _split(url: str) -> tuple[_Scheme, str]:
    name, colon, path = url.partition(":")
    known = _SCHEMES if name in _SCHEMES else _schemes()
    if not colon or name not in known:
        near = get_close_matches(name, known, 1)
        hint = f"did you mean {near[0]}:?" if near else f"known are {', '.join(f'{each}:' for each in known)}"
        raise ValueError(f"the store {url!r} has an unknown scheme; {hint}")
    return known[name], path
