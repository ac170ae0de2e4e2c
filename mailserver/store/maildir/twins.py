"""Files with one unique part: which of them are one message, and what unique-id each message has.

Other programs break Maildir's rule that unique parts are unique: a backup is restored beside what it was made of, a message is
copied from new/ to cur/, names are made by hand. Two files are one message when they are one inode, or when base, size and
contents are the same; all else are messages of their own. Whoever had a unique-id keeps it, whatever comes to lie beside it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from mailserver.store.body import CHUNK
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.files import open_to_read
from mailserver.store.maildir.index import Row
from mailserver.store.maildir.listing import PREFIX

_NEVER = 2**63
"""Later than any mtime: of a file that cannot be looked at."""


class Found(NamedTuple):
    """A message that a listing shows."""

    path: bytes
    inode: int
    uidl: bytes
    row: Row | None
    """Its row in the last index."""


def identify(root: bytes, files: Mapping[bytes, int], known: Sequence[Row]) -> list[Found]:
    """The messages that are in these files, each with a unique-id of its own."""
    alone: dict[bytes, bytes] = {}
    groups: dict[bytes, list[bytes]] = {}
    for path in files:
        unique = names.unique_part(path[PREFIX:])
        first = alone.setdefault(unique, path)
        if first is not path:
            groups.setdefault(unique, [first]).append(path)
    rows, hashed = _by_unique_part(known)
    found: list[Found] = []
    fresh: list[tuple[list[Found], list[bytes]]] = []
    for unique, path in alone.items():
        row = rows.get(unique)
        if unique not in groups and unique not in hashed:
            found.append(Found(path, files[path], names.unique_id(unique) if row is None else unique, row))
            continue
        paths = groups.get(unique, [path])
        candidates = hashed.get(unique, []) if row is None else [*hashed.get(unique, ()), row]
        messages = _messages(root, paths, files)
        bases = [names.base(each.path[PREFIX:]) for each in messages]
        old, new = _recognise(messages, candidates)
        found += old
        if new:
            fresh.append((_in_order(root, new, first=b"" if candidates else names.unique_id(unique)), bases))
    taken = {each.uidl for each in found} if fresh else set()
    for group, bases in fresh:
        for each in group:
            named = each._replace(uidl=_distinct(root, each, taken, bases))
            taken.add(named.uidl)
            found.append(named)
    return found


def same_contents(root: bytes, one: bytes, other: bytes) -> bool:
    """Whether both are regular files of the same octets; False when that cannot be read."""
    try:
        return all(a == b for a, b in zip(_chunks(root + one), _chunks(root + other), strict=True))
    except (OSError, ValueError):  # one is shorter
        return False


def _by_unique_part(known: Sequence[Row]) -> tuple[dict[bytes, Row], dict[bytes, list[Row]]]:
    """The rows whose unique-id is their unique part, by that; and those with a hash, by their unique part."""
    rows = {row.uidl: row for row in known}
    hashed: dict[bytes, list[Row]] = {}
    for row in known:
        if row.uidl.startswith(b","):
            hashed.setdefault(names.unique_part(row.name[PREFIX:]), []).append(row)
    return rows, hashed


def _messages(root: bytes, paths: Sequence[bytes], files: Mapping[bytes, int]) -> list[Found]:
    """The messages in these files of one unique part. Of two names for one, the latter counts: that in cur/."""
    messages: list[bytes] = []
    for path in paths:
        for at, other in enumerate(messages):
            if _one(root, other, path, files):
                messages[at] = path
                break
        else:
            messages.append(path)
    return [Found(path, files[path], b"", None) for path in messages]


def _one(root: bytes, one: bytes, other: bytes, files: Mapping[bytes, int]) -> bool:
    if files[one] and files[one] == files[other]:
        return True
    if names.base(one[PREFIX:]) != names.base(other[PREFIX:]):
        return False
    if not (files[one] and files[other]) and not os.path.lexists(root + one):
        return True  # it was renamed between two looks, and there is no inode to tell
    return same_contents(root, one, other)


def _recognise(messages: list[Found], rows: list[Row]) -> tuple[list[Found], list[Found]]:
    """Those that have a row, with its unique-id; and those that have none."""
    old: list[Found] = []
    lone = len(messages) == len(rows) == 1
    for fits in (_same_inode, _same_path, _restored if lone else _same_base):
        for message in list(messages):
            row = next((row for row in rows if fits(message, row)), None)
            if row is not None:
                messages.remove(message)
                rows = [each for each in rows if each is not row]
                old.append(message._replace(uidl=row.uidl, row=row))
    return old, messages


def _same_inode(message: Found, row: Row) -> bool:
    return bool(row.inode) and message.inode == row.inode


def _same_path(message: Found, row: Row) -> bool:
    return message.path == row.name


def _same_base(message: Found, row: Row) -> bool:
    """Where there is no inode to tell."""
    known = message.inode and row.inode
    return not known and names.base(message.path[PREFIX:]) == names.base(row.name[PREFIX:])


def _restored(message: Found, row: Row) -> bool:
    """Whether a message that is alone, as its row is, is that of the row, with another inode."""
    return row.uidl == names.unique_id(names.unique_part(row.name[PREFIX:])) or (
        names.base(message.path[PREFIX:]) == names.base(row.name[PREFIX:])
    )


def _in_order(root: bytes, messages: list[Found], first: bytes) -> list[Found]:
    """The order in which they are named; the `first` gets that unique-id, if there is one.

    It is by what does not change and no index keeps: the oldest file; the longer base, which has the sizes that a delivery
    agent writes and a copy may lack; the base; the contents.
    """

    def order(message: Found) -> tuple[int, int, bytes, bytes]:
        base = names.base(message.path[PREFIX:])
        return _mtime(root + message.path), -len(base), base, _digest(root, message)

    if len(messages) > 1:
        messages = sorted(messages, key=order)
    return [messages[0]._replace(uidl=first), *messages[1:]]


def _distinct(root: bytes, message: Found, taken: set[bytes], bases: Sequence[bytes]) -> bytes:
    """A unique-id that no other message has; `bases` are those of all with its unique part."""
    if message.uidl and message.uidl not in taken:
        return message.uidl
    base = names.base(message.path[PREFIX:])
    uidl = names.unique_id_of_base(base)
    if bases.count(base) > 1 or uidl in taken:
        uidl = names.unique_id_of_contents(base, _digest(root, message))
    while uidl in taken:  # its octets lay here before, under a name that somebody restored
        uidl = names.unique_id_of_contents(base, uidl)
    return uidl


def _mtime(path: bytes) -> int:
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return _NEVER


def _digest(root: bytes, message: Found) -> bytes:
    """Of the contents; of the inode, where they cannot be read."""
    digest = sha256()
    try:
        for chunk in _chunks(root + message.path):
            digest.update(chunk)
    except OSError:
        return b"inode %d" % message.inode
    return digest.digest()


def _chunks(path: bytes) -> Iterator[bytes]:
    descriptor = open_to_read(path)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a regular file")
        while chunk := os.read(descriptor, CHUNK):
            yield chunk
    finally:
        os.close(descriptor)
