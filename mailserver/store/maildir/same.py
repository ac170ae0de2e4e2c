"""Finds a listed message again after other programs have renamed it, without taking another one for it.

Neither a unique part nor an inode alone is proof: a new file can get the inode of a removed one. To read a message, a single
candidate is enough; to remove one, the file must be proven to be the listed one.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.listing import PREFIX, Clock


class Target(NamedTuple):
    """A listed file."""

    path: bytes
    inode: int
    """0 where the file system does not tell."""
    size: int
    """In octets, if the size in the name is right."""
    since: int = 0
    """A time after the listing, in nanoseconds by the file system's clock; only a removal needs it."""

    @property
    def unique(self) -> bytes:
        """The unique part, which all names of the file have in common."""
        return names.unique_part(self.path[PREFIX:])


def candidates(files: Iterable[bytes], targets: Iterable[Target]) -> dict[bytes, list[bytes]]:
    """The files with a target's unique part, by that part."""
    found: dict[bytes, list[bytes]] = {target.unique: [] for target in targets}
    for path in files:
        unique = names.unique_part(path[PREFIX:])
        if unique in found:
            found[unique].append(path)
    return found


def found_again(
    files: Mapping[bytes, int], targets: Collection[Target], others: AbstractSet[int]
) -> dict[Target, bytes]:
    """The targets' present paths, for reading. `others` are the inodes of messages that are no targets."""
    named = candidates(files, targets)
    theirs = others | {target.inode for target in targets if target.inode}
    found = {}
    for target in targets:
        paths = named[target.unique]
        same = [path for path in paths if target.inode and files[path] == target.inode]
        if not same:  # restored during the session, or no inodes: take a file that is no other message
            same = [path for path in paths if files[path] not in theirs]
        if same:
            found[target] = same[-1]
    return found


def is_proven(root: bytes, target: Target, path: bytes, files: Mapping[bytes, int], clock: Clock) -> bool:
    """Whether the file at `path`, with the target's unique part, is the target. Errors: FileNotFoundError.

    `files` is a listing in which it is.
    """
    same_inode = bool(target.inode) and files[path] == target.inode
    if same_inode and files.get(target.path, target.inode) != target.inode and path != target.path:
        return False  # another file has the old name: a restored backup has reassigned the inodes
    try:
        status = os.lstat(root + path)
    except FileNotFoundError:
        raise
    except OSError:
        return same_inode and path == target.path
    if not stat.S_ISREG(status.st_mode):
        return False
    untouched = status.st_ctime_ns < target.since
    if not same_inode:  # unstable inodes, as on FUSE: the file must not have been renamed or written since
        named = names.sizes(path)[0] == target.size  # the file's own size differs if it is packed or the name is wrong
        return path == target.path and untouched and (named or status.st_size == target.size)
    if (
        target.since < status.st_mtime_ns <= clock()
    ):  # the clock is read after lstat: a still later mtime is not that of a write
        return False  # written since: another file has the inode now
    return status.st_size == target.size or untouched  # the target's size may come from a wrong name
