"""Counts what a maildrop holds by its directories: its own messages, and those of its Maildir++ folders, but for Trash."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH116

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from mailserver.incoming import Usage
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.listing import DIRECTORIES
from mailserver.store.maildir.pieces import in_turns

_TRASH: Final = b".Trash"

_STAT: Final = 64
"""Files that are examined at a time, before other threads have a turn."""


def count(root: bytes) -> tuple[Usage, list[int]]:
    """Count the messages; answers the mtimes of the directories before that, too. Errors: OSError, but for missing directories."""
    octets = messages = 0
    before = []
    for folder in _folders(root):
        sizes: dict[bytes, int] = {}  # by name without the info: a message that moves to cur/ meanwhile is shown twice
        for directory in DIRECTORIES:
            try:
                before.append(os.stat(folder + directory).st_mtime_ns)
                with os.scandir(folder + directory) as entries:
                    for entry in in_turns(entries, _STAT):
                        size = _size(entry)
                        if size is not None:
                            sizes[names.base(entry.name)] = size
            except (FileNotFoundError, NotADirectoryError):
                continue
        octets += sum(sizes.values())
        messages += len(sizes)
    return Usage(messages, octets), before


def _folders(root: bytes) -> list[bytes]:
    folders = [root]
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        folders += [root + entry.name + b"/" for entry in entries if _is_folder(entry)]
    return folders


def _is_folder(entry: os.DirEntry[bytes]) -> bool:
    return entry.name.startswith(b".") and entry.name != _TRASH and entry.is_dir(follow_symlinks=False)


def _size(entry: os.DirEntry[bytes]) -> int | None:
    """The size of a message; None for what is none, or was removed meanwhile."""
    if entry.name.startswith(b"."):
        return None
    try:
        if not entry.is_file(follow_symlinks=False):
            return None
        size, _ = names.sizes(entry.name)
        return entry.stat(follow_symlinks=False).st_size if size is None else size
    except FileNotFoundError:
        return None


def times(root: bytes) -> list[int]:
    """The mtimes of the directories that count, in nanoseconds. Errors: OSError, but for missing directories."""
    found = []
    for folder in _folders(root):
        for directory in DIRECTORIES:
            with suppress(FileNotFoundError, NotADirectoryError):
                found.append(os.stat(folder + directory).st_mtime_ns)
    return found
