"""Faults of what holds the messages: the directories, the locks, the files of this server's own, and what crashes have left."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH116

from __future__ import annotations

import os
import shlex
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from mailserver.store.maildir import envelopes, index, journal, maildirsize, making, uidls
from mailserver.store.maildir.faults.fault import Fault, in_the_way, is_strange, removed, without_rights
from mailserver.store.maildir.files import make_inside, shown, sync_directory
from mailserver.store.maildir.foreign import dotlock
from mailserver.store.maildir.holding import PURPOSES
from mailserver.store.maildir.listing import DIRECTORIES
from mailserver.store.maildir.places import KEPT, TRASH

LOCKS: Final = tuple(PURPOSES)
"""They are mended before the lock is taken: nobody can hold a lock on what is no file."""

_OWN: Final = (index.NAME, journal.NAME, envelopes.NAME, maildirsize.NAME)
"""Files that are replaced by renames, which a directory in their place would refuse. The map of unique-ids has a rule of its own."""

_TEMPORARY: Final = tuple(name + b".tmp" for name in (*_OWN[:3], uidls.NAME))

_LEFT: Final = 3600
"""Seconds after which nobody writes a temporary file any more: the longest write is that of an index of 100,000 messages."""

_USED: Final = stat.S_IRUSR | stat.S_IWUSR
_ENTERED: Final = stat.S_IRWXU


def faults(root: bytes, now: float) -> Iterator[Fault]:
    """The faults of the maildrop at `root`, which is there. `now` is in seconds of the epoch. Errors: OSError."""
    status = os.stat(root)
    if is_strange(status):
        yield strangers(root, [b""])
    yield from without_rights(root, b"", status, _ENTERED)
    for directory in (*DIRECTORIES, b"tmp/"):
        yield from _directory(root, directory)
    yield from of_locks(root)
    for name in (*_OWN, uidls.NAME):
        yield from _own(root, name)
    for place in (KEPT, TRASH[: -len(b"cur/")]):
        yield from _place(root, place)
    yield from _left(root, now)


def of_locks(root: bytes) -> Iterator[Fault]:
    """The faults of the lock files, which keep everybody out."""
    for name in LOCKS:
        yield from _own(root, name)


def strangers(root: bytes, paths: list[bytes]) -> Fault:
    """The one fault of all that belongs to others."""
    more = f"and {len(paths) - 1:,} more belong" if len(paths) > 1 else "belongs"
    text = f"{shown(root + paths[0])} {more} to another user than the one that serves, uid {os.geteuid()}"
    return Fault("owner", b"", text, f"as root: chown -R {os.geteuid()} {shlex.quote(shown(root))}")


def _directory(root: bytes, directory: bytes) -> Iterator[Fault]:
    path = directory[:-1]
    status = _status(root + path)
    if status is None:
        make = partial(_made, root, directory)
        yield Fault("directory", path, "a Maildir's directory is missing", "repair makes it, as a login would", make)
    elif stat.S_ISDIR(status.st_mode):
        yield from without_rights(root, path, status, _ENTERED)
    elif stat.S_ISLNK(status.st_mode):
        yield Fault("directory", path, "it is a link, which is not followed", "put the directory itself in its place")
    else:
        yield in_the_way(root, path, "directory", "it is no directory")


def _made(root: bytes, directory: bytes) -> None:
    make_inside(root, directory)
    sync_directory(root)


def _own(root: bytes, name: bytes) -> Iterator[Fault]:
    status = _status(root + name)
    if status is None:
        return
    if stat.S_ISREG(status.st_mode):
        yield from without_rights(root, name, status, _USED)
    elif name != uidls.NAME:
        yield in_the_way(root, name, "file", "it should be a file of this server's own, and is none")


def _place(root: bytes, place: bytes) -> Iterator[Fault]:
    path = place[:-1]
    status = _status(root + path)
    if status is None:
        return
    if stat.S_ISDIR(status.st_mode):
        yield from without_rights(root, path, status, _ENTERED)
    elif stat.S_ISLNK(status.st_mode):
        yield Fault(
            "directory", path, "it is a link, so nothing is kept there", "put the directory itself in its place"
        )
    else:
        yield in_the_way(root, path, "directory", "it is no directory, so nothing can be kept there")


def _left(root: bytes, now: float) -> Iterator[Fault]:
    """What crashes have left."""
    for name in _TEMPORARY:
        status = _status(root + name)
        if status is not None and stat.S_ISREG(status.st_mode) and now - status.st_mtime > _LEFT:
            yield Fault(
                "left", name, "a crash has left it half written", "repair removes it", partial(removed, root, name)
            )
    if (path := dotlock.stale(root, now)) is not None:
        text = "a lock of Dovecot's, whose process is gone"
        yield Fault("left", path, text, "repair removes it, as the next login would", partial(_unlocked, root))
    abandoned = 0
    with suppress(FileNotFoundError, NotADirectoryError):  # which is told
        abandoned = sum(1 for _ in making.abandoned(root, now))
    if abandoned:
        text = f"{abandoned:,} files of deliveries that died, of which nobody was told that they had come"
        remedy = "repair removes them, as a later delivery would"
        yield Fault("left", b"tmp", text, remedy, partial(making.sweep, root, whole=True))


def _unlocked(root: bytes) -> None:
    """Remove Dovecot's lock, if it is stale still: all messages have been read since."""
    if (path := dotlock.stale(root, time.time())) is not None:
        removed(root, path)


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except FileNotFoundError:
        return None
