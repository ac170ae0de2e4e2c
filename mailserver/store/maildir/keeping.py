"""What a maildrop keeps of deleted messages: brings back a session's, and removes for good what was kept for its days.

All of it under the maildrop's lock, in a thread.
"""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH208

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from mailserver.snapshot import FIRST_MAIL, MICROSECONDS
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import maildirsize
from mailserver.store.maildir.files import directory_status, make_inside, rename, sync_directory, unlink_if_there
from mailserver.store.maildir.listing import DIRECTORIES
from mailserver.store.maildir.places import KEPT, TRASH, KeptSession, kept_sessions, link

_DAY: Final = 86_400

_MOMENT: Final = 2.0
"""Seconds between two of a session's messages on their way into the trash: a thousand take less, unless the disk hangs. Two sessions of
a user that delete something are mostly further apart."""


def undelete(root: bytes, *, trash: bool = False) -> int:
    """Bring back what the last session deleted whose deletions are kept; the number of messages. Errors: OSError.

    If none are, with `trash` what was put into that last. After a crash within it the next call brings back the rest, and no
    other session; from the trash what was back already comes first, and a further call brings the rest.
    """
    session = _next(root)
    if session is None:
        return _from_trash(root) if trash else 0
    if not session.returning:
        path, session = session.path, session.coming_back()
        rename(root + path[:-1], root + session.path[:-1])
        sync_directory(root + KEPT)
    files = _files(root + session.path)
    for directory in DIRECTORIES:
        make_inside(root, directory)
    for name in files:
        link(root, session.path + name, _directory(name) + name)
    for directory in DIRECTORIES:
        sync_directory(root + directory)
    maildirsize.forget(root)  # it is counted again when it is needed
    _remove(root + session.path, files)
    sync_directory(root + KEPT)
    return len(files)


def kept(root: bytes, *, trash: bool = False) -> int:
    """The number of messages that `undelete` would bring back; it needs no lock. Errors: OSError."""
    session = _next(root)
    if session is None:
        return len(_thrown_last(root)) if trash else 0
    return len(_files(root + session.path))


def _from_trash(root: bytes) -> int:
    paths = _thrown_last(root)
    for directory in DIRECTORIES if paths else ():
        make_inside(root, directory)
    for path in paths:
        name = names.alive(path.rpartition(b"/")[2])
        link(root, path, _directory(name) + name)
    for directory in DIRECTORIES if paths else ():
        sync_directory(root + directory)
    if paths:
        maildirsize.forget(root)  # the trash does not count
    for path in paths:
        unlink_if_there(root + path)
    for directory in {path.rpartition(b"/")[0] for path in paths}:
        sync_directory(root + directory)
    return len(paths)


def _thrown_last(root: bytes) -> list[bytes]:
    """What was put into the trash last: by a session, all within moments. A file's ctime tells, which another name sets."""
    thrown = sorted(((status.st_ctime, path) for path, status in _trash(root)), reverse=True)
    last: list[bytes] = []
    before = thrown[0][0] if thrown else 0.0
    for when, path in thrown:
        if before - when > _MOMENT:
            break
        last.append(path)
        before = when
    return last


def may_come_back(root: bytes) -> frozenset[bytes]:
    """The bases of the names of all that `undelete` could bring back. Errors: OSError."""
    files = (name for session in kept_sessions(root) for name in _files(root + session.path))
    return frozenset(map(names.base, files))


def _next(root: bytes) -> KeptSession | None:
    """The session whose messages come back next. One that has kept nothing, as of messages that were gone, does not count."""
    sessions = kept_sessions(root)
    coming = next((each for each in sessions if each.returning), None)
    return coming or next((each for each in reversed(sessions) if _files(root + each.path)), None)


def tidy(root: bytes, now: float, trash_days: int, days: int | None) -> None:
    """Remove what was kept for its days at `now`, in seconds of the epoch. Errors: OSError.

    With `trash_days` also what is in the trash longer than that, or came more than `days` ago.
    """
    for session in kept_sessions(root):
        if session.is_over(now) and not session.returning:  # its user wants it back: another undelete brings the rest
            _remove(root + session.path, _files(root + session.path))
    if trash_days:
        for path, status in _trash(root):
            arrival = names.arrival(path.rpartition(b"/")[2])
            if arrival is None or arrival < FIRST_MAIL:
                arrival = int(status.st_mtime) * MICROSECONDS
            stayed = now - max(status.st_ctime, status.st_mtime)  # a rename or a second name sets the ctime
            old = days and arrival >= FIRST_MAIL and now - arrival / MICROSECONDS > days * _DAY
            if stayed > trash_days * _DAY or old:
                unlink_if_there(root + path)


def _trash(root: bytes) -> Iterator[tuple[bytes, os.stat_result]]:
    """The messages in the trash, in its cur/ and in its new/, where other programs may have put some."""
    folder = TRASH[: -len(b"cur/")]
    for place in (TRASH, folder + b"new/"):
        try:
            directory_status(root + folder)
            directory_status(root + place)
        except (FileNotFoundError, NotADirectoryError):  # a link would lead to what is nobody's trash
            continue
        for name in _files(root + place):
            try:
                status = os.lstat(root + place + name)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(status.st_mode):
                yield place + name, status


def _files(path: bytes) -> list[bytes]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith(b"."))
    except FileNotFoundError:
        return []


def _directory(name: bytes) -> bytes:
    """Where a file of this name belongs: with flags a mail program has seen it."""
    return b"new/" if names.base(name) == name else b"cur/"


def _remove(path: bytes, files: list[bytes]) -> None:
    for name in files:
        unlink_if_there(path + name)
    try:
        os.rmdir(path)  # noqa: PTH106
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}:  # a file server hides what is open in it
            raise
