"""A file for a log that never blocks: lines that its reader does not take are kept up to a limit, then dropped and counted.

The reader of a log may stop: a pager that waits for a key, a stopped shell job, a collector with a full disk. A blocking write
would then stop the whole server, at the first line over the 64 KiB that a pipe holds.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections import deque
from collections.abc import Callable
from threading import RLock
from typing import Any, Final

from twisted.internet.interfaces import IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

LIMIT: Final = 262_144
"""Octets that may wait for the reader: about a thousand lines, more than collect before a slow reader."""

FINISH_SECONDS: Final = 1.0
"""How long the end of the process waits for a reader that has fallen behind."""

_AGAIN: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

log = Logger()

Send = Callable[[bytes], int]
"""Writes as much as fits at once, and answers the number of octets. Errors: BlockingIOError; OSError without a reader."""


@implementer(IWriteDescriptor)
class LogPipe:
    """Takes whole lines, from any thread and from within signal handlers."""

    def __init__(self, descriptor: int, reactor: Any) -> None:
        self._descriptor, self._send, self._close = without_waiting(descriptor)
        self._reactor = reactor
        self._lock = RLock()
        self._lines: deque[bytes] = deque()
        self._waiting = 0  # octets in _lines
        self._dropped = 0
        self._pushing = self._watched = False

    def write(self, text: str) -> None:
        """Take a line, with its end; or count it, if there are too many."""
        line = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._dropped or self._waiting + len(line) > LIMIT:
                self._dropped += 1
            else:
                self._lines.append(line)
                self._waiting += len(line)
            if (
                not self._pushing
            ):  # else it was a signal that wrote, or the count below: who pushes takes this line, too
                self._push()

    def flush(self) -> None:
        """Do nothing, as `write` has done all that is possible; files have this method."""

    def finish(self) -> None:
        """Give the reader a last moment at the end of the process; later lines may be lost."""
        until = time.monotonic() + FINISH_SECONDS
        with self._lock:
            while self._lines and (left := until - time.monotonic()) > 0:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(left * 1000)
                self._push()

    def close(self) -> None:
        """Close the descriptor; nothing may be written afterwards."""
        self._close()

    def _push(self) -> None:
        self._pushing = True
        try:
            while self._lines:
                sent = self._send(self._lines[0])
                self._waiting -= sent
                rest = self._lines[0][sent:]
                if rest:
                    self._lines[0] = rest
                else:
                    self._lines.popleft()
                    self._report_dropped()
        except BlockingIOError:
            self._watch()
        except OSError:  # the reader is gone for good, which must not end the server
            self._dropped += len(self._lines)
            self._lines.clear()
            self._waiting = 0
        finally:
            self._pushing = False

    def _report_dropped(self) -> None:
        """Log the number of dropped lines in their place, after the last kept line."""
        if self._dropped and not self._lines:
            count, self._dropped = self._dropped, 0
            log.warn("{count} lines of the log were dropped: nobody read it", event="log.dropped", count=count)

    def _watch(self) -> None:
        if not self._watched:
            self._watched = True
            self._reactor.callFromThread(self._reactor.addWriter, self)  # from whatever thread, and before it runs

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return "log"

    def doWrite(self) -> None:
        """Write on: the reader reads again."""
        with self._lock:
            self._watched = False
            self._reactor.removeWriter(self)
            self._push()

    def connectionLost(self, reason: Failure) -> None:
        """Stop watching: the reactor ends, or the reader is gone."""


def without_waiting(descriptor: int) -> tuple[int, Send, Callable[[], None]]:
    """A descriptor to poll, a function that writes to the same file without blocking, and one that closes it.

    O_NONBLOCK belongs to the open file, which other processes share. So a pipe or a terminal is opened again, by its name in
    /proc, and a socket has a flag for each call. If it cannot be opened again, each write has only as many octets as a
    writable descriptor always accepts.
    """
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISSOCK(mode):
        connection = socket.socket(fileno=os.dup(descriptor))
        return connection.fileno(), lambda data: connection.send(data, socket.MSG_DONTWAIT), connection.close
    try:
        own = -1 if stat.S_ISREG(mode) else os.open(f"/proc/self/fd/{descriptor}", _AGAIN)
    except OSError:
        own = os.dup(descriptor)
        return own, lambda data: _polled(own, data), lambda: os.close(own)
    own = os.dup(descriptor) if own < 0 else own  # a file on a disk never blocks, and may be deleted
    return own, lambda data: os.write(own, data), lambda: os.close(own)


def _polled(descriptor: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])
