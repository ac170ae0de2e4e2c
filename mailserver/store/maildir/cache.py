"""A cache of parsed indexes, so that a client that polls costs neither a read nor a parse."""

from __future__ import annotations

from collections import OrderedDict

from mailserver.store.maildir.files import Identity
from mailserver.store.maildir.index import Index

_ROWS = 128 * 1024
"""Rows of all cached indexes together: about 30 MB when all of them have been listed."""

_OVERHEAD = 20
"""The cost of an index beside its rows, in rows."""


class IndexCache:
    """The indexes used last, by the maildrop's root; each is valid for one identity of the index file."""

    def __init__(self, rows: int = _ROWS) -> None:
        self._room = rows
        self._entries: OrderedDict[bytes, tuple[Identity, Index]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, root: bytes, identity: Identity) -> Index | None:
        """The index of this identity; None when it is not known."""
        entry = self._entries.get(root)
        if entry is None or entry[0] != identity:
            return None
        self._entries.move_to_end(root)
        return entry[1]

    def put(self, root: bytes, identity: Identity, index: Index) -> None:
        """Add an index, and drop the oldest ones until it fits."""
        self._drop(root)
        self._entries[root] = identity, index
        self._room -= _cost(index)
        while self._room < 0:
            self._drop(next(iter(self._entries)))

    def _drop(self, root: bytes) -> None:
        entry = self._entries.pop(root, None)
        if entry is not None:
            self._room += _cost(entry[1])


def _cost(index: Index) -> int:
    return len(index.names) + _OVERHEAD
