"""Asks what is known of a message's unique-id: the map, the last index, a former server and its list, and the message's name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import uidls
from mailserver.store.maildir.claims import Claim, Strength, claim_of, listed_as
from mailserver.store.maildir.former import Former
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.matching import List, Stems
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.recorded import Recorded
from mailserver.store.maildir.twins import Found
from mailserver.store.maildir.uidls import Entry
from mailserver.store.maildir.unique import is_ours


class Asking:
    """The lists in which the messages of a login may be; `stems` are those of all messages, `mapped` is the map."""

    def __init__(self, recorded: Recorded, mapped: List[Entry], former: Former | None, stems: Stems) -> None:
        self._mapped = mapped
        self._listed = List(recorded.listed or ())
        self._has_list = recorded.listed is not None
        self._former = former
        self._stems = stems

    def known(self, message: Found, *, doubts_index: bool) -> Claim:
        """The claim of a message that keeps what it has, and else gets what is there for a new one."""
        stem = names.base(message.path[PREFIX:])
        # The rows are of this map, unless it is in doubt; a gone twin's entry may seem to mean a message that has one.
        if doubts_index:
            has = self._of_map(message, stem) or _of_row(message)
        else:
            has = _of_row(message) or self._of_map(message, stem)
        return has or self._new(message, stem) or claim_of(Strength.NAMED, message)

    def renewed(self, message: Found) -> Claim:
        """The claim of a message that gets what the former server calls it, and else keeps what it has, but not its place."""
        stem = names.base(message.path[PREFIX:])
        new = self._new(message, stem)
        if new is not None:
            return new
        has = self._of_map(message, stem) or _of_row(message)
        if has is None:
            return claim_of(Strength.NAMED, message)
        return has._replace(message=has.message._replace(rank=0)) if self._has_list else has

    def _new(self, message: Found, stem: bytes) -> Claim | None:
        """What a message gets that is not known: by its name, by the list, or what the former server makes of its name."""
        return _given(message, stem) or self._of_list(message, stem) or self._unlisted(message, stem)

    def _of_map(self, message: Found, stem: bytes) -> Claim | None:
        return listed_as(Strength.KNOWN, message, self._mapped.find(stem, self._stems))

    def _of_list(self, message: Found, stem: bytes) -> Claim | None:
        return listed_as(Strength.LISTED, message, self._listed.find(stem, self._stems))

    def _unlisted(self, message: Found, stem: bytes) -> Claim | None:
        """What the former server would have given; but not to a file that only this server can have delivered."""
        if self._former is None or is_ours(stem):
            return None
        uidl = self._former.unlisted(message.path[PREFIX:])
        if uidl is None or not uidls.is_valid(Entry(stem, uidl, 0)):
            return None
        return _named(message, uidl)

    def others(self, decided: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The unique-ids of paths for which the lists have others, with these."""
        for entries in (self._mapped, self._listed):
            for path, uidl in one_by_one(decided.items() if entries else ()):
                entry = entries.find(names.base(path[PREFIX:]), self._stems)
                if entry is not None and entry.uidl != uidl:
                    yield uidl, entry.uidl


def _of_row(message: Found) -> Claim | None:
    return None if message.row is None else claim_of(Strength.SEEN, message)


def _given(message: Found, stem: bytes) -> Claim | None:
    uidl = names.given(stem)
    return None if uidl is None else _named(message, uidl)


def _named(message: Found, uidl: bytes) -> Claim:
    return claim_of(Strength.NAMED, message._replace(uidl=uidl, rank=0), by_field=True)
