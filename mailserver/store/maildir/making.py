"""Makes the Maildirs that deposits need, durably, and clears their tmp/. All of it runs in threads."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH120

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Final

from mailserver.store.maildir.files import directory_status, make_below, make_inside, sync_directory, unlink_if_there
from mailserver.store.maildir.listing import DIRECTORIES

_ALL: Final = (*DIRECTORIES, b"tmp/")

_REMEMBERED: Final = 10_000
"""Maildrops that are remembered as made; then all are forgotten, which costs each of them some fsyncs again."""

_ABANDONED: Final = 36 * 3600
"""Seconds after which a file in tmp/ belongs to a delivery that died (Maildir: it may be removed if not accessed in 36 hours)."""

_SWEPT: Final = 1000
"""Entries of tmp/ that one visit looks at: a few milliseconds. A later one, of another process, looks at more."""


class Making:
    """Remembers which maildrops were made durable by this process."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: dict[bytes, list[int]] = {}  # with the inodes of the directories

    def make(self, root: bytes, anchor: bytes, *, again: bool = False) -> None:
        """Make the missing directories of the Maildir below `anchor`, and make all of them durable. Errors: OSError.

        Once for each maildrop, unless `again`, or another program has put other directories, or links, in their place: another
        process may have made them, and not made them durable.
        """
        known = self._made.get(root)
        if known is not None and not again and known == _inodes(root):
            return
        make_below(anchor, root)
        for directory in _ALL:
            make_inside(root, directory)
        _sync(root, anchor)
        sweep(root)
        if len(self._made) >= _REMEMBERED:
            self._made.clear()
        self._made[root] = _inodes(root)


def _inodes(root: bytes) -> list[int]:
    """Those of the directories, none where one is missing, or is a link."""
    try:
        return [directory_status(root + directory).st_ino for directory in _ALL]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sync(root: bytes, anchor: bytes) -> None:
    """Make the names of all directories from `anchor` down durable."""
    path, top = root.rstrip(b"/"), anchor.rstrip(b"/") or b"/"
    sync_directory(path)
    while path != top and len(path) > len(top):
        path = os.path.dirname(path)
        with suppress(PermissionError):  # who may not read it has made nothing in it
            sync_directory(path)


def sweep(root: bytes, *, whole: bool = False) -> None:
    """Remove the files in tmp/ that were left by deliveries that died long ago, as far as the disk lets us."""
    with suppress(OSError):
        for name in abandoned(root, time.time(), None if whole else _SWEPT):
            with suppress(OSError):
                unlink_if_there(root + b"tmp/" + name)


def abandoned(root: bytes, now: float, entries: int | None = None) -> Iterator[bytes]:
    """The names of these files among so many `entries`, None: among all; `now` in seconds of the epoch. Errors: OSError."""
    directory_status(root + b"tmp/")  # a link could lead to anything
    with os.scandir(root + b"tmp") as listed:
        for entry in islice(listed, entries):
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                youngest = max(status.st_atime, status.st_mtime, status.st_ctime)
                if stat.S_ISREG(status.st_mode) and now - youngest > _ABANDONED:
                    yield entry.name
