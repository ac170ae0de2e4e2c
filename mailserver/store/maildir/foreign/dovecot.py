"""Maildirs that Dovecot has served: unique-ids as it shows them by POP3, and new messages in its list as it adds them."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from typing import Final

from mailserver.incoming import Given
from mailserver.store.maildir.foreign import present, uidlist
from mailserver.store.maildir.foreign.dotlock import dotlock
from mailserver.store.maildir.foreign.lists import listable, permitted, stem
from mailserver.store.maildir.foreign.uidlist import Record, Uidlist
from mailserver.store.maildir.former import Entry
from mailserver.store.maildir.pieces import one_by_one
from mailserver.uidl_format import DEFAULT, Format

_LAST: Final = 2**32 - 1
"""The place of messages without one: Dovecot's own number."""

_OF_THE_NAME: Final = frozenset({"filename", "guid"})


RENAME: Final = "rename-duplicates"
"""Our word for ``pop3_uidl_duplicates = rename``."""

REUSE: Final = "reuse-xuidl"
"""Our word for ``pop3_reuse_xuidl = yes``."""


class Dovecot:
    """As `Former`. `text` is its `pop3_uidl_format`, and words behind it for other settings of its. Errors: ValueError."""

    list_name = uidlist.NAME

    def __init__(self, text: str = DEFAULT) -> None:
        self._words: frozenset[str] = frozenset()
        self.signature = b"dovecot " + text.encode("utf-8")
        while text.rpartition(" ")[2] in {RENAME, REUSE}:
            text, _, word = text.rpartition(" ")
            self._words |= {word}
        self._format = Format(text)
        if "md5" in self._format.keys:
            raise ValueError(
                f"the format {text!r} has %m, which Dovecot has for mbox files alone: a Maildir had none of its unique-ids; "
                "for Maildirs that were mbox files, whose unique-ids are in dovecot-uidlist, use the format that doveconf shows now"
            )

    def entries(self, root: bytes) -> Sequence[Entry] | None:
        """As `Former`. First those with a place of their own in POP3's order, then by UID."""
        try:
            found = uidlist.read(root + uidlist.NAME)
        except FileNotFoundError:
            return None
        return list(self._entries(root, found, in_order(found.records)))

    def unlisted(self, name: bytes) -> bytes | None:
        """As `Former`: where the format is of the name alone."""
        if not self._format.keys <= _OF_THE_NAME:
            return None
        uidl = self._format.expand({"filename": stem(name), "guid": stem(name)})
        return uidl if permitted(uidl) else None

    def extend(self, root: bytes, names: Sequence[bytes]) -> Sequence[Entry]:
        """As `Former`; what Dovecot has listed itself meanwhile keeps the UID that it has."""
        with dotlock(root + uidlist.NAME):
            found = read_or_new(root)
            there = {record.name for record in found.records}
            wanted = dict.fromkeys(map(stem, filter(listable, names)))
            added = [
                Record(uid, name)
                for uid, name in enumerate((each for each in wanted if each not in there), found.next_uid)
            ]
            if added:
                uidlist.append(root, found, added)
        found = found._replace(records=[*found.records, *added])
        return list(self._entries(root, found, in_order(record for record in found.records if record.name in wanted)))

    def give_back(self, root: bytes, entries: Sequence[Entry], dry_run: bool) -> Given:
        """Let Dovecot show these unique-ids in this order. Under the maildrop's lock. Errors: OSError; ValueError."""
        with nullcontext() if dry_run else dotlock(root + uidlist.NAME):
            found = read_or_new(root)
            ours, lost = self._given(root, found, entries)
            if in_order(ours) != ours:
                ours = [record.with_field(b"O", b"%d" % place) for place, record in enumerate(ours, 1)]
            known = {record.name: record for record in found.records}
            entered = sum(known.get(record.name) != record for record in ours)
            if entered and not dry_run:
                known.update((record.name, record) for record in ours)
                records = sorted(known.values(), key=lambda record: record.uid)
                header = found.header or uidlist.guid()
                uidlist.write(
                    root,
                    found._replace(records=records, next_uid=max(found.next_uid, records[-1].uid + 1), header=header),
                )
        return Given(len(entries), entered, lost)

    def _given(self, root: bytes, found: Uidlist, entries: Sequence[Entry]) -> tuple[list[Record], int]:
        """Their records with these unique-ids, and how many names Dovecot ignores, or takes for one that it has already."""
        known = {record.name: record for record in found.records}
        there = present.files(root) if REUSE in self._words else {}
        ours: dict[bytes, Record] = {}
        next_uid, lost = found.next_uid, 0
        for entry in entries:
            name = stem(entry.name)
            if name in ours or not listable(entry.name):
                lost += 1
                continue
            record = known.get(name)
            if record is None:
                record = Record(next_uid, name)
                next_uid += 1
            shown = self._unique_id(found, record, there.get(name))
            ours[name] = record if shown == entry.uidl else record.with_field(b"P", entry.uidl)
        return list(ours.values()), lost

    def _unique_id(self, found: Uidlist, record: Record, path: bytes | None) -> bytes:
        """What Dovecot shows of a record of this list, if no other message has that; `path` is needed for X-UIDL."""
        own = record.field(b"P")
        if own is not None:
            return own or record.name  # P without a value: the name
        if path is not None and REUSE in self._words:
            in_header = present.x_uidl(path)
            if in_header is not None:
                return in_header
        numbers = {"uid": b"%d" % record.uid, "uidvalidity": b"%d" % found.validity}
        return self._format.expand({**numbers, "filename": record.name, "guid": record.field(b"G") or record.name})

    def _entries(self, root: bytes, found: Uidlist, records: Sequence[Record]) -> Iterable[Entry]:
        there = present.files(root) if self._words else {}
        known: Mapping[bytes, bytes] = {}
        if RENAME in self._words:  # by UID, and of those that are there
            those = (record for record in found.records if record.name in there)
            known = present.renamed({each.name: self._unique_id(found, each, there[each.name]) for each in those})
        taken = frozenset(known.values())
        for record in one_by_one(records):
            uidl = known.get(record.name) or self._unique_id(found, record, there.get(record.name))
            if permitted(uidl) and (record.name in known or uidl not in taken):
                yield Entry(record.name, uidl)


