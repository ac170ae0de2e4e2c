"""Dovecot's lock of a list: a file beside it with ``PID:HOST``, which is there for as long as the lock is held.

A lock is stale where its process was of this host and is gone; else after two minutes in which neither it nor the list has changed.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import gethostname
from typing import Final

from mailserver.store.maildir.files import opened, unlink_if_there
from mailserver.store.maildir.foreign import uidlist

SUFFIX: Final = b".lock"

_YOUNG: Final = 2
"""Seconds in which nobody looks whether the holder lives: it may not have written its number yet. Dovecot's number."""

_STALE: Final = 120
"""Seconds without a change, after which a lock of nobody known is stale. Dovecot's number."""

PATIENCE: Final = 5.0
"""Seconds to wait: a Dovecot holds it for milliseconds, and a login waits; after 10 a thread is reported as hanging."""

_PAUSE: Final = 0.02

_CREATED: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def dotlock(
    path: bytes, clock: Callable[[], float] = time.time, sleep: Callable[[float], object] = time.sleep
) -> Iterator[None]:
    """Hold the lock of a list for a ``with`` block. For a thread. Errors: OSError, also where it stays locked."""
    lock = path + SUFFIX
    waited = 0.0
    while (inode := _create(lock)) is None:
        if _stale(lock, path, clock()):
            unlink_if_there(lock)
            continue
        if waited >= PATIENCE:
            raise OSError(errno.EAGAIN, "it is locked by Dovecot", os.fsdecode(lock))
        sleep(_PAUSE)
        waited += _PAUSE
    try:
        yield
    finally:
        with suppress(OSError):
            if os.lstat(lock).st_ino == inode:  # else it was held for too long, and another has taken it
                unlink_if_there(lock)


def stale(root: bytes, now: float) -> bytes | None:
    """The lock of Dovecot's list in a Maildir, if its holder has left it there. Errors: OSError."""
    name = uidlist.NAME + SUFFIX
    return name if os.path.lexists(root + name) and _stale(root + name, root + uidlist.NAME, now) else None


def _create(lock: bytes) -> int | None:
    """Make the lock; its inode. None: there is one."""
    try:
        with opened(lock, _CREATED) as descriptor:
            with suppress(OSError):  # a full disk has no room for the name, but the lock is held
                os.write(descriptor, f"{os.getpid()}:{gethostname()}".encode())
            return os.fstat(descriptor).st_ino
    except FileExistsError:
        return None


def _stale(lock: bytes, path: bytes, now: float) -> bool:
    changes = []
    for each in (lock, path):
        with suppress(FileNotFoundError):
            status = os.lstat(each)
            changes.append(max(status.st_mtime, status.st_ctime))
    if not changes or changes[0] > now - _YOUNG:
        return False
    holder = _holder(lock)
    if holder is not None and holder != os.getpid():
        return not _lives(holder)
    return max(changes) < now - _STALE


def _holder(lock: bytes) -> int | None:
    """The process that holds it; None: it is not known, or of another host."""
    try:
        with opened(lock) as descriptor:
            text = os.pread(descriptor, 512, 0).decode("utf-8", "replace")
    except OSError:
        return None
    pid, _, host = text.strip().partition(":")
    return (
        int(pid)
        if pid.isascii() and pid.isdigit() and len(pid) < len(str(2**32)) and int(pid) and host == gethostname()
        else None
    )


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
