"""A passwd-file on disk: read at the start, and again whenever it changes."""

from __future__ import annotations

import errno
import os
import pwd
import stat
import time
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, NamedTuple, cast

from twisted.internet.defer import Deferred, execute
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from mailserver.auth.passwd.table import Table, read_table
from mailserver.errors import Unusable
from mailserver.names import PLAIN, Names

SMALL = 16 * 1024
"""Octets, about 200 users: read and parsed in about 2 ms, no longer than a hop to a busy thread and back."""

YOUNG_SECONDS = 2
"""A younger file may change again without a change of its timestamps, which have the resolution of a clock tick."""

MAX_NOTES = 20
"""A file in some other format must not fill the log."""

Stamp = tuple[int, int, int, int]

KEPT = "the passwd-file {path} cannot be used as it is now, so its last good state stays in use: {trouble}"

log = Logger()


class PasswordFileError(Unusable):
    """The passwd-file cannot be used; the text names it and the remedy."""


class Reading(NamedTuple):
    """The result of one reading, as plain data from a thread."""

    stamp: Stamp
    digest: bytes
    complete: bool
    table: Table | None
    """None: the file's contents have not changed since the last reading."""


class WatchedTable:
    """The table of a passwd-file, kept up to date: call `fresh`, and `refresh` when it answers False.

    While the file is unreadable, or looks half-written or just emptied, the old table stays in force.
    """

    def __init__(self, path: str, wall: Callable[[], float] = time.time, domain: str = "") -> None:
        self.path = path
        self._domain = domain
        self.names = PLAIN
        """The rules by which the names in the file are read."""
        self.table = Table()
        self._wall = wall
        self._stamp: Stamp | None = None
        self._inode: int | None = None
        self._octets = 0
        self._digest = b""
        self._trouble = ""
        self._ignored: frozenset[str] = frozenset()
        self._waiting: list[Deferred[None]] | None = None

    def load(self) -> None:
        """Read the file in this thread, for the start. Errors: PasswordFileError."""
        try:
            reading = read_file(self.path, b"", self._domain, self.names)
        except OSError as error:
            user = _user_named(os.geteuid())
            raise PasswordFileError(
                f"cannot read the passwd-file {self.path}: {error.strerror}; it must be a file that the user "
                f"{user} can read: create it, or give access (chgrp and chmod g+r, or setfacl -m u:{user}:r)"
            ) from None
        self._judge(reading)
        if not self.table.entries:
            log.emit(LogLevel.warn, "the passwd-file {path} has no users yet", event="auth.file.empty", path=self.path)

    def fresh(self) -> bool:
        """Whether the table is that of the file as it is now; also True while the file cannot be found."""
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
        """Read the file again; fires when the table is decided. A large file is read in a thread, once for all who wait."""
        if self._waiting is None:
            if self._octets <= SMALL:
                return self._judged(execute(read_file, *self._arguments))
            self._waiting = []
            self._judged(in_thread(read_file, *self._arguments)).addBoth(self._fire_waiting)
        waiter: Deferred[None] = Deferred()
        self._waiting.append(waiter)
        return waiter

    @property
    def _arguments(self) -> tuple[str, bytes, str, Names]:
        return self.path, self._digest, self._domain, self.names

    def _judged(self, reading: Deferred[Reading]) -> Deferred[None]:
        return reading.addCallbacks(self._judge, self._failed)

    def _fire_waiting(self, outcome: Failure | None) -> None:
        waiting, self._waiting = self._waiting or [], None
        for waiter in waiting:
            waiter.callback(cast(None, outcome))  # a Failure goes to the errbacks

    def _failed(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._keep(str(cast(OSError, failure.value).strerror))

    def _judge(self, reading: Reading) -> None:
        modified, changed, _, inode = reading.stamp
        young = abs(self._wall() - modified / 1e9) < YOUNG_SECONDS
        # A rename installs a complete file and changes only the ctime; a newly created file may still be being written.
        whole = not young or (inode != self._inode and modified != changed)
        table = reading.table
        if table is not None and self.table.entries and not whole and not reading.complete:
            self._stamp = None
            self._keep("it looks half-written")
        elif table is not None and self.table.entries and not table.entries and not whole:
            self._stamp = None
            self._keep("it has no users any more, and a program may still be writing it")
        else:
            self._stamp = None if young else reading.stamp
            self._install(reading)

    def _keep(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.error(KEPT, event="auth.file.kept", path=self.path, trouble=trouble)

    def _install(self, reading: Reading) -> None:
        self._trouble = ""
        self._inode = reading.stamp[-1]
        if reading.table is None:
            return
        if self.table.entries and not reading.table.entries:
            log.warn("the passwd-file {path} has no users any more", event="auth.file.empty", path=self.path)
        self.table, self._digest = reading.table, reading.digest
        notes = self.table.notes
        for note in notes[:MAX_NOTES]:
            log.emit(LogLevel.warn, "{path}:{note}", event="auth.file.note", path=self.path, note=note)
        if len(notes) > MAX_NOTES:
            log.emit(
                LogLevel.warn,
                "{path}: {more} more notes like these",
                event="auth.file.notes",
                path=self.path,
                more=len(notes) - MAX_NOTES,
            )
        if self.table.ignored - self._ignored:
            self._ignored |= self.table.ignored
            fields = ", ".join(sorted(self._ignored))
            log.info(
                "{path}: these fields have no effect here: {fields}",
                event="auth.file.ignored",
                path=self.path,
                fields=fields,
            )


def read_file(path: str, known: bytes, domain: str = "", names: Names = PLAIN) -> Reading:
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
    return Reading(_stamp(status), digest, complete, None if digest == known else read_table(data, domain, names))


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino


def _user_named(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
