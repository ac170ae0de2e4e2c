"""Files for a log that never block: lines that its reader does not take are kept up to a limit, then dropped and counted.

The reader of a log may stop: a pager that waits for a key, a stopped shell job, a collector with a full disk. A blocking write
would then stop the whole server, at the first line over the 64 KiB that a pipe holds.

Lines may also be collected for a moment and written together. In a file that saves a microsecond for each; in the pipe of a worker it
saves its parent a turn of the reactor.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Any, ClassVar, Final

from twisted.internet.interfaces import IWriteDescriptor
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

LIMIT: Final = 262_144
"""Octets that may wait for the reader: about a thousand lines, more than collect before a slow reader."""

BATCH_SECONDS: Final = 0.2
"""How long a line may wait for others: who looks at the log does not notice it."""

BATCH_OCTETS: Final = 16_384
"""So much is written without waiting: 80 lines, after which a write costs each of them nothing; and a pipe holds four times as much."""

FINISH_SECONDS: Final = 1.0
"""How long the end of the process waits for a reader that has fallen behind."""

_AGAIN: Final = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

log = Logger()

Send = Callable[[bytes], int]
"""Writes as much as fits at once, and answers the number of octets. Errors: BlockingIOError; OSError without a reader."""


@implementer(IWriteDescriptor)
class LogPipe:
    """Takes whole lines, from any thread and from within signal handlers.

    If it is `batched`, a line waits for others, or for `flush`, while the reactor runs; else each is written at once.
    """

    _why_dropped: ClassVar = "nobody read it"

    def __init__(self, descriptor: int, reactor: Any, *, batched: bool = False) -> None:
        self._descriptor, self._send, self._close = without_waiting(descriptor)
        self._reactor = reactor
        self._batched = batched
        self._lock = RLock()
        self._lines: list[bytes] = []
        self._rest = b""  # what is being written; it goes before `_lines`
        self._waiting = 0  # octets in both
        self._dropped = 0
        self._pushing = self._watched = self._timed = False

    def write(self, text: str) -> None:
        """Take a line, with its end; or count it, if there are too many."""
        line = text.encode("utf-8", "backslashreplace")
        size = len(line)
        with self._lock:
            if self._dropped or (self._waiting and self._waiting + size > LIMIT):  # one line of any length is taken
                self._dropped += 1
            else:
                self._lines.append(line)
                self._waiting += size
            if self._batched and self._waiting < BATCH_OCTETS and self._reactor.running:
                self._push_later()
            else:
                self._push()

    def flush(self) -> None:
        """Write what is there, as far as its reader takes it."""
        with self._lock:
            self._push()

    def finish(self) -> None:
        """Give the reader a last moment at the end of the process; later lines are written at once, and may be lost."""
        until = time.monotonic() + FINISH_SECONDS
        with self._lock:
            self._batched = False
            self._push()
            while self._waiting and (left := until - time.monotonic()) > 0:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll(left * 1000)
                self._push()

    def close(self) -> None:
        """Close the descriptor; nothing may be written afterwards."""
        self._close()

    def _push(self) -> None:
        if self._pushing:
            return  # it was a signal that wrote, or the count below: who pushes takes this line, too
        self._pushing = True
        try:
            while self._rest or self._lines:
                if not self._rest:
                    lines, self._lines = self._lines, []
                    self._rest = b"".join(lines)
                sent = self._send(self._rest)
                self._waiting -= sent
                self._rest = self._rest[sent:]
                self._report_dropped()
        except BlockingIOError:
            self._watch()
        except OSError:
            self._refused()
        finally:
            self._pushing = False

    def _refused(self) -> None:
        """The reader is gone for good, which must not end the server."""
        self._dropped += self._rest.count(b"\n") + len(self._lines)
        self._rest, self._lines, self._waiting = b"", [], 0

    def _report_dropped(self) -> None:
        """Log the number of dropped lines in their place, after the last kept line."""
        if self._dropped and not (self._rest or self._lines):
            count, self._dropped = self._dropped, 0
            text = "{count} lines of the log were dropped: {reason}"
            log.warn(text, event="log.dropped", count=count, reason=self._why_dropped)

    def _push_later(self) -> None:
        if not self._timed:
            self._timed = True
            self._reactor.callFromThread(self._reactor.callLater, BATCH_SECONDS, self._push_now)  # from whatever thread

    def _push_now(self) -> None:
        self._timed = False
        self.flush()

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


class LogFile(LogPipe):
    """A file on a disk, which can be opened again under its name after it was renamed."""

    _why_dropped: ClassVar = "its disk took no more"

    def __init__(self, descriptor: int, path: str, reactor: Any) -> None:
        super().__init__(descriptor, reactor, batched=True)
        self._path = Path(path).absolute()

    def reopen(self) -> None:
        """Close the file, whatever its name is now, and open one with the old name. Errors: OSError; nothing changes then."""
        new = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        with self._lock:
            self._push()
            self._close()
            self._descriptor, self._send, self._close = without_waiting(new)
        os.close(new)

    def finish(self) -> None:
        """Write what is there; later lines are written at once."""
        self._batched = False
        self.flush()

    def _refused(self) -> None:
        """The disk is full, or so: what is there waits for the next line, so that none is torn when there is room again."""


@implementer(ILogObserver)
class LineObserver:
    """Writes each event as a line of a form; what is more than information, and all before it, is written at once."""

    def __init__(self, file: LogPipe, form: Callable[[LogEvent], str]) -> None:
        self._file = file
        self._form = form

    def __call__(self, event: LogEvent) -> None:
        """Write the event, if its form has a line for it."""
        line = self._form(event)
        if line:
            self._file.write(line)
            if event.get("log_level") not in _ROUTINE:
                self._file.flush()


_ROUTINE: Final = (LogLevel.info, LogLevel.debug)


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
