"""Faults of what is written down about messages: the journal, the index, the unique-ids, the quota, and what is kept."""

# Paths are octets here, which pathlib cannot hold.

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from mailserver.incoming import effective
from mailserver.interfaces import Quota
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import index, journal, keeping, maildirsize, promise, uidls
from mailserver.store.maildir.contents import Contents
from mailserver.store.maildir.counting import count, times
from mailserver.store.maildir.faults.fault import Fault, in_the_way, removed
from mailserver.store.maildir.faults.files import Files
from mailserver.store.maildir.files import read_whole, sync_directory
from mailserver.store.maildir.index import CLAIMED, DISTRUSTED, NO_MAP, PACKED, SEALED, WIRE, Index
from mailserver.store.maildir.listing import PREFIX, Clock, directory_times
from mailserver.store.maildir.places import kept_sessions
from mailserver.store.maildir.recorded import UNWRITTEN
from mailserver.store.maildir.rows import Row

BUSY: Final = frozenset({"journal", "index", "quota", "undelete"})
"""The kinds of faults that a session at its end, or an undelete, only seems to make."""

_MEASURED: Final = WIRE | PACKED | SEALED


def faults(root: bytes, files: Files, clock: Clock, quota: Quota | None = None) -> Iterator[Fault]:
    """All of them; `quota` is the user's. Errors: OSError."""
    data = _read(root + index.NAME)
    found = None if data is None else index.decode(data)
    yield from _journal(root, data or b"", clock)
    if data is not None:
        yield from _index(root, data, found, files)
    yield from _uidls(root, found)
    if effective(quota) is not None or os.path.lexists(root + maildirsize.NAME):
        yield from _quota(root)
    if any(session.returning for session in kept_sessions(root)):
        text = "an undelete was interrupted"
        yield Fault(
            "undelete", b"mailserver-kept", text, "repair brings the rest back", partial(keeping.undelete, root)
        )


def _read(path: bytes) -> bytes | None:
    """The contents of a file of our own; None where there is none, or nothing that is one."""
    try:
        return read_whole(path)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.EACCES, errno.EISDIR}:
            return None
        raise


def _journal(root: bytes, index_data: bytes, clock: Clock) -> Iterator[Fault]:
    data = _read(root + journal.NAME)
    where = journal.NAME
    if data is None:
        if not index_data.startswith(promise.MAGIC):
            return
        data, where = index_data.partition(b"\0\0")[0], index.NAME
    recover = partial(journal.recover, root, clock)
    kind = promise.kind(data)
    if kind is promise.Kind.OURS:
        text = "a crash has interrupted deletions that a QUIT has promised"
        yield Fault("journal", where, text, "repair finishes them, as the next login would", recover)
    elif where == index.NAME:
        yield _lost(root)  # half a promise is none
    elif kind is promise.Kind.CORRUPT:
        yield Fault("journal", where, "it is damaged", "repair sets it aside; what it promised is not deleted", recover)
    else:
        text = "another version of this server has promised deletions, and nobody can log in"
        yield Fault("journal", where, text, "log in by that version, or remove the file to keep the messages")


def _lost(root: bytes) -> Fault:
    return Fault(
        "index",
        index.NAME,
        "it is damaged",
        "repair writes a new one, as the next login would",
        partial(removed, root, index.NAME),
    )


def _index(root: bytes, data: bytes, found: Index | None, files: Files) -> Iterator[Fault]:
    if found is None:
        if index.is_damaged(data) and not data.startswith(promise.MAGIC):
            yield _lost(root)
        return
    wrong = [row for row in found.rows if _is_wrong(row, files)]
    again = partial(_again, root)
    remedy = "repair measures all messages, whose unique-ids stay"
    if wrong:
        text = f"sizes of {len(wrong):,} messages in it are not those of their files"
        yield Fault("index", index.NAME, text, remedy, again)
    elif found[:2] == files.times == directory_times(root) and not _agrees(found, files):
        text = "it says that nothing has changed, and has not the files that are there"
        yield Fault("index", index.NAME, text, remedy, again)


