"""A promise on a full disk: it overwrites the index, a cache that has its blocks already.

Unlinking the index to make room would not help: XFS does not free its blocks at once, and a new file needs more than blocks.
Overwriting in place is safe: by the checksums, half a promise is neither a promise nor an index.
"""

from __future__ import annotations

import errno
import os
import stat

from mailserver.store.maildir import index, promise
from mailserver.store.maildir.files import opened, read_whole, sync, sync_directory, unlink_if_there, write_all

_OVER = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

_END = b"\0\0"
"""The end of the promise, which has no two NULs in a row; the rest of the index may follow."""

_NEVER_OURS = frozenset({errno.ENOENT, errno.EISDIR, errno.ELOOP, errno.EACCES, errno.EPERM})
"""The errors that prove that the server cannot have written to this file."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""The errors that do not concern the file: it may hold a promise."""


def want_of_room(error: OSError) -> bool:
    """Whether the error means a full disk or quota."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT}


def write(root: bytes, data: bytes) -> bool:
    """Write the promise durably; answers whether there was an index with room for it. Errors: OSError."""
    try:
        with opened(root + index.NAME, _OVER) as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1:  # a backup has a hard link to it
                return False
            data += _END if len(data + _END) != status.st_size else _END + b"\0"
            write_all(descriptor, data)
            # Caches identify an index by its size, too, since its new mtime may be in the same tick as the old one.
            os.ftruncate(descriptor, max(len(data), status.st_size - 1))
            sync(descriptor, root + index.NAME)
    except OSError as error:
        if want_of_room(error) or error.errno in _NEVER_OURS:
            return False
        raise
    return True


def read(root: bytes) -> bytes:
    """The promise, or b"". It is synced first, since a kill may have come before its fsync. Errors: OSError."""
    try:
        data = whole(root)
    except OSError as error:
        if error.errno in _EXHAUSTED:
            raise
        # It may be an unreadable promise. Remove it, so that it cannot become readable later and delete messages that
        # clients have seen since.
        unlink_if_there(root + index.NAME)
        sync_directory(root)
        return b""
    if data:
        with opened(root + index.NAME, _OVER) as descriptor:
            sync(descriptor, root + index.NAME)
    return data


def whole(root: bytes) -> bytes:
    """The promise, or b"", by reading alone. Errors: OSError."""
    if not is_promise(root):
        return b""
    data = read_whole(root + index.NAME).partition(_END)[0]
    return data if promise.kind(data) is promise.Kind.OURS else b""


def forget(root: bytes) -> None:
    """Invalidate the promise durably. The file keeps its blocks, since the disk may be full again. Errors: OSError."""
    if is_promise(root):
        with opened(root + index.NAME, _OVER) as descriptor:
            write_all(descriptor, bytes(len(promise.MAGIC)))
            sync(descriptor, root + index.NAME)


def is_promise(root: bytes) -> bool:
    """Whether the index file begins with a promise, complete or not. Errors: OSError."""
    try:
        with opened(root + index.NAME) as descriptor:
            return os.read(descriptor, len(promise.MAGIC)) == promise.MAGIC
    except OSError as error:
        if error.errno in _NEVER_OURS:
            return False
        raise
