"""Open messages, which a session reads in chunks."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Protocol

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.errors import MessageTruncated
from mailserver.interfaces import IBody

CHUNK = 120 * 1024
"""Octets that one read returns at most: the reactor thread may read so much at once, and larger reads are slower (net.transfer)."""


@implementer(IBody)
class FileBody:
    """An open file with `size` octets left to read, the first of them in `head`; answers at once."""

    __slots__ = ("_descriptor", "_head", "_left")

    def __init__(self, descriptor: int, size: int, head: bytes = b"") -> None:
        self._descriptor = descriptor
        self._left = size
        self._head = head

    def read(self, limit: int) -> bytes:
        """At most `CHUNK` octets. The size is known, so the end costs no system call."""
        left = self._left
        if not left:
            return b""
        if self._head:
            chunk = self._head[:limit]
            self._head = self._head[limit:]
        else:
            chunk = self._read(min(left, limit, CHUNK))
        self._left = left - len(chunk)
        return chunk

    def _read(self, limit: int) -> bytes:
        try:
            chunk = os.read(self._descriptor, limit)
        except OSError as error:
            raise MessageTruncated(f"a message cannot be read on: {error}") from error
        if not chunk:
            raise MessageTruncated(f"a message ends {self._left} octets before the size that it was opened with")
        return chunk

    def fileno(self) -> int | None:
        """The descriptor, until it is closed."""
        return self._descriptor if self._descriptor >= 0 else None

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


class Blocking(Protocol):
    """A body whose reads take time, so they are for a thread."""

    def read(self, limit: int) -> bytes:
        """As IBody."""

    def close(self) -> None:
        """As IBody."""


@implementer(IBody)
class ThreadedBody:
    """A body that uses the disk only in a thread, one call at a time."""

    __slots__ = ("_body", "_lock", "_run")

    def __init__(self, body: Blocking, run: Callable[..., Deferred[bytes]]) -> None:
        self._body = body
        self._run = run
        # A descriptor closed under a read that still runs would name another session's file when it is used again.
        self._lock = Lock()

    def read(self, limit: int) -> Deferred[bytes]:
        """Answers later."""
        return self._run(self._alone, self._body.read, limit)

    def fileno(self) -> None:
        """None: sendfile would read the disk in the reactor thread."""

    def close(self) -> None:
        """Close the file, after the running read."""
        self._run(self._alone, self._body.close)

    def _alone(self, function: Callable[..., bytes], *arguments: int) -> bytes:
        with self._lock:
            return function(*arguments)
