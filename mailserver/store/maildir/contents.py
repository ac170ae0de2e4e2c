"""What lies in a message's file: the mail as it is, or packed. Measured for a scan, opened for a session."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from typing import NamedTuple

from mailserver.errors import MessageGone, MessageSealed
from mailserver.store.body import CHUNK, BytesBody, FileBody, UnpackedBody
from mailserver.store.maildir.files import open_message, open_to_read, opened, shown
from mailserver.store.maildir.index import CLAIMED, PACKED, SEALED, WIRE
from mailserver.store.maildir.packed import Unpacking, Unreadable, kind_of
from mailserver.store.measure import Measure

HEAD = 16 * 1024
"""Octets read at once of a message that nobody looked at before: all of most messages, and what TOP reads at a time."""


class Contents(NamedTuple):
    """What a row says of its file, as the reading of it found."""

    size: int
    """Octets of the file as it is stored."""
    octets: int
    """Octets on the wire."""
    flags: int


class Opened(NamedTuple):
    """A message's body, and what else was found."""

    body: BytesBody | FileBody | UnpackedBody
    lied: bool
    """Whether the file's name has a size that is not the file's, and none of a mail packed in it."""


def measured(path: bytes) -> Contents:
    """Read the whole file, a chunk at a time. Errors: OSError."""
    descriptor = open_to_read(path)  # not by a ``with``, which costs a scan as much as the opening
    try:
        return _measured(descriptor)
    finally:
        os.close(descriptor)


def _measured(descriptor: int) -> Contents:
    chunk = os.read(descriptor, CHUNK)
    kind = kind_of(chunk)
    if kind is None:
        result = Measure()
        while chunk:
            result.feed(chunk)
            chunk = os.read(descriptor, CHUNK)
        return Contents(result.size, result.octets, WIRE if result.wire else 0)
    size = os.fstat(descriptor).st_size
    if kind.make is None:
        return Contents(size, size, PACKED)  # what is missing may be installed some day
    try:
        return Contents(size, _unpacked_octets(Unpacking(descriptor, kind)), PACKED)
    except Unreadable:
        return Contents(size, size, PACKED | SEALED)


def _unpacked_octets(unpacking: Unpacking) -> int:
    result = Measure()
    while chunk := unpacking.read(CHUNK):
        result.feed(chunk)
    return result.octets


def beginning(path: bytes, step: int) -> Generator[bytes, None, None]:
    """The mail from its beginning, in pieces of at most `step` octets. Errors: OSError."""
    with opened(path) as descriptor:
        chunk = os.read(descriptor, step)
        kind = kind_of(chunk)
        unpacking = None if kind is None else Unpacking(descriptor, kind)
        if unpacking is not None:
            chunk = unpacking.read(step)
        while chunk:
            yield chunk
            chunk = os.read(descriptor, step) if unpacking is None else unpacking.read(step)


def open_at_once(path: bytes, size: int, flags: int) -> FileBody | None:
    """The body of a message that lies where it was listed; None where only `open_thoroughly` can tell.

    Bounded work: two system calls, and a third that the body's first read then saves. Errors: MessageGone; OSError.
    """
    if flags & PACKED:
        return None
    try:
        descriptor = open_message(path, size)
    except FileNotFoundError:
        return None  # another program renamed it
    except MessageGone:
        if flags & CLAIMED:
            return None
        raise
    if not flags & CLAIMED:
        return FileBody(descriptor, size)
    try:
        head = os.read(descriptor, HEAD)
    except BaseException:
        os.close(descriptor)
        raise
    if kind_of(head) is None:
        return FileBody(descriptor, size, head)
    os.close(descriptor)
    return None


def open_thoroughly(path: bytes, size: int, flags: int) -> Opened:
    """The body of a message, whatever its file is. For a thread. Errors: MessageGone, MessageSealed; OSError."""
    if not flags & (CLAIMED | PACKED):
        return Opened(FileBody(open_message(path, size), size), lied=False)
    descriptor = open_message(path, size) if flags & PACKED else open_to_read(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MessageGone(f"{shown(path)} is no regular file")
        head = os.read(descriptor, HEAD)
        kind = kind_of(head)
        if kind is None:
            return Opened(FileBody(descriptor, status.st_size, head), lied=status.st_size != size)
        try:
            unpacking = Unpacking(descriptor, kind)
            if flags & SEALED:
                raise Unreadable(f"it is {kind.name}, and was found to be damaged or too big when it was measured")
            body = _unpacked(descriptor, unpacking)
            if flags & CLAIMED and isinstance(body, UnpackedBody):
                _unpacked_octets(unpacking)  # damage is found before the answer begins: after it the session would end
                body = _unpacked(descriptor, Unpacking(descriptor, kind))
        except Unreadable as error:
            raise MessageSealed(f"{shown(path)} is not served: {error}") from error
    except BaseException:
        os.close(descriptor)
        raise
    return Opened(body, lied=False)


def _unpacked(descriptor: int, unpacking: Unpacking) -> BytesBody | UnpackedBody:
    """The mail in memory when it is small, which shows as well that it is whole; else its stream."""
    first = unpacking.read(CHUNK)
    if len(first) == CHUNK:
        return UnpackedBody(descriptor, unpacking, first)
    os.close(descriptor)
    return BytesBody(first)
