"""The lock of a maildrop: flock on a file of its own, which works across processes and ends with its holder.

The file is never unlinked: otherwise two sessions could hold locks on two files of the same name.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress

from mailserver.errors import MaildropInUse
from mailserver.store.maildir.files import opened, shown

NAME = b"mailserver-lock"

_RECORD = 128
"""Octets of the line that names the holder: one call overwrites the last line, so all have the same length."""

_SIGNED = re.compile(r"pid (\d{1,9}) (.*)", re.DOTALL)
"""An `owner` that begins with a `signature`."""


def lock(root: bytes, owner: str, name: bytes = NAME) -> int:
    """Take the lock of the maildrop at `root`, or raise MaildropInUse; never waits. The descriptor is the lock.

    `owner` is written into it, from `signature`. Another `name` is that of another lock.
    """
    path = root + name
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MaildropInUse(f"{shown(root)} is locked by {_holder(descriptor)}") from None
        _sign(descriptor, owner)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def written_by(path: bytes) -> tuple[int, str]:
    """The process that has taken this lock last, 0: it is not known; and what it says of itself. It may have let go of it."""
    try:
        with opened(path) as descriptor:
            text = _line(descriptor)
    except OSError:
        return 0, ""
    found = _SIGNED.fullmatch(text)
    return (int(found[1]), found[2]) if found else (0, text)


def signature() -> str:
    """The beginning of an `owner`: this process. It is a system call, so a store makes it once."""
    return f"pid {os.getpid()} "


def now(root: bytes) -> int:
    """The time by the file system's own clock, in nanoseconds: the new mtime of the lock file.

    Where the mtime cannot be set, it answers an older time, by which fewer things are trusted. It uses the path, because
    the session may end meanwhile, and its descriptor belong to another file.
    """
    with suppress(OSError):
        os.utime(root + NAME, follow_symlinks=False)
    return os.lstat(root + NAME).st_mtime_ns


def taken_at(descriptor: int) -> int:
    """The time when the lock was taken, or `now` was last called, by the file system's clock."""
    return os.fstat(descriptor).st_mtime_ns


def holds(descriptor: int, root: bytes) -> bool:
    """Whether the lock is still that of the maildrop at `root`, and not of a maildrop that was there before.

    Comparing inodes is enough: every session locks the file with the same inode.
    """
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(root + NAME))
    except OSError:
        return False  # if it cannot be examined, the maildrop stays untouched


def _sign(descriptor: int, owner: str) -> None:
    line = owner.encode("ascii", "backslashreplace")
    try:
        os.pwrite(descriptor, line[: _RECORD - 1].ljust(_RECORD - 1) + b"\n", 0)
    except OSError:
        return  # a full disk has no room for the name, but the lock is held


def _holder(descriptor: int) -> str:
    try:
        text = _line(descriptor)
    except OSError:
        text = ""  # the refusal does not need the holder's name
    return repr(text) if text else "a session without a name"


def _line(descriptor: int) -> str:
    return os.pread(descriptor, _RECORD, 0).decode("ascii", "backslashreplace").strip()
