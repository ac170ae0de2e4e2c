"""Finding a listed message again, wherever other programs moved it, and taking no other one for it.

A unique part alone proves nothing, nor does an inode, which the next file gets when this one has gone. To be read, the one
file that can be meant is good enough; to be removed, it must be proven to be the file that was listed.
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
    """A file as it was listed."""

    path: bytes
    inode: int
    """0 where the file system does not tell."""
    size: int
    """In octets, if the name did not lie."""
    since: int = 0
    """When it had been listed, in nanoseconds of the file system's clock; for those who are to remove it."""

    @property
    def unique(self) -> bytes:
        """What every name of it has in common."""
        return names.unique_part(self.path[PREFIX:])


def candidates(files: Iterable[bytes], targets: Iterable[Target]) -> dict[bytes, list[bytes]]:
    """The files that have the unique part of a target, by that."""
    found: dict[bytes, list[bytes]] = {target.unique: [] for target in targets}
    for path in files:
        unique = names.unique_part(path[PREFIX:])
        if unique in found:
            found[unique].append(path)
    return found


def found_again(
    files: Mapping[bytes, int], targets: Collection[Target], others: AbstractSet[int]
) -> dict[Target, bytes]:
    """Where the targets are now, to be read. `others` are inodes of messages that are no targets."""
    named = candidates(files, targets)
    theirs = others | {target.inode for target in targets if target.inode}
    found = {}
    for target in targets:
        paths = named[target.unique]
        same = [path for path in paths if target.inode and files[path] == target.inode]
        if not same:  # restored under the session, or there are no inodes; no other message is it
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
        return False  # the old name is another file's: a backup was restored, and dealt the inodes out anew
    try:
        status = os.lstat(root + path)
    except FileNotFoundError:
        raise
    except OSError:
        return same_inode and path == target.path
    if not stat.S_ISREG(status.st_mode):
        return False
    untouched = status.st_ctime_ns < target.since
    if not same_inode:  # inodes that do not last, as FUSE's: nobody has renamed or written it since
        told = names.sizes(path)[0] == target.size  # not the file's own, when it is packed or the name lies
        return path == target.path and untouched and (told or status.st_size == target.size)
    if target.since < status.st_mtime_ns <= clock():  # asked after lstat: a later time is not that of a write
        return False  # written since: another file has got the inode
    return status.st_size == target.size or untouched  # a size is a name's word, and may be wrong
