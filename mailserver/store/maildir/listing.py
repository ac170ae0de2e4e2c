"""Lists the directories of a Maildir without missing a message that another program renames meanwhile.

POSIX does not promise that a listing shows a file that is renamed while it runs, under either name; and a file that moves from
cur/ to new/ after new/ was read is in neither. So a listing knows whether it is complete: whether nothing can have changed
from its beginning to its end. The file system's own clock decides that, because the mtimes of directories have the same
ticks and the same offset (`locking.now`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.pieces import one_by_one

DIRECTORIES = (b"new/", b"cur/")
"""In the order of reading: a message that moves from new/ to cur/ meanwhile is seen twice, never missed."""

PREFIX = 4
"""Octets of the prefix ``new/`` or ``cur/``."""

PASSES = 200
"""Listings of directories that change all the time, before the operation fails: a few seconds."""

_DOT = ord(".")

_LEAST = 3
"""Listings without a new file that suffice when none of them is complete and no known message is missing."""

_MOST = 20
"""Listings in search of messages of an earlier session; messages in none of them are gone."""

_NO_INODE = frozenset({0, 0xFFFF_FFFF})
"""The inodes that readdir gives where it knows none; the second is FUSE's."""

Clock = Callable[[], int]
"""Answers nanoseconds by the clock of the Maildir's file system."""


class Listing(NamedTuple):
    """The regular files of new/ and cur/."""

    files: dict[bytes, int]
    """The inodes (0: unknown) by the name with its directory; the files of new/ come first."""
    skipped: int
    """The number of entries that are neither regular files nor hidden."""
    times: tuple[int, int]
    """mtimes of new/ and cur/ before the listing began, in nanoseconds."""
    began: int
    complete: bool
    """Whether no file can have been renamed, made or removed during the listing."""


def directory_times(root: bytes) -> tuple[int, int]:
    """The mtimes of new/ and cur/ in nanoseconds. Errors: NotADirectoryError, also for a symlink."""
    found = []
    for directory in DIRECTORIES:
        path = root + directory[:-1]
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))
        found.append(status.st_mtime_ns)
    return found[0], found[1]


def look(root: bytes, clock: Clock) -> Listing:
    """List the maildrop once."""
    began, before = clock(), directory_times(root)
    files: dict[bytes, int] = {}
    skipped = 0
    for directory in DIRECTORIES:
        with os.scandir(root + directory) as entries:
            for entry in one_by_one(entries):
                name = entry.name
                if name[0] == _DOT:
                    continue
                try:
                    is_message = entry.is_file(follow_symlinks=False)
                except OSError:
                    is_message = True  # its type is unknown until it is read
                if is_message:
                    inode = entry.inode()
                    files[directory + name] = 0 if inode in _NO_INODE else inode
                else:
                    skipped += 1
    return Listing(files, skipped, before, began, _undisturbed(before, directory_times(root), began, clock))


def look_until_complete(root: bytes, known: Iterable[bytes], clock: Clock) -> Listing:
    """A complete listing; if there is none, the union of several, until the files in `known` are found again."""
    listing = look(root, clock)
    if listing.complete:
        return listing
    wanted = {names.unique_part(path[PREFIX:]) for path in known}
    found, passes, news = by_identity(listing), 1, True
    while not (passes >= _LEAST and not news and wanted <= {unique for unique, _ in found}) and passes < _MOST:
        pause(passes, 0.005)  # short, since a login waits; most file systems have ticks of 4 ms
        listing = look(root, clock)
        passes += 1
        if listing.complete:
            return listing
        later = by_identity(listing)
        news = not later.keys() <= found.keys()
        found |= later
    return listing._replace(files={path: inode for (_, inode), path in found.items()} | listing.files)


def pause(passes: int, longest: float) -> None:
    """Let the file system's clock tick, in a thread."""
    time.sleep(min(0.000_5 * 2 ** min(passes, 10), longest))


def _undisturbed(before: tuple[int, int], after: tuple[int, int], began: int, clock: Clock) -> bool:
    """Whether nothing changed since `began`. A change in the same tick as `began` would not show in the times.

    A time in the future proves it, too, while it stays the same: a change would set it back.
    """
    if before != after:
        return False
    if max(after) < began:
        return True
    ended = clock()
    return all(mtime < began or mtime > ended for mtime in after)


def identity(path: bytes, inode: int) -> tuple[bytes, int]:
    """A file's identity across listings: its unique part and its inode, which is 0 where it is unknown."""
    return names.unique_part(path[PREFIX:]), inode


def by_identity(listing: Listing) -> dict[tuple[bytes, int], bytes]:
    """The path of each file, by identity."""
    return {identity(path, inode): path for path, inode in listing.files.items()}
