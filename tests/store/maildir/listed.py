"""A former server whose list is a Python list, for tests of what the Maildir makes of it."""

from __future__ import annotations

from collections.abc import Sequence

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.former import Entry


class Listed:
    """It lists what it is told to; None: it has no list."""

    list_name = b"its-list"
    """Its file is only looked at; a test that lets it change makes it."""

    def __init__(self, entries: dict[str, str] | None = None, signature: bytes = b"listed") -> None:
        self.signature = signature
        self.list = entries
        self.names: dict[str, str] = {}
        """What it makes of names that are in no list."""
        self.asked = 0
        self.error: Exception | None = None

    def entries(self, _root: bytes) -> Sequence[Entry] | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if self.list is None:
            return None
        return [Entry(name.encode(), uidl.encode()) for name, uidl in self.list.items()]

    def unlisted(self, name: bytes) -> bytes | None:
        found = self.names.get(names.unique_part(name).decode())
        return None if found is None else found.encode()

    def extend(self, _root: bytes, added: Sequence[bytes]) -> Sequence[Entry]:
        if self.error is not None:
            raise self.error
        self.list = self.list or {}
        stems = [names.base(name).decode() for name in added]
        for stem in stems:
            self.list.setdefault(stem, f"uid-{len(self.list) + 1}")
        return [Entry(stem.encode(), self.list[stem].encode()) for stem in stems]
