"""What is recorded of a maildrop's unique-ids: the durable map, and a former server's list which that does not have yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Final, NamedTuple

from mailserver.errors import MaildropCorrupt, MaildropUnavailable
from mailserver.store.maildir import former as formers
from mailserver.store.maildir import uidls
from mailserver.store.maildir.files import Identity, shown
from mailserver.store.maildir.former import Former
from mailserver.store.maildir.index import NO_MAP
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.uidls import Entry, Uidls

UNWRITTEN: Final[Identity] = (1, 0, 0)
"""The identity, which no file has, of a map that could not be written: the next login that lists the maildrop tries again."""


class Recorded(NamedTuple):
    """What a login has read."""

    map: Uidls
    """Without entries: there is none, or it is lost."""
    lost: bool
    """Whether there was a map, whose unique-ids the last index, or the list, has as well."""
    asked: bool
    """Whether the former server was asked, since the map is not made of its list."""
    listed: Sequence[Entry] | None
    """Its list, with ranks; None: it was not asked, or has none yet."""

    def entries(self) -> Iterator[Entry]:
        """All that is recorded: the map goes before the list."""
        return chain(self.map.entries, self.listed or ())


def read(root: bytes, there: Identity, indexed: Identity, former: Former | None) -> Recorded:
    """Read the map that is `there`, and ask the former server if it was not asked for this map.

    `indexed` is the map of the last index. Errors: MaildropUnavailable, MaildropCorrupt, OSError.
    """
    found = _map(root, there, indexed)
    lost, found = found is None, found or Uidls(bytes(16), [])
    asked = former is not None and found.former != formers.mark(former)
    listed = _listed(root, former) if asked and former is not None else None
    if lost and indexed == NO_MAP and listed is None:
        raise MaildropCorrupt(
            f"{_shown(root)} is damaged, and there is no index that has its unique-ids: restore it from a "
            "backup, or remove it, and then clients fetch again what they left on the old server"
        )
    return Recorded(found, lost, asked, listed)


def listed_by_now(root: bytes, former: Former, fresh: Iterable[bytes], *, extends: bool) -> Sequence[Entry]:
    """The entries that the former server's list has by now; if it `extends`, those of the `fresh` files, which are added to it.

    They have no rank: such messages come after all that the list had at first, by arrival, as those do that it does not get.
    Errors: MaildropUnavailable, OSError.
    """
    with _usable(root):
        found = former.extend(root, list(fresh)) if extends else former.entries(root)
    return list(filter(uidls.is_valid, (Entry(each.name, each.uidl, 0) for each in found or ())))


def _map(root: bytes, there: Identity, indexed: Identity) -> Uidls | None:
    """The map, which may have nothing; None: it is lost, though there was one."""
    try:
        found = None if there == NO_MAP else uidls.read(root)
    except uidls.Foreign:
        raise MaildropUnavailable(
            f"{_shown(root)} was written by a newer version of this program, which knows its unique-ids: use that"
        ) from None
    except uidls.Damaged:
        return None
    return Uidls(bytes(16), []) if found is None and indexed in {NO_MAP, UNWRITTEN} else found


def _listed(root: bytes, former: Former) -> list[Entry] | None:
    with _usable(root):
        found = former.entries(root)
    if found is None:
        return None
    entries = (Entry(each.name, each.uidl, rank) for rank, each in enumerate(one_by_one(found), 1))
    return list(filter(uidls.is_valid, entries))


@contextmanager
def _usable(root: bytes) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise MaildropUnavailable(f"{shown(root)}: the list of the former server cannot be used: {error}") from error


def _shown(root: bytes) -> str:
    return f"{shown(root)}{uidls.NAME.decode()}"
