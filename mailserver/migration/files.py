"""Files of another server's, read without trust: no links or pipes are followed, and nothing waits or is written."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from mailserver.migration.source import SourceError, Unreadable

CHUNK: Final = 256 * 1024
"""Octets read at once."""

OVERLAP: Final = 1024
"""Octets in which a match of `Octets.search` is found whole."""

BEHIND: Final = 2
"""Octets before a match at which a pattern may look."""


def explain(error: OSError) -> str:
    """What the system says, and who has no rights; without the path, which the caller names."""
    text = error.strerror or type(error).__name__
    if isinstance(error, PermissionError):  # a command that root has started is another user by now
        return f"{text} for uid {os.geteuid()}: let it read this (setfacl -R -m u:{os.geteuid()}:rX), or a copy"
    return text


def open_regular(path: str) -> tuple[int, os.stat_result]:
    """Open a regular file; the caller closes it. Errors: OSError."""
    # Without O_NONBLOCK a pipe that somebody has put there would wait for its writer for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(0, "not a regular file")
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor, status


def read_file(path: str) -> Iterator[bytes]:
    """The octets of a message's file, in pieces. Errors: Unreadable."""
    try:
        descriptor, _ = open_regular(path)
    except OSError as error:
        raise Unreadable(explain(error)) from error
    try:
        while chunk := os.read(descriptor, CHUNK):
            yield chunk
    except OSError as error:
        raise Unreadable(explain(error)) from error
    finally:
        os.close(descriptor)


class Octets:
    """A large file, searched through a window of some hundred kilobytes. Positions are octets from its start."""

    def __init__(self, path: str) -> None:
        """Errors: SourceError."""
        self.path = path
        try:
            self._descriptor, status = open_regular(path)
        except OSError as error:
            raise SourceError(f"{path}: {explain(error)}") from error
        self.size = status.st_size
        self.mtime = status.st_mtime
        self._base = 0
        self._window = b""

    def close(self) -> None:
        """Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def at(self, position: int, count: int) -> bytes:
        """At most `count` octets, fewer only at the end of the file. Errors: SourceError."""
        start = self._hold(position, min(count, max(0, self.size - position)))
        return self._window[start : start + count]

    def search(self, pattern: re.Pattern[bytes], start: int) -> tuple[int, bytes] | None:
        """The first match from `start` on: its position and its octets, at most `OVERLAP`. Errors: SourceError."""
        while start < self.size:
            before = max(0, start - BEHIND)
            within = self._hold(before, min(OVERLAP, self.size - before)) + start - before
            found = pattern.search(self._window, within)
            end = self._base + len(self._window)
            if found is not None and (end >= self.size or found.start() + OVERLAP <= len(self._window)):
                return self._base + found.start(), found[0]
            if found is None and end >= self.size:
                return None
            start = max(start, end - OVERLAP) if found is None else self._base + found.start()
            self._window = b""  # the next one begins there
        return None

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The octets between two positions. Errors: SourceError."""
        while start < end:
            piece = self.at(start, min(CHUNK, end - start))
            yield piece
            start += len(piece)

    def _hold(self, position: int, count: int) -> int:
        """Have these octets in the window; the index of the first one there."""
        if not self._base <= position <= position + count <= self._base + len(self._window):
            try:
                self._window = os.pread(self._descriptor, max(count, CHUNK), position)
            except OSError as error:
                raise SourceError(f"{self.path}: {explain(error)}") from error
            self._base = position
            if len(self._window) < count:
                raise SourceError(
                    f"{self.path}: the file was cut while it was read; stop what writes to it, and begin again"
                )
            self._window = self._window[: max(0, self.size - position)]
        return position - self._base
