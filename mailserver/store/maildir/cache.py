"""A cache of parsed indexes, so that a client that polls costs neither a read nor a parse.

An account of many users has its envelopes beside its index, as long as this very index is there: they are of its messages.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from mailserver.store.envelopes import Envelopes
from mailserver.store.maildir.files import Identity
from mailserver.store.maildir.index import Index

_ROWS = 128 * 1024
"""Rows of all cached indexes together: about 30 MB when all of them have been listed."""

_OVERHEAD = 20
"""The cost of an index beside its rows, in rows."""


class Kept(NamedTuple):
    """An index, and the identity of its file."""

    identity: Identity
    found: Index


class _Entry:
    __slots__ = ("envelopes", "identity", "index")

    def __init__(self, identity: Identity, index: Index) -> None:
        self.identity = identity
        self.index = index
        self.envelopes: Envelopes | None = None


class IndexCache:
    """The indexes used last, by the maildrop's root; each is valid for one identity of the index file."""

    def __init__(self, rows: int = _ROWS) -> None:
        self._room = rows
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, root: bytes, identity: Identity) -> Index | None:
        """The index of this identity; None when it is not known."""
        entry = self._entries.get(root)
        if entry is None or entry.identity != identity:
            return None
        self._entries.move_to_end(root)
        return entry.index

    def kept(self, root: bytes) -> Kept | None:
        """The last index of this maildrop, which its file may no longer hold."""
        entry = self._entries.get(root)
        return None if entry is None else Kept(entry.identity, entry.index)

    def put(self, root: bytes, identity: Identity, index: Index) -> None:
        """Add an index, and drop the oldest ones until it fits."""
        self._drop(root)
        self._entries[root] = _Entry(identity, index)
        self._room -= _cost(index)
        while self._room < 0:
            self._drop(next(iter(self._entries)))

    def envelopes(self, root: bytes, index: Index) -> Envelopes | None:
        """The envelopes of the messages of this very index; None when they are not kept."""
        entry = self._entries.get(root)
        return None if entry is None or entry.index is not index else entry.envelopes

    def keep_envelopes(self, root: bytes, index: Index, envelopes: Envelopes) -> None:
        """Keep the envelopes of an index's messages beside it, if it is still the one that is kept."""
        entry = self._entries.get(root)
        if entry is not None and entry.index is index:
            entry.envelopes = envelopes

    def _drop(self, root: bytes) -> None:
        entry = self._entries.pop(root, None)
        if entry is not None:
            self._room += _cost(entry.index)


def _cost(index: Index) -> int:
    return len(index.names) + _OVERHEAD
