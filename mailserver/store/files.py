"""System calls by their purpose. The durable ones are the steps that a crash may fall between."""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH102, PTH104, PTH108, PTH112, PTH116, PTH120

from __future__ import annotations

import errno
import os
import stat

from mailserver.errors import MessageGone

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # never a symlink, never waiting for a FIFO's writer
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

Identity = tuple[int, int, int]


def shown(path: bytes) -> str:
    """The path for people: in one line, and with nothing in it that a terminal obeys or a log cannot hold."""
    text = path.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def open_to_read(path: bytes) -> int:
    """Open a file that is no symlink, without waiting."""
    return os.open(path, _READ)


def open_message(path: bytes, size: int) -> int:
    """Open the regular file of `size` octets at `path`. Errors: MessageGone when it is another one; OSError."""
    descriptor = os.open(path, _READ)
    status = os.fstat(descriptor)
    if status.st_size == size and stat.S_ISREG(status.st_mode):
        return descriptor
    os.close(descriptor)
    raise MessageGone(f"{shown(path)} is not the file of {size} octets that was listed")


def write_new(path: bytes, data: bytes, *, durable: bool) -> Identity:
    """Write the file anew, and wait for the disk if it is to be durable; returns its identity."""
    descriptor = os.open(path, _WRITE, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        if durable:
            os.fsync(descriptor)
        return identity(os.fstat(descriptor))
    finally:
        os.close(descriptor)


def identity(status: os.stat_result) -> Identity:
    """What tells one version from another of a file that is only ever replaced."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def read_whole(path: bytes) -> bytes:
    """The contents of a file of ours, which is a regular one: another kind could have no end, or no octets yet."""
    with os.fdopen(open_to_read(path), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        return file.read()


def sync_directory(path: bytes) -> None:
    """Make the names in the directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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


def unlink(path: bytes) -> None:
    """Unlink the file, which is there."""
    os.unlink(path)


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
