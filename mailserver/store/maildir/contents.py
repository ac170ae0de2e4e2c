"""The contents of a message's file, plain or packed: measured for a scan, opened for a session."""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from typing import NamedTuple

from mailserver.body import BytesBody
from mailserver.errors import MessageGone, MessageSealed
from mailserver.store.body import CHUNK, FileBody
from mailserver.store.maildir.files import open_message, open_to_read, opened, read_message, shown
from mailserver.store.maildir.index import CLAIMED, PACKED, SEALED, WIRE
from mailserver.store.maildir.packed import UnpackedBody, Unpacking, Unreadable, kind_of
from mailserver.wireform import Measure

SMALL = 64 * 1024
"""Octets below which a message is read whole when it is opened: three system calls, and for a thread one hop. A larger one may go
to the client by sendfile.
"""

HEAD = 16 * 1024
"""Octets of the first read of a large message that was never measured: enough to know a packed file, and for TOP."""


class Contents(NamedTuple):
    """The measured columns of a row."""

    size: int
    """Octets of the stored file."""
    octets: int
    """Octets on the wire."""
    flags: int


class Opened(NamedTuple):
    """A message's body, and whether its file's name was right."""

    body: BytesBody | FileBody | UnpackedBody
    lied: bool
    """Whether the size in the file's name is neither the file's nor that of the mail packed in it."""


def measured(path: bytes) -> Contents:
    """Read the whole file, a chunk at a time. Errors: OSError."""
    descriptor = open_to_read(path)  # without a ``with``, which would cost as much as the open
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
        return Contents(size, size, PACKED)  # the missing library may be installed later
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


def open_at_once(path: bytes, size: int, flags: int) -> BytesBody | FileBody | None:
    """The body of a message that is where it was listed; None where only `open_thoroughly` can open it.

    Bounded work: three system calls. Errors: MessageGone; OSError.
    """
    try:
        return _as_listed(path, size, flags)
    except FileNotFoundError:
        return None  # another program renamed it


def _as_listed(path: bytes, size: int, flags: int) -> BytesBody | FileBody | None:
    """The body of a message; None if it is packed, or its file not of the size that its name claims."""
    if flags & PACKED:
        return None
    try:
        if size < SMALL:
            data = read_message(path, size)
            return None if flags & CLAIMED and kind_of(data) is not None else BytesBody(data)
        descriptor = open_message(path, size)
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
    listed = _as_listed(path, size, flags)
    if listed is not None:
        return Opened(listed, lied=False)
    descriptor = open_message(path, size) if flags & PACKED else open_to_read(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise MessageGone(f"{shown(path)} is not a regular file")
        head = os.read(descriptor, HEAD)
        kind = kind_of(head)
        if kind is None:
            return Opened(FileBody(descriptor, status.st_size, head), lied=status.st_size != size)
        try:
            unpacking = Unpacking(descriptor, kind)
            if flags & SEALED:
                raise Unreadable(f"it is {kind.name}, and measuring it showed that it is damaged or too big")
            body = _unpacked(descriptor, unpacking)
            if flags & CLAIMED and isinstance(body, UnpackedBody):
                _unpacked_octets(unpacking)  # find damage before the reply begins: later it would end the session
                body = _unpacked(descriptor, Unpacking(descriptor, kind))
        except Unreadable as error:
            raise MessageSealed(f"{shown(path)} is not served: {error}") from error
    except BaseException:
        os.close(descriptor)
        raise
    return Opened(body, lied=False)


def _unpacked(descriptor: int, unpacking: Unpacking) -> BytesBody | UnpackedBody:
    """A small mail in memory, which also checks that it is whole; a stream for a larger one."""
    first = unpacking.read(CHUNK)
    if len(first) == CHUNK:
        return UnpackedBody(descriptor, unpacking, first)
    os.close(descriptor)
    return BytesBody(first)
