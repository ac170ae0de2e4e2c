"""Files with the same unique part: decides which of them are one message, and the unique-id of each message.

Other programs break Maildir's rule that unique parts are unique: a backup is restored beside the originals, a message is
copied from new/ to cur/, names are made by hand. Two files are one message when they have the same inode, or the same base,
size and contents; all others are messages of their own. A message keeps its unique-id, whatever files are added beside it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

from mailserver.store.body import CHUNK
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.files import open_to_read
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.rows import Row

_NEVER = 2**63
"""Later than any mtime: for a file that cannot be examined."""


class Found(NamedTuple):
    """A message in a listing."""

    path: bytes
    inode: int
    uidl: bytes
    row: Row | None
    """The message's row in the last index."""
    rank: int = 0
    """As `Row.rank`."""


def identify(root: bytes, files: Mapping[bytes, int], known: Iterable[Row]) -> Iterator[Found]:
    """The messages in these files, each with a unique-id of its own."""
    alone: dict[bytes, bytes] = {}
    groups: dict[bytes, list[bytes]] = {}
    for path in one_by_one(files):
        unique = names.unique_part(path[PREFIX:])
        first = alone.setdefault(unique, path)
        if first is not path:
            groups.setdefault(unique, [first]).append(path)
    rows = _by_unique_part(known)
    taken: set[bytes] = set()
    fresh: list[tuple[list[Found], list[bytes]]] = []
    for unique, path in alone.items():
        candidates = rows.get(unique, [])
        if unique not in groups and not _doubtful(candidates):
            row = candidates[0] if candidates else None
            uidl = names.unique_id(unique) if row is None else row.uidl
            if names.is_hash(uidl):
                taken.add(uidl)
            yield Found(path, files[path], uidl, row, 0 if row is None else row.rank)
            continue
        paths = groups.get(unique, [path])
        messages = [Found(path, files[path], b"", None) for path in distinct(root, paths, files)]
        bases = [names.base(each.path[PREFIX:]) for each in messages]
        old, new = _recognise(messages, candidates)
        taken.update(each.uidl for each in old)
        yield from old
        if new:
            fresh.append((_in_order(root, new, first=b"" if candidates else names.unique_id(unique)), bases))
    for group, bases in fresh:
        for each in group:
            named = each._replace(uidl=_distinct(root, each, taken, bases))
            taken.add(named.uidl)
            yield named


def _place(path: bytes) -> tuple[bool, bytes]:
    """Sorts the paths of a unique part: cur/ comes after new/, and no result depends on the order of a listing."""
    return path.startswith(b"cur/"), path


def same_contents(root: bytes, one: bytes, other: bytes) -> bool:
    """Whether both are regular files with the same contents; False when one cannot be read."""
    try:
        return all(a == b for a, b in zip(_chunks(root + one), _chunks(root + other), strict=True))
    except (OSError, ValueError):  # one is shorter
        return False


def _by_unique_part(known: Iterable[Row]) -> dict[bytes, list[Row]]:
    """The rows by unique part; of several those with a hash as unique-id come first."""
    rows: dict[bytes, list[Row]] = {}
    for row in known:
        same = rows.setdefault(names.unique_part(row.name[PREFIX:]), [])
        same.insert(len(same) if not names.is_hash(row.uidl) else 0, row)
    return rows


def _doubtful(rows: list[Row]) -> bool:
    """Whether a single file with the unique part of these rows may be none of them, but a twin of one."""
    return len(rows) > 1 or (len(rows) == 1 and names.is_hash(rows[0].uidl))


def distinct(root: bytes, paths: Iterable[bytes], files: Mapping[bytes, int]) -> list[bytes]:
    """The messages in these files with the same unique part, a path each. Of two names of a message the later counts: that in cur/."""
    messages: list[bytes] = []
    for path in sorted(paths, key=_place):
        for at, other in enumerate(messages):
            if are_one(root, other, path, files):
                messages[at] = path
                break
        else:
            messages.append(path)
    return messages


def are_one(root: bytes, one: bytes, other: bytes, files: Mapping[bytes, int]) -> bool:
    """Whether two files with the same unique part are one message; `files` has their inodes."""
    if files[one] and files[one] == files[other]:
        return True
    if names.base(one[PREFIX:]) != names.base(other[PREFIX:]):
        return False
    if not (files[one] and files[other]) and not os.path.lexists(root + one):
        return True  # renamed between the readings of the two directories, without inodes
    return same_contents(root, one, other)


def _recognise(messages: list[Found], rows: list[Row]) -> tuple[list[Found], list[Found]]:
    """The messages with a row, which get its unique-id; and the messages without one."""
    old: list[Found] = []
    lone = len(messages) == len(rows) == 1
    for fits in (_same_inode, _same_path, _restored if lone else _same_base):
        for message in list(messages):
            row = next((row for row in rows if fits(message, row)), None)
            if row is not None:
                messages.remove(message)
                rows = [each for each in rows if each is not row]
                old.append(message._replace(uidl=row.uidl, row=row, rank=row.rank))
    return old, messages


def _same_inode(message: Found, row: Row) -> bool:
    return bool(row.inode) and message.inode == row.inode


def _same_path(message: Found, row: Row) -> bool:
    return message.path == row.name


def _same_base(message: Found, row: Row) -> bool:
    """Used where inodes are unknown."""
    known = message.inode and row.inode
    return not known and names.base(message.path[PREFIX:]) == names.base(row.name[PREFIX:])


def _restored(message: Found, row: Row) -> bool:
    """Whether a single message and a single row belong together though the inode differs."""
    return row.uidl == names.unique_id(names.unique_part(row.name[PREFIX:])) or (
        names.base(message.path[PREFIX:]) == names.base(row.name[PREFIX:])
    )


def _in_order(root: bytes, messages: list[Found], first: bytes) -> list[Found]:
    """The order in which messages get their unique-ids; the first one gets `first`, unless that is b"".

    It depends only on facts that never change and that need no index: the file's age; the length of the base, since a
    delivery agent writes sizes that a copy may lack (the longer one comes first); the base; the contents.
    """

    def order(message: Found) -> tuple[int, int, bytes, bytes]:
        base = names.base(message.path[PREFIX:])
        return mtime(root + message.path), -len(base), base, _digest(root, message)

    if len(messages) > 1:
        messages = sorted(messages, key=order)
    return [messages[0]._replace(uidl=first), *messages[1:]]


def _distinct(root: bytes, message: Found, taken: set[bytes], bases: Sequence[bytes]) -> bytes:
    """A unique-id that no other message has; `bases` are those of all messages with the same unique part."""
    if message.uidl and message.uidl not in taken:
        return message.uidl
    base = names.base(message.path[PREFIX:])
    uidl = names.unique_id_of_base(base)
    if bases.count(base) > 1 or uidl in taken:
        uidl = names.unique_id_of_contents(base, _digest(root, message))
    while uidl in taken:  # the same contents were here before, under a restored name
        uidl = names.unique_id_of_contents(base, uidl)
    return uidl


def mtime(path: bytes) -> int:
    """The file's mtime in nanoseconds; later than any for one that cannot be examined."""
    try:
        return os.lstat(path).st_mtime_ns
    except OSError:
        return _NEVER


def _digest(root: bytes, message: Found) -> bytes:
    """The digest of the contents; of the inode, where they cannot be read."""
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
