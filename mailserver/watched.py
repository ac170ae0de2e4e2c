"""A file that somebody else writes, as a value: read at the start, and again whenever it changes."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

from twisted.internet.defer import Deferred, execute
from twisted.python.failure import Failure

from mailserver.errors import Unusable

SMALL: Final = 16 * 1024
"""Octets, about 200 users: read and parsed in about 2 ms, no longer than a hop to a busy thread and back."""

YOUNG_SECONDS: Final = 2
"""A younger file may change again without a change of its timestamps, which have the resolution of a clock tick."""

MAX_NOTES: Final = 20
"""Notes of one reading that are worth a line each: a file in some other format must not fill the log."""

Stamp = tuple[int, int, int, int]
T = TypeVar("T")
Parse = Callable[[bytes], T]


class Reading(NamedTuple, Generic[T]):
    """The result of one reading, as plain data from a thread."""

    stamp: Stamp
    digest: bytes
    complete: bool
    value: T | None
    """None: the file's contents have not changed since the last reading."""


class WatchedFile(ABC, Generic[T]):
    """The value of a file, kept up to date: call `fresh`, and `refresh` when it answers False.

    While the file is unreadable, or looks half-written or just emptied, the old value stays in force.
    """

    kind: str
    """What the file is called, with its article, such as "the passwd-file"."""
    contents: str
    """What it has: "users"."""
    error: type[Unusable] = Unusable
    """What `load` raises."""

    def __init__(self, path: str, value: T, wall: Callable[[], float] = time.time) -> None:
        self.path = path
        self.value = value
        """What the file says; before it was read, what it says when it is empty."""
        self._wall = wall
        self._stamp: Stamp | None = None
        self._inode: int | None = None
        self._octets = 0
        self._digest = b""
        self._trouble = ""
        self._waiting: list[Deferred[None]] | None = None

    @abstractmethod
    def parser(self) -> Parse[T]:
        """The function that makes the value of the file's octets, perhaps in a thread. It raises nothing."""

    @abstractmethod
    def is_empty(self, value: T) -> bool:
        """Whether nothing is in it."""

    @abstractmethod
    def kept(self, trouble: str) -> None:
        """Log that the old value stays in force; called once for each new trouble."""

    @abstractmethod
    def installed(self, old: T) -> None:
        """Log what is to be said of `value`, which has just replaced `old`."""

    def load(self) -> None:
        """Read the file in this thread, for the start. Errors: Unusable, with the remedy."""
        try:
            reading = read_file(self.path, b"", self.parser())
        except OSError as error:
            user = user_named(os.geteuid())
            raise self.error(
                f"cannot read {self.kind} {self.path}: {error.strerror}; it must be a file that the user "
                f"{user} can read: create it, or give access (chgrp and chmod g+r, or setfacl -m u:{user}:r)"
            ) from None
        self._judge(reading)

    def fresh(self) -> bool:
        """Whether the value is that of the file as it is now; also True while the file cannot be found."""
        try:
            now = _stamp(os.stat(self.path))  # noqa: PTH116 - at each login, and a Path would double its time
        except OSError as error:
            self._keep(str(error.strerror))
            return True
        self._octets = now[2]
        if now != self._stamp:
            return False
        self._trouble = ""
        return True

    def refresh(self, in_thread: Callable[..., Deferred[Any]]) -> Deferred[None]:
        """Read the file again; fires when the value is decided. A large file is read in a thread, once for all who wait."""
        if self._waiting is None:
            if self._octets <= SMALL:
                return self._judged(execute(self._read, self._digest, self.parser()))
            self._waiting = []
            self._judged(in_thread(self._read, self._digest, self.parser())).addBoth(self._fire_waiting)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    def _read(self, known: bytes, parse: Parse[T]) -> Reading[T]:
        return read_file(self.path, known, parse)

    def _judged(self, reading: Deferred[Reading[T]]) -> Deferred[None]:
        return reading.addCallbacks(self._judge, self._failed)

    def _fire_waiting(self, outcome: Failure | None) -> None:
        waiting, self._waiting = self._waiting or [], None
        for waiter in waiting:
            waiter.callback(cast(None, outcome))  # a Failure goes to the errbacks

    def _failed(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._keep(str(cast(OSError, failure.value).strerror))

    def _judge(self, reading: Reading[T]) -> None:
        modified, changed, _, inode = reading.stamp
        young = abs(self._wall() - modified / 1e9) < YOUNG_SECONDS
        # A rename installs a complete file and changes only the ctime; a newly created file may still be being written.
        whole = not young or (inode != self._inode and modified != changed)
        changes = reading.value is not None and not self.is_empty(self.value)
        if changes and not whole and not reading.complete:
            self._stamp = None
            self._keep("it looks half-written")
        elif changes and not whole and reading.value is not None and self.is_empty(reading.value):
            self._stamp = None
            self._keep(f"it has no {self.contents} any more, and a program may still be writing it")
        else:
            self._stamp = None if young else reading.stamp
            self._install(reading)

    def _keep(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self.kept(trouble)

    def _install(self, reading: Reading[T]) -> None:
        self._trouble = ""
        self._inode = reading.stamp[-1]
        if reading.value is not None:
            old, self.value, self._digest = self.value, reading.value, reading.digest
            self.installed(old)


def read_file(path: str, known: bytes, parse: Parse[T]) -> Reading[T]:
    """Read and parse the file, unless the digest of its octets is `known`. Errors: OSError."""
    # Without O_NONBLOCK a FIFO would block the server until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
    finally:
        os.close(descriptor)
    digest = blake2b(data).digest()
    complete = data.endswith(b"\n") or not data
    return Reading(_stamp(status), digest, complete, None if digest == known else parse(data))


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def user_named(uid: int) -> str:
    """The name of a user of the system, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
