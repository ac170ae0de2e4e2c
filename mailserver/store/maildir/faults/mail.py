"""Faults of the messages' files: rights, sizes in names, what cannot be read, what is no message, and what is there twice."""

# Paths are octets here, which pathlib cannot hold.

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import partial
from typing import Final

from mailserver.errors import MessageGone
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.contents import Contents, open_thoroughly
from mailserver.store.maildir.faults.fault import Fault, in_the_way, is_strange, without_rights
from mailserver.store.maildir.faults.files import Files
from mailserver.store.maildir.faults.frame import strangers
from mailserver.store.maildir.files import opened, rename, shown, sync, sync_directory, unlink_if_there
from mailserver.store.maildir.index import PACKED, SEALED
from mailserver.store.maildir.listing import DIRECTORIES, PREFIX
from mailserver.store.maildir.rows import Row, Rows
from mailserver.store.maildir.twins import are_one, distinct
from mailserver.store.maildir.unique import UniqueNames

_MEND_BY_NAME: Final = "repair takes the sizes out of the name, so the file is measured"


def faults(root: bytes, files: Files, twice: Iterable[Fault] | None) -> Iterator[Fault]:
    """The faults of single files. Names keep their sizes as long as their unique parts are there `twice`: they may tell messages apart.

    None: nobody knows which are, while a login would be refused.
    """
    waiting = None if twice is None else _parts(twice)
    for path, kind in files.foreign.items():
        yield in_the_way(root, path, "foreign", f"it is {kind}, which is served to nobody")
    if strange := [path for path, status in files.messages.items() if is_strange(status)]:
        yield strangers(root, strange)
    for path, status in files.messages.items():
        yield from without_rights(root, path, status, stat.S_IRUSR)
    for path, measured in files.measured.items():
        yield from _sizes(root, path, measured, files, waiting)
        if measured.flags & PACKED and (reason := _sealed(root, path, measured)):
            yield Fault("sealed", path, reason, "see to it that the file can be unpacked, or restore it from a backup")
    for path, reason in files.unreadable.items():
        status = files.messages[path]
        if status.st_mode & stat.S_IRUSR and not is_strange(status):  # else that is told
            yield Fault("unreadable", path, f"it cannot be read: {reason}", "see that its disk is sound")


def _sizes(
    root: bytes, path: bytes, measured: Contents, files: Files, waiting: AbstractSet[bytes] | None
) -> Iterator[Fault]:
    size, octets = names.sizes(path[PREFIX:])
    wrong = []
    if size not in {None, measured.size} and not measured.flags & PACKED:  # Dovecot writes there what it unpacks to
        wrong.append(f"S={size} in its name is not its size, {measured.size}")
    if octets not in {None, measured.octets} and not (measured.flags & PACKED and measured.size == measured.octets):
        wrong.append(f"W={octets} in its name is not its size with CRLF line ends, {measured.octets}")
    part = names.unique_part(path[PREFIX:])
    if wrong and waiting is None and len(files.parts[part]) > 1:
        yield Fault("sizes", path, "; ".join(wrong), "mend first what keeps the user from logging in")
    elif wrong:
        mend = _waits if waiting and part in waiting else partial(_renamed, root, path)
        yield Fault("sizes", path, "; ".join(wrong), _MEND_BY_NAME, mend)


def _sealed(root: bytes, path: bytes, measured: Contents) -> str:
    """Why a packed message cannot be served; "": it can."""
    try:
        open_thoroughly(root + path, measured.size, measured.flags).body.close()
    except MessageGone as error:
        return str(error)
    return ""


def _renamed(root: bytes, path: bytes) -> None:
    """Take the sizes out of a name; what has that name keeps it."""
    to = path[:PREFIX] + names.without_sizes(path[PREFIX:])
    if os.path.lexists(root + path) and not os.path.lexists(root + to):
        rename(root + path, root + to)


def _waits() -> None:
    """Do nothing yet: another base could be the other message's, and the unique-id that this one would get would be another."""


def copies(root: bytes, files: Files, indexed: frozenset[int]) -> Iterator[Fault]:
    """The files that are another file's message once more. Of two, the one whose inode is `indexed` stays: its unique-id is known."""
    for paths in files.parts.values():
        if len(paths) == 1:
            continue
        for shown_as in distinct(root, paths, files.inodes):
            same = [path for path in paths if path == shown_as or are_one(root, path, shown_as, files.inodes)]
            stays = next((path for path in (shown_as, *same) if files.inodes[path] in indexed), shown_as)
            for path in same:
                if path != stays:
                    text = f"it is the same message as {shown(stays)}"
                    yield Fault("copy", path, text, "repair removes it", partial(_once, root, stays, path))


def _once(root: bytes, stays: bytes, path: bytes) -> None:
    """Remove one of two files with the same message, once the other one is durable."""
    inodes = {}
    for each in (stays, path):
        try:
            inodes[each] = os.lstat(root + each).st_ino
        except FileNotFoundError:
            return
    if are_one(root, stays, path, inodes):
        with opened(root + stays) as descriptor:
            sync(descriptor, root + stays)
        for directory in DIRECTORIES:
            sync_directory(root + directory)
        unlink_if_there(root + path)


def twins(root: bytes, files: Files, rows: Rows, copied: Iterable[Fault]) -> Iterator[Fault]:
    """Different messages with the same unique part: one keeps its name, the others get names of their own that keep their unique-ids.

    Those with a part of what is `copied` wait until it is gone: else it would become a message.
    """
    waiting = _parts(copied)
    for row in rows:
        part = names.unique_part(row.name[PREFIX:])
        if len(files.parts.get(part, ())) > 1 and part not in waiting and row.uidl != names.own_id(row.name[PREFIX:]):
            yield _twin(root, row, files.measured.get(row.name))


def _parts(faults: Iterable[Fault]) -> set[bytes]:
    return {names.unique_part(each.path[PREFIX:]) for each in faults}


def _twin(root: bytes, row: Row, measured: Contents | None) -> Fault:
    text = "another message has the unique part of its name, by which messages are told apart"
    try:
        field = names.field_for(row.uidl)
    except ValueError:
        remedy = (
            f"give it another name by hand; clients will fetch it again, since {row.uidl.decode('ascii')} fits no name"
        )
        return Fault("twin", row.name, text, remedy)
    sizes = b""
    if measured is not None and not measured.flags & (PACKED | SEALED):
        sizes = b",S=%d,W=%d" % (measured.size, measured.octets)
    remedy = "repair gives it a name of its own, with its unique-id"
    return Fault("twin", row.name, text, remedy, partial(_named, root, row, sizes + field))


def _named(root: bytes, row: Row, fields: bytes) -> None:
    """Give a message a name of its own, of the same time."""
    name = row.name[PREFIX:]
    info = name[len(names.base(name)) :]
    unique = UniqueNames().name((row.arrival + 0.5) / 1_000_000)  # half a microsecond more: divisions round down
    if os.path.lexists(root + row.name):
        rename(root + row.name, root + row.name[:PREFIX] + unique + fields + info)
