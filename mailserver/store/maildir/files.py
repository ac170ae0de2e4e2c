"""System calls by purpose. The durable ones are the steps between which a crash may happen."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH102, PTH104, PTH108, PTH112, PTH116, PTH120

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from mailserver.errors import MessageGone

_READ = (
    os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
)  # follows no symlink, and does not wait for a FIFO's writer
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Identity = tuple[int, int, int]

_UNABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""The errors of fsync on a file system without it: directories on CIFS, FUSE without fsyncdir, DrvFs."""

LINKLESS = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
"""The errors of link where it does not serve: between file systems, on FAT and some of FUSE, of other users' files, and of a file with
too many names."""

_unable: dict[int, None] = {}
"""The devices of such file systems that were reported: each is reported once."""

_news: deque[str] = deque()


def shown(path: bytes) -> str:
    """The path for people: in one line, without characters that control a terminal or break a log."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def open_to_read(path: bytes) -> int:
    """Open a file for reading, without following a symlink and without waiting."""
    return os.open(path, _READ)


@contextmanager
def opened(path: bytes, flags: int = _READ) -> Iterator[int]:
    """Open the file for a ``with`` block, and close its descriptor at the end."""
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_message(path: bytes, size: int) -> int:
    """Open the regular file of `size` octets at `path`. Errors: MessageGone when there is a different file; OSError."""
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if status.st_size != size or not stat.S_ISREG(status.st_mode):
            raise _other(path, size)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_message(path: bytes, size: int) -> bytes:
    """The contents of the regular file of `size` octets at `path`. Errors as of `open_message`.

    No fstat: the size shows in the octets, of which one more is asked for, and pread refuses a FIFO, a socket and a directory.
    """
    descriptor = os.open(path, _READ)
    try:
        data = os.pread(descriptor, size + 1, 0)
    except OSError as error:
        raise MessageGone(f"{shown(path)} cannot be read: {error.strerror}") from error
    finally:
        os.close(descriptor)
    if len(data) != size:
        raise _other(path, size)
    return data


def _other(path: bytes, size: int) -> MessageGone:
    return MessageGone(f"{shown(path)} is not the file of {size} octets that was listed")


def write_new(path: bytes, data: bytes, *, durable: bool) -> Identity:
    """Create or replace the file, and wait for the disk if `durable`; returns the file's identity."""
    with opened(path, _WRITE) as descriptor:
        write_all(descriptor, data)
        if durable:
            sync(descriptor, path)
        return identity(os.fstat(descriptor))


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data` at the descriptor's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def identity(status: os.stat_result) -> Identity:
    """A value that identifies the version of a file that is always replaced and never changed in place."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_whole(path: bytes) -> bytes:
    """The contents of a regular file of the server's own. Other kinds are refused: they could be endless, or block."""
    with opened(path) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        chunks = []
        while chunk := os.read(descriptor, status.st_size + 1):
            chunks.append(chunk)
        return b"".join(chunks)


def sync_directory(path: bytes) -> None:
    """Make the names in the directory durable. Where the file system cannot, `unsynced` reports it."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as descriptor:
        sync(descriptor, path)


def sync(descriptor: int, path: bytes) -> None:
    """The same for the contents of the open file or directory at `path`."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        device = os.fstat(descriptor).st_dev
        if device not in _unable:
            _unable[device] = None
            _news.append(
                f"the file system of {shown(path)} cannot guarantee durability (fsync: {error.strerror}): "
                "a power cut may bring deleted messages back, and lose new ones"
            )


def unsynced() -> list[str]:
    """Notes for the operator on file systems without fsync, once each in the life of this process."""
    notes = []
    with suppress(IndexError):  # another thread may take the last
        while _news:
            notes.append(_news.popleft())
    return notes


def unlink_if_there(path: bytes) -> bool:
    """Unlink the file; answers whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def rename(old: bytes, new: bytes) -> None:
    """Rename the file atomically."""
    os.rename(old, new)


def link_or_rename(old: bytes, new: bytes) -> bool:
    """Give the file another name; answers whether it has lost the old one, as where links do not serve. Errors: FileExistsError; OSError."""
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in LINKLESS:
            raise
        if os.path.lexists(new):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(new)) from error
        rename(old, new)
        return True
    return False


def is_there(path: bytes) -> bool:
    """Whether there is something of this name. Errors: OSError where that cannot be told."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def directory_status(path: bytes) -> os.stat_result:
    """The status of a directory in a maildrop. Errors: NotADirectoryError, also for a link, which could lead into another one."""
    status = os.lstat(path.rstrip(b"/"))
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))
    return status


def make_inside(root: bytes, path: bytes) -> None:
    """Make a directory in the maildrop, whose parent is there. Errors: NotADirectoryError, also for a link; OSError."""
    make_below(root, root + path)
    directory_status(root + path)


def make_below(anchor: bytes, path: bytes) -> None:
    """Make the directory and its missing parents, with access for the owner only. `anchor` must exist."""
    os.stat(anchor)
    _make(path.rstrip(b"/"))


def _make(path: bytes) -> None:
    try:
        _make_one(path)
    except FileNotFoundError:
        _make(os.path.dirname(path))
        _make_one(path)


def _make_one(path: bytes) -> None:
    try:
        os.mkdir(path, 0o700)  # os.makedirs would give the parents the umask's mode
    except FileExistsError:  # as another process may have made it meanwhile
        if not os.path.isdir(path):
            raise
