"""Unique file names for messages that we deliver: ``SECONDS.MmicrosecondsPpidQnumberRrandom.host``.

Two names are never equal: of one process by the number, of processes at one time by the pid, and of processes that had one
pid by the random part, even if a clock was set back meanwhile. Names of one process sort in the order in which they were made,
and so do, by their times, those of several.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from hashlib import sha256
from socket import gethostname
from typing import Final

_HOST: Final = 24
"""Octets of the host in a name: with all else at its longest they give 70, so that a name is a unique-id (RFC 1939 section 7)."""

_ESCAPED = re.compile(rb"[^0-9A-Za-z._-]")
"""Octets that are escaped: slash and colon by Maildir's rule, the comma since it ends the unique part, and whatever is no host name."""

_OURS: Final = re.compile(rb"[0-9]+\.M[0-9]{6}P[0-9]+Q[0-9]{2,}R[0-9a-f]{6}\.")

_SECOND: Final = 1_000_000_000
_BACKWARDS: Final = 3600 * _SECOND
"""By how much a clock may go back while our names go on: a step of NTP is less. After a greater one it was wrong before."""


class UniqueNames:
    """Makes unique names, for the thread of the reactor alone. `clock` answers nanoseconds of the epoch."""

    __slots__ = ("_clock", "_host", "_last", "_number", "_pid", "_random")

    def __init__(self, host: str | None = None, clock: Callable[[], int] = time.time_ns) -> None:
        self._host = escaped(gethostname() if host is None else host)
        self._clock = clock
        self._last = 0
        self._number = 0
        self._pid = 0
        self._random = b""

    def name(self, received: float | None = None) -> bytes:
        """The next name; `received` is the time in it, in seconds of the epoch, or else it is the time now."""
        pid = os.getpid()
        if pid != self._pid:  # the process was forked since the last name
            self._pid, self._random = pid, os.urandom(3).hex().encode("ascii")
        self._number += 1
        micros = self._now() if received is None else max(0, int(received * 1_000_000))
        number = _sortable(self._number)
        return b"%d.M%06dP%dQ%bR%b.%b" % (*divmod(micros, 1_000_000), pid, number, self._random, self._host)

    def _now(self) -> int:
        """The time in microseconds, later than the last, since messages of one microsecond would sort by their directories."""
        now = self._clock()
        if now // 1000 <= self._last and self._last * 1000 - now < _BACKWARDS:
            self._last += 1
        else:
            self._last = now // 1000
        return self._last


def is_ours(name: bytes) -> bool:
    """Whether a file's name is of this module's form, which no other program uses."""
    return _OURS.match(name) is not None


def escaped(host: str) -> bytes:
    r"""The host as a part of a name: other octets as ``\ooo``, and a long one with a hash instead of its end."""
    name = _ESCAPED.sub(lambda match: b"\\%03o" % match[0][0], host.encode("utf-8", "surrogateescape"))
    if len(name) > _HOST:
        digest = sha256(name).hexdigest()[:10].encode("ascii")
        name = name[: _HOST - len(digest) - 1] + b"-" + digest
    return name or b"localhost"


def _sortable(number: int) -> bytes:
    """The number with the number of its digits before it, so that numbers sort as text, too: 19 (9), 210 (10)."""
    text = b"%d" % number
    return b"%d%b" % (len(text), text)
