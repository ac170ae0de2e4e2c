"""Reading another server's list in a Maildir. Its user may have written it: what it says is checked, and it takes bounded memory."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mailserver.store.maildir.files import opened, shown

MOST_LINES: Final = 1_000_000
"""Ten times the messages of a large maildrop, since lists keep those that are gone for a while; the entries take 250 MB then."""

MOST_OCTETS: Final = 256 * 1024 * 1024
"""Twice what so many lines have: with long lines it would be a minute's work."""

LONGEST: Final = 4096
"""Octets of a line: a file's name has 255, and what stands beside it a few hundred."""

_PIECE: Final = 256 * 1024

_UIDL: Final = re.compile(rb"[\x21-\x7e]{1,255}")

DIRECTORIES: Final = (b"cur/", b"new/")


def lines(path: bytes) -> Iterator[bytes]:
    """The lines without their ends. What comes after the last line end is left out: it is still being written, or was torn.

    Errors: FileNotFoundError; OSError; ValueError for what is no list, with a text for the operator.
    """
    with _regular(path) as descriptor:
        rest, count = b"", 0
        if os.fstat(descriptor).st_size > MOST_OCTETS:
            raise unreadable(path, f"it has more than {MOST_OCTETS} octets")
        while piece := os.read(descriptor, _PIECE):
            *whole, rest = pieces = (rest + piece).split(b"\n")
            longest = max(pieces, key=len)
            if len(longest) > LONGEST:  # a pattern would take long for it, and let no other thread run
                raise unreadable(path, f"line {count + pieces.index(longest) + 1} has more than {LONGEST} octets")
            count += len(whole)
            if count > MOST_LINES:
                raise unreadable(path, f"it has more than {MOST_LINES} lines")
            yield from whole


def torn(path: bytes) -> bool:
    """Whether the list does not end with a line end, so that nothing can be appended. Errors: as of `lines`."""
    with _regular(path) as descriptor:
        size = os.fstat(descriptor).st_size
        return size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"


def permitted(uidl: bytes) -> bool:
    """Whether clients know such a unique-id: RFC 1939 section 7 says up to 70 octets, but these servers send longer ones, such as names."""
    return _UIDL.fullmatch(uidl) is not None


def stem(name: bytes) -> bytes:
    """The file's name up to its first colon, as these servers read it; `filenames.base` knows colons within names."""
    return name.partition(b":")[0]


def listable(name: bytes) -> bool:
    """Whether a list can have the file; one with a line end in its name would be lines of its own. Dovecot ignores such files."""
    return bool(stem(name)) and not {*b"\r\n"} & {*name}


def file_of(root: bytes, name: bytes) -> bytes | None:
    """The path of a message's file, also if it has got another info meanwhile; None: it is gone."""
    for directory in DIRECTORIES:
        if os.path.lexists(root + directory + name):
            return root + directory + name
    for directory in reversed(DIRECTORIES):  # in the order in which files move
        with os.scandir(root + directory) as entries:
            for entry in entries:
                if stem(entry.name) == stem(name):
                    return root + directory + entry.name
    return None


def unreadable(path: bytes, why: str) -> ValueError:
    """The error of a list that cannot be understood."""
    return ValueError(
        f"{shown(path)}: {why}. Mend it from a backup; without it, once it is moved away, clients fetch all messages again"
    )


@contextmanager
def _regular(path: bytes) -> Iterator[int]:
    """Open a regular file, without following a symlink or waiting for a FIFO's writer."""
    try:
        with opened(path) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise unreadable(path, "it is no regular file")
            yield descriptor
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise unreadable(path, "it is a symlink") from None
        raise
