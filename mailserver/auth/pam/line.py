"""The server's ends of the lines to the process that asks PAM; threads use them, one question a line at a time."""

from __future__ import annotations

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Final, Self

GRACE_SECONDS: Final = 1.0
"""How much longer the server waits than the other side: at the end of a question's time it kills the module and says so."""

MOST_ANSWER: Final = 65536
"""Octets; a home may be as long as a path."""


class LineEnded(Exception):
    """The process at the other end has ended."""


class NoAnswer(Exception):
    """There was no answer in time, or the one who had the question was killed; the text is for the log."""


SLOW: Final = "no answer in time: see what the service's modules wait for, and the system's log"
LOST: Final = "the process that had been asked was killed: see the kernel's log, such as for a lack of memory"


@dataclass
class Lines:
    """The lines to one process. A thread takes one, and so is alone with it."""

    sockets: list[socket.socket]
    _free: SimpleQueue[socket.socket] = field(default_factory=SimpleQueue)
    _over: bool = False
    _numbers: Any = field(default_factory=lambda: count(1))

    @classmethod
    def pairs(cls, number: int) -> tuple[Self, list[socket.socket]]:
        """New lines, and their other ends. Errors: OSError, and then none is open."""
        lines, others = cls([]), list[socket.socket]()
        try:
            for _ in range(number):
                own, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                lines.sockets.append(own)
                lines._free.put(own)
                others.append(other)
        except BaseException:
            for each in (*lines.sockets, *others):
                each.close()
            raise
        return lines, others

    def ask(self, question: dict[str, Any], until: float) -> dict[str, Any]:
        """The answer, in a thread. Errors: LineEnded, NoAnswer."""
        try:
            line = self._free.get_nowait()  # there are as many as threads
        except Empty:
            raise LineEnded from None
        try:
            return self._ask(line, question, until)
        except TimeoutError:
            raise NoAnswer(SLOW) from None
        except OSError:
            raise LineEnded from None
        finally:
            self._free.put(line)
            if self._over:
                self._close()

    def _ask(self, line: socket.socket, question: dict[str, Any], until: float) -> dict[str, Any]:
        number = next(self._numbers)
        _skip(line)
        line.settimeout(_left(until))
        line.send(json.dumps({**question, "number": number, "until": until}).encode("ascii"))
        while True:
            line.settimeout(_left(until))
            answer = _read(line)
            if answer["verdict"] == "lost":
                raise NoAnswer(LOST)
            if answer["number"] == number:
                return answer

    def end(self) -> None:
        """End the lines, also under threads that wait, and with them the other process; idempotent."""
        self._over = True
        for each in self.sockets:
            with suppress(OSError):  # it is closed, or the other process has gone
                each.shutdown(socket.SHUT_RDWR)
        self._close()

    def _close(self) -> None:
        """Close all lines that no thread has; a thread closes its own when it is done."""
        with suppress(Empty):
            while True:
                self._free.get_nowait().close()


def _left(until: float) -> float:
    """The seconds until no answer is waited for. Errors: TimeoutError."""
    left = until + GRACE_SECONDS - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _skip(line: socket.socket) -> None:
    """Drop what has come too late for the question before."""
    line.setblocking(False)
    with suppress(BlockingIOError):
        while _read(line):
            pass


def _read(line: socket.socket) -> dict[str, Any]:
    datagram = line.recv(MOST_ANSWER)
    if not datagram:
        raise ConnectionResetError
    answer: dict[str, Any] = json.loads(datagram)
    return answer
