"""What the durable map must have: the unique-ids that names alone do not give, and those of messages that are not long gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.keeping import may_come_back
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.matching import List
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.recorded import Recorded
from mailserver.store.maildir.rows import Rows
from mailserver.store.maildir.twins import Found
from mailserver.store.maildir.uidls import Entry

_REMEMBERED: Final = 60
"""Days for which the map remembers a message that is gone: it may come back from a trash or a backup."""


class Entering:
    """Decides what is entered by a login that has read what is `recorded`; `mapped` is the map of that."""

    def __init__(self, recorded: Recorded, mapped: List[Entry]) -> None:
        self.recorded = recorded
        self._mapped = mapped
        self._by_uidl = {entry.uidl: entry for entry in one_by_one(recorded.map.entries)}
        self._contested: AbstractSet[bytes] = frozenset()
        self._overruled: AbstractSet[bytes] = frozenset()
        self._parts: AbstractSet[bytes] = frozenset()
        """The unique parts of decided messages that belong into the map."""
        self.needed = recorded.lost or recorded.listed is not None
        """Whether the map lacks something."""

    def decided(self, messages: Sequence[Found], contested: AbstractSet[bytes], overruled: AbstractSet[bytes]) -> None:
        """Take in the messages about which the login decided.

        For the `contested` ids names do not speak. The `overruled` ones are of entries whose messages have others: the map
        must not have both.
        """
        self._contested, self._overruled = contested, overruled
        self._parts = {
            part_of(path) for path, _, uidl, _, rank in one_by_one(messages) if self._belongs(path, uidl, rank)
        }
        self.needed = self.needed or any(self._lacks(message) for message in one_by_one(messages))

    def entries(self, root: bytes, rows: Rows, today: int) -> list[Entry]:
        """The map's entries: those of the rows, which are all of the maildrop, and of messages that are gone, but not for long."""
        columns = one_by_one(zip(rows.names, rows.uidls, rows.ranks, strict=True))
        there = [
            Entry(names.base(path[PREFIX:]), uidl, rank)
            for path, uidl, rank in columns
            if self._belongs(path, uidl, rank)
        ]
        gone = self._gone({*rows.uidls}, today)
        back = may_come_back(root) if any(today - entry.gone > _REMEMBERED for entry in gone) else ()
        return [*there, *(e for e in gone if today - e.gone <= _REMEMBERED or e.name in back)]

    def _gone(self, there: AbstractSet[bytes], today: int) -> Collection[Entry]:
        gone: dict[bytes, Entry] = {}
        for entry in self.recorded.entries():
            if entry.uidl not in there and entry.uidl not in self._overruled:
                gone.setdefault(entry.uidl, entry._replace(name=names.base(entry.name), gone=entry.gone or today))
        return gone.values()

    def _belongs(self, path: bytes, uidl: bytes, rank: int) -> bool:
        """Whether the map must have this message, since its name alone does not tell its unique-id and its place."""
        if rank or uidl in self._contested or uidl in self._by_uidl:
            return True
        if uidl == names.own_id(path[PREFIX:]):
            return False
        # A twin's hash does not change with the index alone, unless one of its twins is in the map.
        # With the map, the contests in which names lost their ids are lost.
        if self.recorded.lost or not names.is_hash(uidl):
            return True
        return part_of(path) in self._mapped or part_of(path) in self._parts

    def _lacks(self, message: Found) -> bool:
        """Whether the map must have the message, and has not."""
        path, _, uidl, _, rank = message
        entry = self._by_uidl.get(uidl)
        if entry is None:
            return self._belongs(path, uidl, rank)
        return names.unique_part(entry.name) != part_of(path)


def part_of(path: bytes) -> bytes:
    """The unique part of a message's name."""
    return names.unique_part(path[PREFIX:])