def _is_wrong(row: Row, files: Files) -> bool:
    path = row.name if files.inodes.get(row.name) == row.inode or not row.inode else files.by_inode.get(row.inode, b"")
    found = files.measured.get(path)
    if (
        found is None
        or row.flags & DISTRUSTED
        or names.unique_part(path[PREFIX:]) != names.unique_part(row.name[PREFIX:])
    ):
        return False
    if row.flags & CLAIMED:
        return not _is_claimed_well(row, found)
    return (row.size, row.octets, row.flags & _MEASURED) != found


def _is_claimed_well(row: Row, found: Contents) -> bool:
    """Whether what a name claims is so; of what is packed it claims the sizes that it unpacks to."""
    if found.flags & PACKED:
        return found.octets in {found.size, row.octets}
    return (row.size, row.octets) == (found.size, found.octets)


def _agrees(found: Index, files: Files) -> bool:
    return (
        all(files.inodes.get(name) == inode or not inode for name, inode in zip(found.names, found.inodes, strict=True))
        and {*found.names} <= {*files.messages}
        and len({*found.inodes}) == len({*files.inodes.values()})
    )


def _again(root: bytes) -> None:
    """Let the next login list and measure everything; the unique-ids stay."""
    data = _read(root + index.NAME)
    if data is not None and index.decode(data) is not None:
        index.write(root, index.distrusted(data), durable=True)  # twins may have their unique-ids of it alone
        sync_directory(root)


def _uidls(root: bytes, found: Index | None) -> Iterator[Fault]:
    """The map of unique-ids, which the index has, too, where it was written with the map."""
    indexed = found is not None and found.basis.uidls not in {NO_MAP, UNWRITTEN}
    text = ""
    try:
        there = uidls.read(root)
        if there is None and indexed:
            text = "the map of unique-ids is gone"
    except uidls.Damaged:
        text = "the map of unique-ids is damaged"
    except uidls.Foreign:
        remedy = "use the newer version of this program that has written it"
        yield Fault("unique-ids", uidls.NAME, "the map of unique-ids is of a newer version", remedy)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM}:
            return  # its rights are told
        if indexed:
            yield in_the_way(root, uidls.NAME, "unique-ids", "the map of unique-ids cannot be read")
            return
        text = f"the map of unique-ids cannot be read: {error.strerror}"
    if text and indexed:
        again: Callable[[], object] = partial(_again, root)
        yield Fault("unique-ids", uidls.NAME, text, "repair writes it anew from the index, which has the same", again)
    elif text:
        remedy = "restore it from a backup; or remove it: clients then fetch again what they left on the former server"
        yield Fault("unique-ids", uidls.NAME, text, remedy)


def _quota(root: bytes) -> Iterator[Fault]:
    try:
        there, before = count(root)
    except OSError as error:
        path = os.fsencode(error.filename or "").removeprefix(root).rstrip(b"/")
        text = f"the quota counts this folder, and it cannot be read: {error.strerror}"
        yield Fault("quota", path, text, "let the user that serves read it, or put it elsewhere")
        return
    try:
        status = os.lstat(root + maildirsize.NAME)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode):
        return  # which is told
    stated = maildirsize.stated(root)
    if stated is None:
        text = "it cannot be used" if status.st_size < maildirsize.LONG else ""
    else:
        if stated != there and (times(root) != before or maildirsize.stated(root) != stated):
            return  # mail comes or goes: only where nothing does, the two can be compared
        text = (
            ""
            if stated == there
            else (
                f"it counts {stated.messages:,} messages of {stated.octets:,} octets, and there are {there.messages:,} of {there.octets:,}"
            )
        )
    if text:
        forget = partial(_forgotten, root)
        yield Fault("quota", maildirsize.NAME, text, "repair removes it, and it is counted anew", forget)


def _forgotten(root: bytes) -> None:
    maildirsize.forget(root)
    sync_directory(root)
