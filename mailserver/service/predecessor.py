"""The process whose place this one takes, as this one sees it: what it leaves, and that it has left it or is gone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.errors import ConfigError
from mailserver.service.channel import Lines
from mailserver.service.legacy import ORDERS, STDERR, VARIABLE, WORDS, Legacy
from mailserver.service.remembered import REMEMBER
from mailserver.service.successor import SERVES, YOURS

_PIECE: Final = 65_536

log = Logger()


@implementer(IReadDescriptor)
class Predecessor:
    """It lives until its sessions have ended; `gone` tells that it has."""

    def __init__(self, pid: int, reactor: Any) -> None:
        self.pid = pid
        self._reactor = reactor
        self._lines = Lines(1 << 24)
        self._left: Callable[[], object] | None = None
        self._ended: Callable[[], object] | None = None
        self._hear: Callable[[Mapping[str, Any]], object] | None = None
        self.gone = False
        """Whether it has ended."""
        self.legacy = self._read()

    @classmethod
    def find(cls, environment: MutableMapping[str, str], reactor: Any) -> Predecessor | None:
        """The process that has started this one to take its place; None: somebody else has started it. Errors: ConfigError."""
        pid = environment.pop(VARIABLE, "")
        return cls(int(pid), reactor) if pid.isdecimal() else None

    def _read(self) -> Legacy:
        """The first line, which was written before this process began, or will be at once."""
        for each in (WORDS, ORDERS, STDERR):
            os.set_inheritable(each, False)
        found = b""
        while not found.endswith(b"\n"):  # it says no more before it was told that this one serves
            octets = os.read(ORDERS, _PIECE)
            if not octets:
                raise ConfigError(["the server whose place this process was to take is gone"])
            found += octets
        try:
            return Legacy.read(found)
        except (ValueError, TypeError, AttributeError):
            raise ConfigError(
                ["the running server is of a version that this one cannot follow: stop it, and start this one"]
            ) from None

    def serve(
        self,
        taken: Sequence[int],
        left: Callable[[], object],
        hear: Callable[[Mapping[str, Any]], object],
        ended: Callable[[], object],
    ) -> None:
        """Tell it that this process serves, with what it has taken.

        Calls `left` when all is this one's, `hear` with what it remembers, some at a time, and `ended` at its end.
        """
        self._left, self._hear, self._ended = left, hear, ended
        with suppress(BrokenPipeError):  # it is gone, which is heard next
            os.write(WORDS, json.dumps({"word": SERVES, "taken": list(taken)}).encode() + b"\n")
        self._reactor.addReader(self)

    def fileno(self) -> int:
        """The descriptor."""
        return ORDERS

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return "predecessor"

    def doRead(self) -> Any:
        """Read what is there."""
        octets = os.read(ORDERS, _PIECE)
        if not octets:
            return CONNECTION_DONE
        for line in self._lines.feed(octets):
            said = json.loads(line)
            if said.get("word") == YOURS:
                self._have()
            elif said.get("word") == REMEMBER and self._hear is not None:
                self._hear(said)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """It has ended, after its last session, or because it was killed; ConnectionLost is the end of this process."""
        if not reason.check(ConnectionDone):
            return
        self._have()
        self.gone = True
        ended, self._ended = self._ended, None
        if ended is not None:
            ended()

    def _have(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            os.dup2(STDERR, 2)
            left()
