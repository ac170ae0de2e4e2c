"""Makes the Maildirs that deposits need, durably, and clears their tmp/. All of it runs in threads."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH120

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from itertools import islice
from typing import Final

from mailserver.store.maildir.files import make_below, sync_directory, unlink_if_there
from mailserver.store.maildir.listing import DIRECTORIES

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
        self._made: set[bytes] = set()

    def make(self, root: bytes, anchor: bytes, *, again: bool = False) -> None:
        """Make the missing directories of the Maildir below `anchor`, and make all of them durable. Errors: OSError.

        Once for each maildrop, unless `again`: another process may have made them, and not made them durable.
        """
        if root in self._made and not again:
            return
        make_below(anchor, root)
        for directory in (*DIRECTORIES, b"tmp/"):
            path = root + directory[:-1]
            make_below(root, path)
            if not stat.S_ISDIR(os.lstat(path).st_mode):  # a link could lead into another maildrop
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))
        _sync(root, anchor)
        sweep(root)
        if len(self._made) >= _REMEMBERED:
            self._made.clear()
        self._made.add(root)


def _sync(root: bytes, anchor: bytes) -> None:
    """Make the names of all directories from `anchor` down durable."""
    path, top = root.rstrip(b"/"), anchor.rstrip(b"/") or b"/"
    sync_directory(path)
    while path != top and len(path) > len(top):
        path = os.path.dirname(path)
        with suppress(PermissionError):  # who may not read it has made nothing in it
            sync_directory(path)


def sweep(root: bytes) -> None:
    """Remove the files in tmp/ that were left by deliveries that died long ago, as far as the disk lets us."""
    now = time.time()
    with suppress(OSError), os.scandir(root + b"tmp") as entries:
        for entry in islice(entries, _SWEPT):
            with suppress(OSError):
                status = entry.stat(follow_symlinks=False)
                youngest = max(status.st_atime, status.st_mtime, status.st_ctime)
                if stat.S_ISREG(status.st_mode) and now - youngest > _ABANDONED:
                    unlink_if_there(root + b"tmp/" + entry.name)
