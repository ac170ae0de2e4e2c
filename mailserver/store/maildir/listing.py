"""Reading the directories of a Maildir so that no message is missed which another program renames meanwhile.

POSIX does not promise that a listing shows a file that is renamed while it runs, under either name; and one that moves from
cur/ to new/ behind our back is in neither. So a listing says whether it is complete: whether nothing can have changed from
its beginning to its end. The file system's own clock tells, because both its ticks and its offset are that of the times
which it gives to directories (`locking.now`).
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from mailserver.store.maildir import filenames as names

DIRECTORIES = (b"new/", b"cur/")
"""In the order of reading: a message that moves on from new/ to cur/ meanwhile is seen twice, never missed."""

PREFIX = 4
"""Octets of ``new/`` and ``cur/``."""

PASSES = 200
"""Listings of directories that change all the time, until the outcome is called unknown: some seconds."""

_LEAST = 3
"""Listings that show nothing which those before had not: enough, where none of them is complete and none is missed."""

_MOST = 20
"""Listings in search of messages that an earlier session knew; those that are in none of them have gone."""

_NO_INODE = frozenset({0, 0xFFFF_FFFF})
"""What readdir gives where it knows none; the latter is FUSE's."""

Clock = Callable[[], int]
"""Nanoseconds, as the file system of the Maildir counts them."""


class Listing(NamedTuple):
    """The regular files of new/ and cur/."""

    files: dict[bytes, int]
    """The inode, or 0 where the file system does not tell, by the name with its directory; those of new/ come first."""
    skipped: int
    """Entries that are neither regular files nor hidden."""
    times: tuple[int, int]
    """mtimes of new/ and cur/ before it began, in nanoseconds."""
    began: int
    complete: bool
    """Whether no file can have been renamed, made or removed meanwhile."""


def directory_times(root: bytes) -> tuple[int, int]:
    """The mtimes of new/ and cur/ in nanoseconds. Errors: NotADirectoryError, for a symlink too."""
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
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if _may_be_a_message(entry):
                    inode = entry.inode()
                    files[directory + entry.name] = 0 if inode in _NO_INODE else inode
                else:
                    skipped += 1
    return Listing(files, skipped, before, began, _undisturbed(before, directory_times(root), began, clock))


def look_until_complete(root: bytes, known: Iterable[bytes], clock: Clock) -> Listing:
    """A complete listing; or else what several show together, in search of the messages whose files were once `known`."""
    listing = look(root, clock)
    if listing.complete:
        return listing
    wanted = {names.unique_part(path[PREFIX:]) for path in known}
    found, passes, news = by_identity(listing), 1, True
    while not (passes >= _LEAST and not news and wanted <= {unique for unique, _ in found}) and passes < _MOST:
        pause(passes, 0.005)  # not for long: a login waits, and most file systems count in 4 ms
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


def _may_be_a_message(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_file(follow_symlinks=False)
    except OSError:
        return True  # one that cannot be looked at: what it is shows when it is read


def _undisturbed(before: tuple[int, int], after: tuple[int, int], began: int, clock: Clock) -> bool:
    """Whether nothing was changed since `began`. What changes in the tick of `began` would show no other time.

    A time in the future stays as well, as long as nothing changes: a change would set it back.
    """
    if before != after:
        return False
    if max(after) < began:
        return True
    ended = clock()
    return all(mtime < began or mtime > ended for mtime in after)


def identity(path: bytes, inode: int) -> tuple[bytes, int]:
    """What tells whether a file of another listing is the same: its unique part alone where there is no inode."""
    return names.unique_part(path[PREFIX:]), inode


def by_identity(listing: Listing) -> dict[tuple[bytes, int], bytes]:
    """Where each file is."""
    return {identity(path, inode): path for path, inode in listing.files.items()}
