"""A promise for which a full disk has no room: it is written over the index, a cache that has its blocks already.

To unlink the index would not do: XFS gives its blocks to no other file at once, and a new file takes more than blocks. Half
a promise is no promise, and no index either, by their checksums: so it may be written where it lies.
"""

from __future__ import annotations

import errno
import os
import stat

from mailserver.store.maildir import index, promise
from mailserver.store.maildir.files import opened, read_whole, sync, sync_directory, unlink_if_there, write_all

_OVER = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_END = b"\0\0"
"""Behind the promise, in which no NUL follows another: what is left of the index comes next."""

_NEVER_OURS = frozenset({errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM})
"""What says that there is no file in which we can have written."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What says nothing of the file: it may hold a promise all the same."""


def want_of_room(error: OSError) -> bool:
    """Whether that is what the error says."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def write(root: bytes, data: bytes) -> bool:
    """Promise this durably; whether there was an index, and room in it. Errors: OSError."""
    try:
        with opened(root + index.NAME, _OVER) as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # a backup shares it
                return False
            data += _END if len(data + _END) != status.st_size else _END + b"\0"
            write_all(descriptor, data)
            # Whoever remembers the index knows it by its size as well: its new mtime may be in the tick of the old one.
            os.ftruncate(descriptor, max(len(data), status.st_size - 1))
            sync(descriptor, root + index.NAME)
    except OSError as error:
        if want_of_room(error) or error.errno in _NEVER_OURS:
            return False
        raise
    return True


def read(root: bytes) -> bytes:
    """The promise, made durable, as a kill may have come before its fsync; b"" when there is none. Errors: OSError."""
    try:
        if not _is_one(root):
            return b""
        data = read_whole(root + index.NAME).partition(_END)[0]
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        # Nobody knows whether it is one. What is shown to be there from now on must not go, should it be read some day.
        unlink_if_there(root + index.NAME)
        sync_directory(root)
        return b""
    if promise.kind(data) is not promise.Kind.OURS:
        return b""
    with opened(root + index.NAME, _OVER) as descriptor:
        sync(descriptor, root + index.NAME)
    return data


def forget(root: bytes) -> None:
    """Make an end of it, durably. The file keeps its blocks: the disk may be full again. Errors: OSError."""
    if _is_one(root):
        with opened(root + index.NAME, _OVER) as descriptor:
            write_all(descriptor, bytes(len(promise.MAGIC)))
            sync(descriptor, root + index.NAME)


def _is_one(root: bytes) -> bool:
    """Whether a promise begins there, whole or not. Errors: OSError."""
    try:
        with opened(root + index.NAME) as descriptor:
            return os.read(descriptor, len(promise.MAGIC)) == promise.MAGIC
    except OSError as error:
        if error.errno in _NEVER_OURS:
            return False
        raise
