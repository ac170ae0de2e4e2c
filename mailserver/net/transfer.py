"""The transfer of a message: converts stored octets to the body of a multi-line response."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
from collections.abc import Callable
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IFileDescriptor, IPullProducer
from zope.interface import implementer

from mailserver.answers import is_later
from mailserver.body import BytesBody
from mailserver.interfaces import IBody
from mailserver.protocol.wire import TERMINATION, Stuffer, TopCut

CHUNK = 120 * 1024
"""Octets of one read. With a CR for each LF, a chunk has less than 128 KiB.

glibc's allocator takes larger pieces from the system and gives them back, or not, depending on what the process did before: chunks
of 256 KiB cost no page faults or 12,000 for 2 x 10 MB, at twice the CPU. 64 KiB are 5 % dearer, for their calls.
"""

TOP_CHUNK = 16 * 1024
"""Octets of the first read for TOP: headers and a few lines seldom need more."""

SENDFILE_LEAST = 64 * 1024
"""Octets from which sendfile is worth it; a smaller message is read into the batch."""

SENDFILE_MOST = 8 * 1024 * 1024
"""Octets of one sendfile. What the socket's buffer holds ends most calls before; a client on the same machine that empties it
meanwhile lets this many pass, which is 2 ms."""


class Transfer:
    """RETR or TOP in progress: `read` gives the next chunk of the response, termination line included, until `done`."""

    __slots__ = ("_body", "_cut", "_limit", "_octets", "_stuffer", "asked", "done")

    def __init__(self, body: IBody, asked: Any, *, wire: bool, lines: int | None = None) -> None:
        self.asked = asked
        """The effect that it performs, for the connection that gets it back."""
        self._body = body
        self._stuffer = None if wire else Stuffer()
        self._cut = None if lines is None else TopCut(lines)
        self._limit = CHUNK if lines is None else TOP_CHUNK
        self._octets = 0
        self.done = False

    @property
    def octets(self) -> int:
        """The message's octets so far, as LIST counts them."""
        return self._octets if self._stuffer is None else self._stuffer.octets

    def read(self) -> bytes | Deferred[bytes]:
        """Return the next chunk, which may be empty. May answer at once. Errors: MessageTruncated."""
        body = self._body
        limit, self._limit = self._limit, CHUNK
        data = body.read(limit)
        if is_later(data):
            return data.addCallback(self._encode)
        chunk = self._encode(data)
        if isinstance(body, BytesBody) and body.ended and not self.done:
            chunk += self._encode(b"")  # a small message leaves whole
        return chunk

    def close(self) -> None:
        """Close the body."""
        self._body.close()

    def _encode(self, data: bytes) -> bytes:
        if not data:
            self.done = True
            return TERMINATION if self._stuffer is None else self._stuffer.end()
        if self._stuffer is None:
            self._octets += len(data)
        else:
            data = self._stuffer.feed(data)
        if self._cut is None:
            return data
        data = self._cut.feed(data)
        if self._cut.done:
            self.done = True
            data += TERMINATION
        return data


@implementer(IPullProducer)
class FileSender:
    """Sends a message in wire form from its file to a plain socket by sendfile: its octets never pass through Python.

    The transport drives it as a pull producer, so it resumes whenever the octets written before have left.
    """

    end = TERMINATION

    def __init__(self, transport: tcp.Connection, body: IBody, fileno: int, size: int, asked: Any) -> None:
        self.asked = asked
        """As of `Transfer`."""
        self.octets = 0
        """The octets that the socket has accepted so far."""
        self.error: OSError | None = None
        """The error that ended it early; None where the file was too short."""
        self._transport = transport
        self._body = body
        self._fileno = fileno
        self._size = size
        self._begun = False
        self._stopped: Callable[[FileSender], object] | None = None

    @property
    def whole(self) -> bool:
        """Whether the whole message was sent; its file may have been truncated meanwhile."""
        return self.octets == self._size

    def start(self, stopped: Callable[[FileSender], object]) -> None:
        """Take over the transport, which must have no producer, until `stopped` is called."""
        self._stopped = stopped
        self._transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Send as much as the socket accepts, and ask to be called when it accepts more."""
        if not self._begun:  # registerProducer calls at once; the status line must leave first
            self._begun = True
            self._transport.startWriting()
            return
        try:
            count = os.sendfile(
                self._transport.fileno(), self._fileno, self.octets, min(SENDFILE_MOST, self._size - self.octets)
            )
        except BlockingIOError:
            self._transport.startWriting()
            return
        except OSError as error:
            self.error = error
            count = 0
        self.octets += count
        if count and not self.whole:
            self._transport.startWriting()
        else:
            self._transport.unregisterProducer()
            if self._stopped is not None:
                self._stopped(self)

    def stopProducing(self) -> None:
        """Do nothing: the connection closes the body when it is lost."""

    def close(self) -> None:
        """Close the body, and end it early if it is under way."""
        self._stopped = None
        self._body.close()


def unsent_octets(transport: object) -> int:
    """Return the number of octets in the kernel that the peer has not acknowledged; 0 without a socket."""
    fileno = transport.fileno() if IFileDescriptor.providedBy(transport) else -1
    if fileno < 0:
        return 0
    (count,) = struct.unpack("i", fcntl.ioctl(fileno, termios.TIOCOUTQ, b"\0\0\0\0"))
    return int(count)
