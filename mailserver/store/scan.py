"""Reading the directories of a Maildir: what lies there, and what an index already knows of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import NamedTuple

from mailserver.store import names
from mailserver.store.body import CHUNK
from mailserver.store.files import open_to_read
from mailserver.store.index import DISTRUSTED, UNTRUSTED, WIRE, Row
from mailserver.store.measure import Measure

DIRECTORIES = (b"new/", b"cur/")
"""In the order of reading: a message that moves on from new/ to cur/ meanwhile is seen twice, never missed."""

PREFIX = 4
"""Octets of ``new/`` and ``cur/``."""

_RACY_NS = 2_000_000_000
"""A directory that changed less than 2 s before its scan may change again without a new mtime: file systems count in
clock ticks of milliseconds to 2 s (FAT, old NFS)."""

_ATTEMPTS = 3
"""Scans of a Maildir that changes while it is read; after that the next login sees what this one missed."""


class Scan(NamedTuple):
    """The rows of a maildrop in their order, and the directories' times, UNTRUSTED where they mean nothing."""

    rows: list[Row]
    new_time: int
    cur_time: int
    skipped: int
    """Entries that are neither regular files nor hidden."""


def directory_times(root: bytes) -> tuple[int, int]:
    """The mtimes of new/ and cur/ in nanoseconds. Errors: NotADirectoryError, for a symlink too."""
    found = []
    for directory in DIRECTORIES:
        path = root + directory[:-1]
        status = os.lstat(path)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(path))
        found.append(status.st_mtime_ns)
    return found[0], found[1]


def trusted(times: tuple[int, int], now: int) -> tuple[int, int]:
    """The times of directories that are read `now`: UNTRUSTED in the place of one whose next change may not show."""
    new_time, cur_time = (time if now - time >= _RACY_NS else UNTRUSTED for time in times)
    return new_time, cur_time


def listing(root: bytes) -> tuple[list[bytes], int]:
    """The regular files of new/ and then cur/, with their directory; and how many other entries were skipped."""
    found: list[bytes] = []
    skipped = 0
    for directory in DIRECTORIES:
        with os.scandir(root + directory) as entries:
            for entry in entries:
                if entry.name.startswith(b"."):
                    continue
                if entry.is_file(follow_symlinks=False):
                    found.append(directory + entry.name)
                else:
                    skipped += 1
    return found, skipped


def matching(root: bytes, keys: AbstractSet[bytes]) -> list[bytes]:
    """The files of the messages with these keys, with their directory."""
    return [path for path in listing(root)[0] if not keys.isdisjoint(names.keys(path[PREFIX:]))]


def scan(root: bytes, known: Sequence[Row], clock: Callable[[], int]) -> Scan:
    """List the maildrop; only what `known` does not have is looked at. `clock` tells the time in nanoseconds."""
    for _ in range(_ATTEMPTS):
        began, times = clock(), directory_times(root)
        rows, skipped = _scan_once(root, known)
        if directory_times(root) == times:
            break
        known = rows
    return Scan(rows, *trusted(times, began), skipped)


def _scan_once(root: bytes, known: Sequence[Row]) -> tuple[list[Row], int]:
    files, skipped = listing(root)
    paths = {names.base(path[PREFIX:]): path for path in files}  # a base in both directories is one message: cur/ wins
    uidls = names.unique_ids(paths)
    rows = {row.uidl: row for row in known}
    found = []
    for base, path in paths.items():
        row = _row(root, path, uidls[base], rows.get(uidls[base]))
        if row is not None:
            found.append((row.arrival, base, row))
    found.sort()
    return [row for _, _, row in found], skipped


def _row(root: bytes, path: bytes, uidl: bytes, known: Row | None) -> Row | None:
    if known is None:
        return _look(root, path, uidl, *names.sizes(path))
    if known.flags & DISTRUSTED:
        return _look(root, path, uidl, None, None)
    return known if known.name == path else known._replace(name=path)


def _look(root: bytes, path: bytes, uidl: bytes, size: int | None, octets: int | None) -> Row | None:
    """The row of a message, from its name as far as it goes; None when it vanished or is no regular file."""
    arrival = names.arrival(path[PREFIX:])
    if size is not None and octets is not None and arrival is not None:
        return Row(arrival, path, uidl, size, octets, 0)
    try:
        status = os.lstat(root + path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    if arrival is None:
        arrival = max(0, status.st_mtime_ns // 1000)  # a time before the epoch is a clock that was wrong
    if octets is not None:
        return Row(arrival, path, uidl, status.st_size if size is None else size, octets, 0)
    try:
        measured = measure_file(root + path)
    except OSError:
        # It may become readable again without a change to its directory, so the row is not to be believed for long.
        return Row(arrival, path, uidl, status.st_size, status.st_size, DISTRUSTED)
    return Row(arrival, path, uidl, measured.size, measured.octets, WIRE if measured.wire else 0)


def measure_file(path: bytes) -> Measure:
    """Read the whole file, a chunk at a time."""
    measured = Measure()
    descriptor = open_to_read(path)
    try:
        while chunk := os.read(descriptor, CHUNK):
            measured.feed(chunk)
    finally:
        os.close(descriptor)
    return measured
