"""Listening Unix sockets of a `Hub`: one that this process makes, with its file, and one that it was given.

A socket's file outlives a process that is killed. Nobody can connect to it then, so the next server tries that and removes it.
Twisted asks a lock file with a process's number instead, which in a container is often the number of the next server itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from twisted.internet import tcp, unix
from twisted.internet.error import CannotListenError
from twisted.python.failure import Failure

from mailserver.net.ports import Port

_TRIES: Final = 500
_PAUSE_SECONDS: Final = 0.01
"""Five seconds for a lock that others hold for the time of a bind, which is under a millisecond."""


class UNIXPort(Port, unix.Port):
    """A listening Unix socket and its file, which is removed at the end."""

    transport = unix.Server
    _made: tuple[int, int] | None = None

    @property
    def _path(self) -> bytes:
        """Of the file; Twisted 24.11, which is Debian 13's, has it by another name."""
        path: bytes = self._bindPath if hasattr(self, "_bindPath") else self.port
        return path

    def startListening(self) -> None:
        """Listen, where no living process does. Errors: CannotListenError, OSError of a folder that is not there or not readable."""
        path = self._path
        if path[:1] == b"\0":  # Linux's abstract names have no file
            super().startListening()
            return
        with _alone_in(os.path.dirname(path) or b"."):  # noqa: PTH120 - octets, as Twisted has them
            if _is_abandoned(path):
                os.unlink(path)  # noqa: PTH108
            super().startListening()
            self._made = _identity(path)

    @property
    def made(self) -> bool:
        """Whether the file is this process's to remove."""
        return self._made is not None

    def own(self) -> None:
        """Have the file from another process, as the one who removes it."""
        self._made = _identity(self._path)

    def leave(self) -> None:
        """Leave the file, too."""
        super().leave()
        self._made = None

    def connectionLost(self, reason: Failure) -> None:
        """Remove the file, unless it is another one's by now, and close. Errors: OSError of the removal; nothing is closed then."""
        if self._made is not None and _identity(self._path) == self._made:
            os.unlink(self._path)  # noqa: PTH108
        tcp.Port.connectionLost(self, reason)


class AdoptedUNIXPort(UNIXPort):
    """A Unix socket that another process has made, such as the parent or systemd: the file and its mode are that one's to see to."""

    _shouldShutdown = False  # it would end the socket in all processes that have it

    def startListening(self) -> None:
        """Accept. Twisted's own gives the file to everybody (0666), and sets a short backlog."""
        tcp._reservedFD.reserve()
        self.factory.doStart()
        port: Any = self  # as Twisted does it, whose types do not allow it
        port.socket, port._preexistingSocket = port._preexistingSocket, None
        port.fileno = port.socket.fileno
        port.connected = True
        port.startReading()


@contextmanager
def _alone_in(folder: bytes) -> Iterator[None]:
    """Hold the folder, so that of two servers which start at once one finds the other's socket. No file is needed, or left behind."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # one that may be written, or so the bind will say, and not read
        yield
        return
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: bytes) -> None:
    """Wait for another server's bind, and for nothing longer: whoever may read the folder may lock it for ever. Errors: CannotListenError."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)  # at the start, where nobody is served yet
        else:
            return
    raise CannotListenError(None, folder, OSError(errno.EBUSY, "another program holds a lock on its folder (see lsof)"))


def _identity(path: bytes) -> tuple[int, int] | None:
    """Which file a path leads to; None: to none."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _is_abandoned(path: bytes) -> bool:
    """Whether the path is a socket to which nobody listens any more. Errors: CannotListenError, if somebody does."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise CannotListenError(None, path, OSError(errno.EEXIST, "a file is there that is no socket"))
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except ConnectionRefusedError:
            return True
        except BlockingIOError:
            pass  # it listens, and more wait than it lets
        except OSError as error:  # somebody else's: EACCES, or EPROTOTYPE of another kind of socket
            raise CannotListenError(None, path, error) from None
    raise CannotListenError(None, path, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))
