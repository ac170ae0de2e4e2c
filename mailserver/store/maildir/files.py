"""System calls by their purpose. The durable ones are the steps that a crash may fall between."""

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

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # never a symlink, never waiting for a FIFO's writer
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Identity = tuple[int, int, int]

_UNABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})
"""What fsync answers on a file system that knows none: directories on CIFS, FUSE without fsyncdir, DrvFs."""

_unable: dict[int, None] = {}
"""The devices of such file systems, as far as they were met: each is told of once."""

_news: deque[str] = deque()


def shown(path: bytes) -> str:
    """The path for people: in one line, and with nothing in it that a terminal obeys or a log cannot hold."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def open_to_read(path: bytes) -> int:
    """Open a file that is no symlink, without waiting."""
    return os.open(path, _READ)


@contextmanager
def opened(path: bytes, flags: int = _READ) -> Iterator[int]:
    """Open the file for the time of a ``with``: whatever happens in it, the descriptor is closed."""
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_message(path: bytes, size: int) -> int:
    """Open the regular file of `size` octets at `path`. Errors: MessageGone when it is another one; OSError."""
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if status.st_size != size or not stat.S_ISREG(status.st_mode):
            raise MessageGone(f"{shown(path)} is not the file of {size} octets that was listed")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def write_new(path: bytes, data: bytes, *, durable: bool) -> Identity:
    """Write the file anew, and wait for the disk if it is to be durable; returns its identity."""
    with opened(path, _WRITE) as descriptor:
        write_all(descriptor, data)
        if durable:
            sync(descriptor, path)
        return identity(os.fstat(descriptor))


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it at the descriptor's position."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def identity(status: os.stat_result) -> Identity:
    """What tells one version from another of a file that is only ever replaced."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_whole(path: bytes) -> bytes:
    """The contents of a file of ours, which is a regular one: another kind could have no end, or no octets yet."""
    with opened(path) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        chunks = []
        while chunk := os.read(descriptor, status.st_size + 1):
            chunks.append(chunk)
        return b"".join(chunks)


def sync_directory(path: bytes) -> None:
    """Make the names in the directory durable, as far as its file system can: `unsynced` tells where it cannot."""
    with opened(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as descriptor:
        sync(descriptor, path)


def sync(descriptor: int, path: bytes) -> None:
    """The same for what lies in the open file or directory at `path`."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNABLE:
            raise
        device = os.fstat(descriptor).st_dev
        if device not in _unable:
            _unable[device] = None
            _news.append(
                f"the file system of {shown(path)} cannot promise durability (fsync: {error.strerror}): "
                "a power cut may bring deleted messages back"
            )


def unsynced() -> list[str]:
    """What the operator should know of file systems without fsync, each once in the life of this process."""
    notes = []
    with suppress(IndexError):  # another thread may take the last
        while _news:
            notes.append(_news.popleft())
    return notes


def unlink_if_there(path: bytes) -> bool:
    """Unlink the file; whether there was one."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        return False
    return True


def rename(old: bytes, new: bytes) -> None:
    """Give the file another name, in one step."""
    os.rename(old, new)


def make_below(anchor: bytes, path: bytes) -> None:
    """Make the directory and what is missing above it, for us alone. `anchor` must be there already."""
    os.stat(anchor)
    _make(path.rstrip(b"/"))


def _make(path: bytes) -> None:
    try:
        os.mkdir(path, 0o700)  # os.makedirs would leave what it makes above to the umask
    except FileNotFoundError:
        _make(os.path.dirname(path))
        os.mkdir(path, 0o700)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
