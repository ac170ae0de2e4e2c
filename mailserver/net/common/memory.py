"""The memory that all worker processes map: its tables, and the hash of a key.

The parent makes it and hands its descriptor and a random key to each worker; it never looks into it itself, since it may be
root and the workers are not. There are no names in it: what is looked up is a hash under that key.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from mmap import mmap
from pathlib import Path
from typing import Final

from mailserver.errors import Unusable
from mailserver.net.common.table import COUNT, KEY, Shape, Table

LANES: Final = Shape(20_000, 24, counts=2)
"""Addresses and users with failed attempts, as many as one process remembers: of each the last failure, the hold, the number; and the
attempts under way and waiting, of each process."""

REGULARS: Final = Shape(50_000, 8 + 16 * KEY)
"""Users who have logged in, as many as one process remembers: the time, and hashes of 16 networks. 9 MB, when all are known."""

DELAYS: Final = Shape(50_000, 8)
"""Users within a login delay, as many as one process remembers: the time when it is over."""

SPARE: Final = 4
"""Slots for each connection: with a quarter in use, one bucket in a million is full, and then an address counts for one process."""

HASHES: Final = 4096
"""Hashes of names and addresses that a process keeps, since one costs 0.5 us and each session needs eight: about a megabyte."""

_STARTED: Final = 0
_TAKEN: Final = 1
_HEAD: Final = 2
"""What is counted for each process before the tables: whether one of its number has started, and its connections."""


def _shapes(connections: int) -> tuple[Shape, Shape, Shape, Shape]:
    return LANES, REGULARS, DELAYS, Shape(SPARE * connections, 0, counts=1)


def size_of(processes: int, connections: int) -> int:
    """The octets of the memory: 14 MB for four processes with 10,000 connections, of which only what was used takes memory."""
    return _head(processes) + sum(shape.size(processes) for shape in _shapes(connections))


def _head(processes: int) -> int:
    return COUNT * _HEAD * processes + 7 & ~7


def make(processes: int, connections: int) -> int:
    """Make an empty memory; the descriptor is the caller's. No worker can make it shorter, which would kill the others."""
    try:
        descriptor = os.memfd_create("mailserver", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    except (AttributeError, OSError):  # a system other than Linux, or one that forbids it
        descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
    try:
        os.ftruncate(descriptor, size_of(processes, connections))
        with suppress(OSError):  # a file cannot be sealed
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


class CommonMemory:
    """The memory, as the process `number` of `processes` sees it (0 is the first). The descriptor must stay open.

    POSIX's locks are a process's, so only the reactor's thread may use it. Errors: Unusable.
    """

    def __init__(self, descriptor: int, key: bytes, number: int, processes: int, connections: int) -> None:
        size = size_of(processes, connections)
        if os.fstat(descriptor).st_size != size:
            raise Unusable("the program has been changed while it ran: restart it")
        octets = mmap(descriptor, size)
        self._number = number
        self._view = memoryview(octets).cast("I")
        self.processes = processes
        at, locks, tables = _head(processes), 0, []
        for shape in _shapes(connections):
            own = {"at": at, "locks": locks, "processes": processes, "number": number}
            tables.append(Table(descriptor, octets, shape, **own))
            at += shape.size(processes)
            locks += shape.slots
        self.lanes, self.regulars, self.delays, self.places = tables
        self.inherits = bool(self._view[_STARTED * processes + number])
        """Whether a process of this number was killed, so that its counts are still there."""
        self._view[_STARTED * processes + number] = 1
        state = blake2b(key=key, digest_size=KEY)

        def hashed(*parts: str) -> bytes:
            hasher = state.copy()
            hasher.update("\n".join(parts).encode("utf-8", "surrogatepass"))
            return hasher.digest()

        self.hash = lru_cache(HASHES)(hashed)
        """The hash of a key of several texts without line ends."""

    @property
    def taken(self) -> int:
        """The connections of all processes."""
        start = _TAKEN * self.processes
        return sum(self._view[start : start + self.processes])

    def set_taken(self, own: int) -> None:
        """Change the number of this process's connections."""
        self._view[_TAKEN * self.processes + self._number] = own
