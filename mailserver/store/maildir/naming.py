"""Decides the unique-id of each message that a scan finds, so that no client fetches again what it has.

A message keeps what the map or the last index has for it. A new one gets, in this order, what its name gives (an import), what a
former server's list has for it, and else its unique part. No two get the same: of several claims one is served, and the others
get an id of their own. Whatever does not follow from a name alone goes into the map, before a session sees it.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Final

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import former as formers
from mailserver.store.maildir import uidls
from mailserver.store.maildir.asking import Asking
from mailserver.store.maildir.claims import Claim, Strength, decide, is_own, listed_as
from mailserver.store.maildir.entering import Entering, part_of
from mailserver.store.maildir.files import Identity, sync_directory
from mailserver.store.maildir.former import Former
from mailserver.store.maildir.index import NO_MAP, Basis
from mailserver.store.maildir.listing import PREFIX, Clock
from mailserver.store.maildir.matching import List, Stems
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.recorded import UNWRITTEN, Recorded, listed_by_now, read
from mailserver.store.maildir.rows import Rows
from mailserver.store.maildir.twins import Found
from mailserver.store.maildir.uidls import Uidls

_LONGEST: Final = 600 * 1_000_000_000
"""Nanoseconds from the reading of a list to the writing of the map: a login that measures 100,000 messages takes minutes at worst."""

_DAY: Final = 86_400 * 1_000_000_000


class Naming:
    """The decisions of one login. `basis` is what the ids of the last index were taken from."""

    def __init__(self, root: bytes, basis: Basis, former: Former | None, *, extends: bool) -> None:
        self.notes: list[str] = []
        """Notes for the operator."""
        self._root = root
        self._basis = basis
        self._former = former
        self._extends = extends
        self._mark = formers.mark(former)
        self.renames = former is not None and basis.former != self._mark
        """Whether the former server was not asked yet, or for other unique-ids."""
        self._list_time = 0
        """When the former server's list had changed, in nanoseconds, if it was read once more; 0: it was not."""
        self._entering: Entering | None = None
        """None: nothing had to be read, and the map lacks nothing."""

    @cached_property
    def there(self) -> Identity:
        """The identity of the map, as the login finds it. Only a login that lists the maildrop looks for it. Errors: OSError."""
        return uidls.there(self._root) or NO_MAP

    @property
    def doubts_all(self) -> bool:
        """Whether the rows of the last index may have other ids than they should, so that all messages are named anew."""
        return self.renames or self.there != self._basis.uidls

    @property
    def reason(self) -> str:
        """Why messages may have other unique-ids than in the last index, as in `Renewed`."""
        if self.renames:
            return "format changed"
        return "map missing" if self.there == NO_MAP else "map replaced"

    def named(self, found: Iterable[Found], known: Rows, changed: Sequence[int]) -> list[Found]:
        """The messages with their unique-ids. `found` has them with those of their rows, or of their unique parts.

        `known` are the rows of the last index, which stay as they are but at `changed`. Errors: MaildropUnavailable,
        MaildropCorrupt, OSError.
        """
        messages = list(one_by_one(found))
        if not self.doubts_all and all(map(_is_settled, one_by_one(messages))):
            return messages
        recorded = read(self._root, self.there, self._basis.uidls, self._former)
        wanted = None if self.doubts_all else {part_of(each.path) for each in one_by_one(messages)}
        mapped = List(recorded.map.entries, wanted)
        entering = self._entering = Entering(recorded, mapped)
        if self._by_names_alone(recorded, messages):
            return messages  # rows that stay have other ids: those with the unique part of a new message do not stay
        taken = set(known.uidls)
        taken.difference_update(known.uidls[at] for at in changed)
        beside = _beside(known, changed) if recorded.listed else {}
        stems = Stems([*(message.path for message in messages), *beside])
        asking = Asking(recorded, mapped, self._former, stems)
        claims = self._by_now([self._claim(asking, recorded, message) for message in one_by_one(messages)], stems)
        decided, contested = decide(self._root, claims, taken, {entry.uidl for entry in one_by_one(recorded.entries())})
        others = list(asking.others(beside | {message.path: message.uidl for message in decided}))
        entering.decided(decided, contested.union(uidl for uidl, _ in others), {other for _, other in others})
        return decided

    def written(self, rows: Rows, clock: Clock) -> tuple[Basis, bool]:
        """The basis of the ids of these rows, which are all of the maildrop, and whether the map is durable.

        It is written if it lacks something. Where that fails, a note tells it.
        """
        try:
            written = self.there if self._entering is None else self._written(self._entering, rows, clock)
        except OSError as error:
            self.notes.append(f"unique-ids cannot be made durable, and may change if the index is lost: {error}")
            return Basis(self._mark, UNWRITTEN), False
        return Basis(self._mark, written), True

    def _written(self, entering: Entering, rows: Rows, clock: Clock) -> Identity:
        recorded = entering.recorded
        if recorded.lost:
            self._set_aside()
        now = clock() if entering.needed or self._list_time else 0
        # The map is of this list: where that is quiet by now, a newer map saves the next login from reading it once more.
        settled = not recorded.asked and 0 < self._list_time < now - _LONGEST
        if entering.needed or settled:
            former = recorded.map.former if recorded.listed is None else self._mark
            return uidls.write(self._root, Uidls(former, entering.entries(self._root, rows, now // _DAY)))
        if self.there not in {NO_MAP, self._basis.uidls}:
            sync_directory(self._root)  # who wrote it may have been killed before
        return self.there

    def _set_aside(self) -> None:
        """Note the loss, and make room for a map with what the index and the former server's list have. Errors: OSError."""
        fate = "is gone"
        if self.there != NO_MAP:
            fate = f"was damaged, and is now {uidls.set_aside(self._root).decode()}"
        self.notes.append(
            f"{uidls.NAME.decode()} {fate}: a new one was written from the index, which has the same unique-ids"
        )

    def _by_names_alone(self, recorded: Recorded, messages: list[Found]) -> bool:
        """Whether no message can have another unique-id than that of its unique part."""
        if self._former is not None or recorded.map.entries or self.doubts_all:
            return False
        return not any(b",U=" in message.path or message.row is not None for message in messages)

    def _claim(self, asking: Asking, recorded: Recorded, message: Found) -> Claim:
        if self.renames and recorded.asked:
            return asking.renewed(message)
        return asking.known(message, doubts_index=self.doubts_all)

    def _by_now(self, claims: list[Claim], stems: Stems) -> list[Claim]:
        """The claims, those of new messages by the former server's list, to which they are added, or which has them by now."""
        fresh = [claim for claim in claims if is_own(claim)]
        if self._former is None or not fresh:
            return claims
        if not self._extends:
            self._list_time = self._changed_since(self._former)
            if not self._list_time:
                return claims
        fresh.sort(key=lambda claim: (names.arrival(claim.stem) or 0, claim.stem))
        files = [claim.path[PREFIX:] for claim in fresh]
        listed = List(listed_by_now(self._root, self._former, files, extends=self._extends))
        found = {
            claim.path: listed_as(Strength.LISTED, claim.message, listed.find(claim.stem, stems)) for claim in fresh
        }
        return [found.get(claim.path) or claim for claim in claims]

    def _changed_since(self, former: Former) -> int:
        """When its list changed, if it may not have been read since: it serves still, or again, and its clients know new messages by it.

        0: it has not changed. Without an index nobody knows which messages are new: those with ids of our own keep them.
        """
        if self.renames or not former.list_name:
            return 0
        try:
            changed = os.lstat(self._root + former.list_name).st_mtime_ns
        except FileNotFoundError:
            return 0
        return changed if changed >= self.there[1] - _LONGEST else 0


def _is_settled(message: Found) -> bool:
    """Whether the message has a row, whose unique-id follows from its name as it did from its last one."""
    path, _, _, row, _ = message
    if row is None:
        return False
    return (b",U=" not in path and b",U=" not in row.name) or names.given(path) == names.given(row.name)


def _beside(known: Rows, changed: Sequence[int]) -> dict[bytes, bytes]:
    """The names and unique-ids of the rows that stay as they are."""
    leaving = frozenset(changed)
    columns = zip(known.names, known.uidls, strict=True)
    return {name: uidl for at, (name, uidl) in enumerate(one_by_one(columns)) if at not in leaving}
