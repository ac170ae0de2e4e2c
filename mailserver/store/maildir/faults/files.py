"""The files of a Maildir as they are: each is examined once, and its contents are measured once."""

from __future__ import annotations

import os
import stat
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property

from mailserver.store.maildir import contents
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.contents import Contents
from mailserver.store.maildir.listing import DIRECTORIES, PREFIX, directory_times
from mailserver.store.maildir.pieces import in_turns

_STAT = 64
"""Files that are examined at a time, before other threads have a turn."""


class Files:
    """What is in new/ and cur/ of the maildrop at `root`, by the path with the directory. Errors: OSError."""

    def __init__(self, root: bytes) -> None:
        self.messages: dict[bytes, os.stat_result] = {}
        self.foreign: dict[bytes, str] = {}
        """What is no regular file, and what it is."""
        self.unreadable: dict[bytes, str] = {}
        """Why some could not be measured."""
        # a link is refused: the other files to which it leads would be mended, too
        self.times = directory_times(root)
        """The directories' times before they were listed."""
        self._root = root
        for directory in DIRECTORIES:
            with os.scandir(root + directory) as entries:
                for entry in in_turns(entries, _STAT):
                    if not entry.name.startswith(b"."):  # Maildir leaves these to others, such as file servers
                        self._add(directory + entry.name, entry)

    def _add(self, path: bytes, entry: os.DirEntry[bytes]) -> None:
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # it moves; a login would search for it, and whoever looks here looks twice
        if stat.S_ISREG(status.st_mode):
            self.messages[path] = status
        else:
            self.foreign[path] = _kind(status.st_mode)

    @cached_property
    def inodes(self) -> dict[bytes, int]:
        """The inodes of the messages."""
        return {path: status.st_ino for path, status in self.messages.items()}

    @cached_property
    def by_inode(self) -> dict[int, bytes]:
        """The message of each inode."""
        return {inode: path for path, inode in self.inodes.items()}

    @cached_property
    def measured(self) -> dict[bytes, Contents]:
        """The messages' contents, of those that can be read."""
        return dict(self._measured())

    @cached_property
    def parts(self) -> dict[bytes, list[bytes]]:
        """The messages by their unique parts."""
        found: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for path in self.messages:
            found[names.unique_part(path[PREFIX:])].append(path)
        return found

    def _measured(self) -> Iterator[tuple[bytes, Contents]]:
        for path in in_turns(self.messages):
            try:
                yield path, contents.measured(self._root + path)
            except FileNotFoundError:
                continue
            except OSError as error:
                self.unreadable[path] = error.strerror or str(error)


def _kind(mode: int) -> str:
    kinds = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISLNK, "a link"),
        (stat.S_ISFIFO, "a FIFO"),
        (stat.S_ISSOCK, "a socket"),
    )
    return next((kind for test, kind in kinds if test(mode)), "a device")
