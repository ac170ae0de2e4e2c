"""A file for a log that never waits: what its reader does not take is kept up to a bound, then dropped and counted.

Whoever reads a log may be stopped: a pager that waits for a key, a shell's job, a full disk behind a collector. A blocking
write would then stop the whole server, at the first line over the 64 KiB that a pipe holds.
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
"""Octets that wait for the reader: some thousand lines, more than a reader that is merely slow lets pile up."""

FINISH_SECONDS: Final = 1.0
"""How long the end of the process waits for a reader that has fallen behind."""

_AGAIN: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

log = Logger()

Send = Callable[[bytes], int]
"""Writes what fits at once and answers how much. Errors: BlockingIOError; another OSError when nobody will ever read."""


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
        """For the file that we stand for: `write` has done what can be done."""

    def finish(self) -> None:
        """Give the reader a last moment; the process ends, and what it still logs may be lost."""
        until = time.monotonic() + FINISH_SECONDS
        with self._lock:
            while self._lines and (left := until - time.monotonic()) > 0:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(left * 1000)
                self._push()

    def close(self) -> None:
        """Let go of the descriptor; nothing may be written any more."""
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
                    self._confess()
        except BlockingIOError:
            self._watch()
        except OSError:  # the reader has gone for good; a server does not end for that
            self._dropped += len(self._lines)
            self._lines.clear()
            self._waiting = 0
        finally:
            self._pushing = False

    def _confess(self) -> None:
        """Tell how many were dropped, where they are missing: behind the last that was kept."""
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
        """The reader reads again."""
        with self._lock:
            self._watched = False
            self._reactor.removeWriter(self)
            self._push()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor ends, or the reader has gone: there is nothing to watch."""


def without_waiting(descriptor: int) -> tuple[int, Send, Callable[[], None]]:
    """A descriptor to poll, how to write to the same file without ever waiting, and how to close it.

    O_NONBLOCK belongs to the open file, which other processes share: a pipe or a terminal is opened once more, by its name
    in /proc, and a socket has a flag for each call. Where it may not be opened again, only as much is written as a
    descriptor that can be written to always takes.
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
    own = os.dup(descriptor) if own < 0 else own  # a file of a disk never makes wait, and may be one that was deleted
    return own, lambda data: os.write(own, data), lambda: os.close(own)


def _polled(descriptor: int, data: bytes) -> int:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    if not poll.poll(0):
        raise BlockingIOError
    return os.write(descriptor, data[: select.PIPE_BUF])