class CourierImap:
    """As `Former`, of Courier's list for IMAP, for a POP3 server that has made its unique-ids of IMAP's UIDs by `text`."""

    list_name = uidlist.COURIER_IMAP

    def __init__(self, text: str) -> None:
        self._format = Format(text)
        if not self._format.keys <= {"uid", "uidvalidity"}:
            raise ValueError(f"the format {text!r} has more than %u and %v: Courier's list for IMAP has no more")
        self.signature = b"courier-imap " + text.encode("utf-8")

    def entries(self, root: bytes) -> Sequence[Entry] | None:
        """As `Former`."""
        try:
            found = uidlist.read(root + uidlist.COURIER_IMAP)
        except FileNotFoundError:
            return None
        validity = b"%d" % found.validity
        made = (
            (record.name, self._format.expand({"uid": b"%d" % record.uid, "uidvalidity": validity}))
            for record in found.records
        )
        return [Entry(name, uidl) for name, uidl in made if permitted(uidl)]

    def unlisted(self, name: bytes) -> None:
        """None: its UIDs are in the list alone."""

    def extend(self, root: bytes, names: Sequence[bytes]) -> Sequence[Entry]:  # noqa: ARG002 - as Former
        """Nothing: `store.unique_ids` does not offer it, since Courier gives these UIDs."""
        raise ValueError("courierimapuiddb is Courier's alone")


def in_order(records: Iterable[Record]) -> list[Record]:
    """In the order in which Dovecot lists them by POP3."""
    return sorted(records, key=lambda record: (_place(record), record.uid))


def read_or_new(root: bytes) -> Uidlist:
    """The list, or the one to begin with. Under its lock. Errors: OSError; ValueError."""
    with suppress(FileNotFoundError):
        return uidlist.read(root + uidlist.NAME)
    return Uidlist(1, int(time.time()), 1, b"", [])


def _place(record: Record) -> int:
    place = record.field(b"O") or b""
    return int(place) if place.isdigit() and len(place) < len(str(2**64)) else _LAST
