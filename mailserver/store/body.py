"""Open messages, as a session reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock

from twisted.internet.defer import Deferred
from zope.interface import implementer

from mailserver.errors import MessageTruncated
from mailserver.interfaces import IBody
from mailserver.store.maildir.packed import Unpacking

CHUNK = 256 * 1024
"""The most that one read gives: what the reactor thread may read at once, and larger reads gain nothing measurable."""


@implementer(IBody)
class BytesBody:
    """A message that lies in memory."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def read(self, limit: int) -> bytes:
        """Answers at once."""
        chunk = self._data[self._position : self._position + limit]
        self._position += len(chunk)
        return chunk

    def fileno(self) -> None:
        """There is no descriptor to send from."""

    def close(self) -> None:
        """Nothing is held."""


@implementer(IBody)
class FileBody:
    """An open file of `size` octets, read from its position, after the `head` that was read already; answers at once."""

    __slots__ = ("_descriptor", "_head", "_left")

    def __init__(self, descriptor: int, size: int, head: bytes = b"") -> None:
        self._descriptor = descriptor
        self._left = size
        self._head = head

    def read(self, limit: int) -> bytes:
        """At most `CHUNK` octets; its size is known, so the end costs no system call."""
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


@implementer(IBody)
class UnpackedBody:
    """The mail in an open packed file, after the octets that were unpacked `first`. It takes time, so it is for a thread."""

    __slots__ = ("_descriptor", "_first", "_unpacking")

    def __init__(self, descriptor: int, unpacking: Unpacking, first: bytes) -> None:
        self._descriptor = descriptor
        self._unpacking = unpacking
        self._first = first

    def read(self, limit: int) -> bytes:
        """At most `CHUNK` octets."""
        if self._first:
            chunk = self._first[:limit]
            self._first = self._first[limit:]
            return chunk
        try:
            return self._unpacking.read(min(limit, CHUNK))
        except OSError as error:
            raise MessageTruncated(f"a packed message cannot be read on: {error}") from error

    def fileno(self) -> None:
        """What lies in the file is not what is sent."""

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


@implementer(IBody)
class ThreadedBody:
    """A body whose every call that touches the disk runs in a thread, one at a time."""

    __slots__ = ("_body", "_lock", "_run")

    def __init__(self, body: FileBody | UnpackedBody, run: Callable[..., Deferred[bytes]]) -> None:
        self._body = body
        self._run = run
        # A descriptor closed under a read that still runs would name another session's file when it is used again.
        self._lock = Lock()

    def read(self, limit: int) -> Deferred[bytes]:
        """Answers later."""
        return self._run(self._alone, self._body.read, limit)

    def fileno(self) -> None:
        """Sendfile would read the disk on the reactor thread."""

    def close(self) -> None:
        """Close the file, after the read under way."""
        self._run(self._alone, self._body.close)

    def _alone(self, function: Callable[..., bytes], *arguments: int) -> bytes:
        with self._lock:
            return function(*arguments)
