"""Decides the unique-id of each message that a scan finds, so that no client fetches again what it has.

A message keeps what the map or the last index has for it. A new one gets, in this order, what its name gives (an import), what a
former server's list has for it, and else its unique part. No two get the same: of several claims one is served, and the others
get an id of their own. Whatever does not follow from a name alone goes into the map, before a session sees it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Final

from mailserver.errors import MaildropCorrupt, MaildropUnavailable
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import former as formers
from mailserver.store.maildir import uidls
from mailserver.store.maildir.claims import Claim, Strength, claim_of, decide, is_own, listed_as
from mailserver.store.maildir.files import Identity, shown, sync_directory
from mailserver.store.maildir.former import Former
from mailserver.store.maildir.index import NO_MAP, Basis
from mailserver.store.maildir.keeping import may_come_back
from mailserver.store.maildir.listing import PREFIX, Clock
from mailserver.store.maildir.matching import List, Stems
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.rows import Rows
from mailserver.store.maildir.twins import Found
from mailserver.store.maildir.uidls import Entry, Uidls
from mailserver.store.maildir.unique import is_ours

_UNWRITTEN: Final[Identity] = (1, 0, 0)
"""The identity, which no file has, of a map that could not be written: the next login that lists the maildrop tries again."""

_LONGEST: Final = 600 * 1_000_000_000
"""Nanoseconds from the reading of a list to the writing of the map: a login that measures 100,000 messages takes minutes at worst."""

_DAY: Final = 86_400 * 1_000_000_000

_REMEMBERED: Final = 60
"""Days for which the map remembers a message that is gone: it may come back from a trash or a backup."""


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
        self.there = uidls.there(root) or NO_MAP
        """The identity of the map, when the login found it."""
        self.renames = former is not None and basis.former != self._mark
        """Whether the former server was not asked yet, or for other unique-ids."""
        self.doubts_all = self.renames or self.there != basis.uidls
        """Whether the rows of the last index may have other ids than they should, so that all messages are named anew."""
        self._map = Uidls(bytes(16), [])
        self._entries: List[Entry] = List(())
        self._recorded: dict[bytes, Entry] = {}
        self._listed: List[Entry] = List(())
        self._list: list[Entry] | None = None
        self._contested: set[bytes] = set()
        self._overruled: set[bytes] = set()
        self._mapped: set[bytes] = set()
        """The unique parts of messages that the map must have."""
        self._must_write = self._lost = False

    def named(self, found: Iterable[Found], known: Rows, changed: Sequence[int]) -> list[Found]:
        """The messages with their unique-ids. `found` has them with those of their rows, or of their unique parts.

        `known` are the rows of the last index, which stay as they are but at `changed`. Errors: MaildropUnavailable,
        MaildropCorrupt, OSError.
        """
        messages = list(one_by_one(found))
        if not self.doubts_all and all(map(_is_settled, one_by_one(messages))):
            return messages
        self._load(None if self.doubts_all else {_part(each.path) for each in one_by_one(messages)})
        if self._by_names_alone(messages):
            return messages  # rows that stay have other ids: those with the unique part of a new message do not stay
        taken = set(known.uidls)
        taken.difference_update(known.uidls[at] for at in changed)
        beside = _beside(known, changed) if self._list else {}
        stems = Stems([*(message.path for message in messages), *beside])
        claims = self._extended([self._claim(message, stems) for message in one_by_one(messages)])
        reserved = {*self._recorded, *(entry.uidl for entry in self._list or ())}
        decided, contested = decide(self._root, claims, taken, reserved)
        self._contested |= contested
        self._overrule(beside | {message.path: message.uidl for message in decided}, stems)
        self._mapped.update(
            _part(path) for path, _, uidl, _, rank in one_by_one(decided) if self._belongs(path, uidl, rank)
        )
        self._must_write |= any(self._lacks(message) for message in one_by_one(decided))
        return decided

    @property
    def reason(self) -> str:
        """Why messages may have other unique-ids than in the last index, as in `Renewed`."""
        if self.renames:
            return "format changed"
        return "map missing" if self.there == NO_MAP else "map replaced"

    def written(self, rows: Rows, clock: Clock) -> tuple[Basis, bool]:
        """The basis of the ids of these rows, which are all of the maildrop, and whether the map is durable.

        It is written if it lacks something. Where that fails, a note tells it.
        """
        written = self.there
        former = self._map.former if self._list is None else self._mark
        try:
            if self._lost:
                self._set_aside()
            if self._must_write:
                written = uidls.write(self._root, Uidls(former, self._contents(rows, clock() // _DAY)))
            elif written not in {NO_MAP, self._basis.uidls}:
                sync_directory(self._root)  # who wrote it may have been killed before
        except OSError as error:
            self.notes.append(f"unique-ids cannot be made durable, and may change if the index is lost: {error}")
            return Basis(self._mark, _UNWRITTEN), False
        return Basis(self._mark, written), True

    # What is known.

    def _load(self, wanted: Container[bytes] | None) -> None:
        """Read the map, and the list if it was not read yet, for the messages with the `wanted` unique parts; None: all."""
        lost = self._read()
        if self._former is not None and self._map.former != self._mark:
            self._ask(self._former)
        if lost and self._basis.uidls == NO_MAP and self._list is None:
            raise MaildropCorrupt(
                f"{shown(self._root)}{uidls.NAME.decode()} is damaged, and there is no index that has its unique-ids: restore it from a "
                "backup, or remove it, and then clients fetch again what they left on the old server"
            )
        self._lost = lost
        self._must_write |= lost
        self._entries = List(self._map.entries, wanted)
        self._recorded = {entry.uidl: entry for entry in one_by_one(self._map.entries)}

    def _read(self) -> bool:
        """Read the map; answers whether it is lost, though there was one."""
        try:
            found = None if self.there == NO_MAP else uidls.read(self._root)
        except uidls.Foreign:
            raise MaildropUnavailable(
                f"{shown(self._root)}{uidls.NAME.decode()} was written by a newer version of this program, which knows its unique-ids: use that"
            ) from None
        except uidls.Damaged:
            return True
        if found is None:
            return self._basis.uidls not in {NO_MAP, _UNWRITTEN}
        self._map = found
        return False

    def _set_aside(self) -> None:
        """Note the loss, and make room for a map with what the index and the former server's list have. Errors: OSError."""
        fate = "is gone"
        if self.there != NO_MAP:
            fate = f"was damaged, and is now {uidls.set_aside(self._root).decode()}"
        self.notes.append(
            f"{uidls.NAME.decode()} {fate}: a new one was written from the index, which has the same unique-ids"
        )

    def _ask(self, former: Former) -> None:
        """Read the former server's list."""
        try:
            listed = former.entries(self._root)
        except ValueError as error:
            raise MaildropUnavailable(
                f"{shown(self._root)}: the list of the former server cannot be used: {error}"
            ) from error
        if listed is None:
            return
        self._must_write = True
        entries = (Entry(each.name, each.uidl, rank) for rank, each in enumerate(one_by_one(listed), 1))
        self._list = list(filter(uidls.is_valid, entries))
        self._listed = List(self._list)

    @property
    def _renews(self) -> bool:
        """Whether the former server's ids are new to the maildrop, and go before those that it has."""
        return self.renames and self._map.former != self._mark

    def _by_names_alone(self, messages: list[Found]) -> bool:
        """Whether no message can have another unique-id than that of its unique part."""
        if self._former is not None or self._map.entries or self.doubts_all:
            return False
        return not any(b",U=" in message.path or message.row is not None for message in messages)

    # Claims.

    def _claim(self, message: Found, stems: Stems) -> Claim:
        stem = names.base(message.path[PREFIX:])
        order: tuple[Callable[[Found, bytes, Stems], Claim | None], ...]
        if self._renews:
            order = self._given, self._of_list, self._of_none, self._of_map, self._of_row
        else:
            # The rows are of this map; a gone twin's entry may seem to mean a message that has one.
            known = (self._of_map, self._of_row) if self.doubts_all else (self._of_row, self._of_map)
            order = *known, self._given, self._of_list, self._of_none
        for find in order:
            claim = find(message, stem, stems)
            if claim is not None:
                return claim._replace(message=claim.message._replace(rank=0)) if self._outranked(claim) else claim
        return claim_of(Strength.NAMED, message)

    def _outranked(self, claim: Claim) -> bool:
        """Whether the message had its place by another list than the one that was read now."""
        return self._renews and self._list is not None and claim.strength <= Strength.KNOWN

    def _of_map(self, message: Found, stem: bytes, stems: Stems) -> Claim | None:
        return listed_as(Strength.KNOWN, message, self._entries.find(stem, stems))

    def _of_list(self, message: Found, stem: bytes, stems: Stems) -> Claim | None:
        return listed_as(Strength.LISTED, message, self._listed.find(stem, stems))

    def _of_row(self, message: Found, _stem: bytes, _stems: Stems) -> Claim | None:
        return None if message.row is None else claim_of(Strength.SEEN, message)

    def _given(self, message: Found, stem: bytes, _: Stems) -> Claim | None:
        uidl = names.given(stem)
        return None if uidl is None else claim_of(Strength.NAMED, message._replace(uidl=uidl, rank=0), by_field=True)

    def _of_none(self, message: Found, stem: bytes, _: Stems) -> Claim | None:
        """What the former server would have given; but not to a file that only this server can have delivered."""
        if self._former is None or is_ours(stem):
            return None
        uidl = self._former.unlisted(message.path[PREFIX:])
        if uidl is None or not uidls.is_valid(Entry(stem, uidl, 0)):
            return None
        return claim_of(Strength.NAMED, message._replace(uidl=uidl, rank=0), by_field=True)

    def _extended(self, claims: list[Claim]) -> list[Claim]:
        """The claims, those of new messages by the former server's list, to which they are added, or which has them by now."""
        fresh = [claim for claim in claims if is_own(claim)]
        if self._former is None or not fresh or not (self._extends or self._goes_on(self._former)):
            return claims
        fresh.sort(key=lambda claim: (names.arrival(claim.stem) or 0, claim.stem))
        try:
            if self._extends:
                added = self._former.extend(self._root, [claim.path[PREFIX:] for claim in fresh])
            else:
                added = self._former.entries(self._root) or ()
        except ValueError as error:
            raise MaildropUnavailable(
                f"{shown(self._root)}: the list of the former server cannot be used: {error}"
            ) from error
        # No rank: they come after all that the list had, by arrival, as messages do that it does not get.
        listed = List(list(filter(uidls.is_valid, (Entry(each.name, each.uidl, 0) for each in added))))
        stems = Stems([claim.path for claim in fresh])
        found = {
            claim.path: listed_as(Strength.LISTED, claim.message, listed.find(claim.stem, stems)) for claim in fresh
        }
        return [found.get(claim.path) or claim for claim in claims]

    def _goes_on(self, former: Former) -> bool:
        """Whether its list may have changed since it was read: it serves still, or again, and its clients know new messages by it.

        Without an index nobody knows which messages are new: those with ids of our own keep them.
        """
        if self.renames or not former.list_name:
            return False
        try:
            return os.lstat(self._root + former.list_name).st_mtime_ns >= self.there[1] - _LONGEST
        except FileNotFoundError:
            return False

    # Decisions.

    def _overrule(self, decided: dict[bytes, bytes], stems: Stems) -> None:
        """Find the entries of messages that have another id than these say: the map must not have both."""
        for entries in (self._entries, self._listed):
            for path, uidl in one_by_one(decided.items() if entries else ()):
                entry = entries.find(names.base(path[PREFIX:]), stems)
                if entry is not None and entry.uidl != uidl:
                    self._overruled.add(entry.uidl)
                    self._contested.add(uidl)

    def _belongs(self, path: bytes, uidl: bytes, rank: int) -> bool:
        """Whether the map must have this message, since its name alone does not tell its unique-id and its place."""
        if rank or uidl in self._contested or uidl in self._recorded:
            return True
        if uidl == names.own_id(path[PREFIX:]):
            return False
        # A twin's hash does not change with the index alone, unless one of its twins is in the map.
        # With the map, the contests in which names lost their ids are lost.
        if self._lost or not names.is_hash(uidl):
            return True
        return _part(path) in self._entries or _part(path) in self._mapped

    def _lacks(self, message: Found) -> bool:
        """Whether the map must have the message, and has not."""
        path, _, uidl, _, rank = message
        entry = self._recorded.get(uidl)
        if entry is None:
            return self._belongs(path, uidl, rank)
        return names.unique_part(entry.name) != _part(path)

    def _contents(self, rows: Rows, today: int) -> list[Entry]:
        """The map's entries: the messages that are there, and those that are gone, but not for long."""
        columns = one_by_one(zip(rows.names, rows.uidls, rows.ranks, strict=True))
        there = [
            Entry(names.base(path[PREFIX:]), uidl, rank)
            for path, uidl, rank in columns
            if self._belongs(path, uidl, rank)
        ]
        known = {*rows.uidls}
        gone: dict[bytes, Entry] = {}
        for entry in (*self._map.entries, *(self._list or ())):
            if entry.uidl not in known and entry.uidl not in self._overruled:
                gone.setdefault(entry.uidl, entry._replace(name=names.base(entry.name), gone=entry.gone or today))
        back = may_come_back(self._root) if any(today - entry.gone > _REMEMBERED for entry in gone.values()) else ()
        return [*there, *(e for e in gone.values() if today - e.gone <= _REMEMBERED or e.name in back)]


def _part(path: bytes) -> bytes:
    return names.unique_part(path[PREFIX:])


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
