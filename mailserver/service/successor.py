"""The new process that takes this one's place, as this one sees it: it is started, heard until it serves, and left alone then."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure

from mailserver.service.channel import Lines
from mailserver.service.legacy import FIRST, ORDERS, STDERR, VARIABLE, WORDS, Legacy
from mailserver.service.origin import Origin
from mailserver.service.whole import LONGEST_PROBLEM

TELL_SECONDS: Final = 20.0
"""How long it may take to be told what this process remembers: as long as sessions have to end."""

START_SECONDS: Final = 90.0
"""How long the new process may take until it serves: as long as systemd lets a service start."""

_NOT_INHERITED: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID")
"""Variables of systemd that were meant for this process alone."""

_KEPT: Final = 64 * 1024
"""Octets of standard error that are kept to tell why the new process cannot serve: its end is what tells."""

SERVES: Final = "serves"
"""Its one word, with the descriptors that it has taken."""
YOURS: Final = "yours"
"""The answer: all of them are its own now."""

log = Logger()


class CannotServe(Exception):
    """The new process cannot serve. `problems` tell the operator why, `status` is the exit status for his command."""

    def __init__(self, problems: Sequence[str], status: int = 1) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems
        self.status = status


class _Spoken:
    """Lines, as a file that FileSender reads."""

    def __init__(self, words: Iterable[Mapping[str, Any]]) -> None:
        self._words = iter(words)

    def read(self, _size: int) -> bytes:
        """The next line, however long it is; none at the end."""
        word = next(self._words, None)
        return b"" if word is None else json.dumps(word).encode() + b"\n"


class Successor(ProcessProtocol):
    """The process. `serving` fires with the descriptors that it has taken, or fails with CannotServe, and is told once."""

    transport: Any

    def __init__(self, legacy: Legacy, reactor: Any) -> None:
        self._legacy = legacy
        self._reactor = reactor
        self._words = Lines(64 * 1024)
        self._said = b""
        self._late: IDelayedCall | None = None
        self.serving: Deferred[list[int]] = Deferred()
        self.pid = 0

    @classmethod
    def start(cls, origin: Origin, legacy: Legacy, descriptors: Sequence[int], reactor: Any) -> Successor:
        """Start it by the same command line, in the same folder, with these descriptors. Errors: OSError."""
        made = cls(legacy, reactor)
        children: dict[int, int | str] = {0: 0, 1: 1, 2: "r", WORDS: "r", ORDERS: "w", STDERR: 2}
        children.update(enumerate(descriptors, FIRST))
        environment = {name: value for name, value in origin.environment.items() if name not in _NOT_INHERITED}
        environment[VARIABLE] = str(os.getpid())
        command = [sys.executable, *origin.command[1:]]
        reactor.spawnProcess(made, sys.executable, command, env=environment, path=origin.folder, childFDs=children)
        return made

    def connectionMade(self) -> None:
        """Tell it what it has."""
        self.pid = self.transport.pid
        self._late = self._reactor.callLater(START_SECONDS, self._give_up)
        self.transport.writeToChild(ORDERS, json.dumps(self._legacy.plain()).encode() + b"\n")

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803 - Twisted's name
        """Hear it, and pass on what it writes on standard error."""
        if childFD == WORDS:
            for line in self._words.feed(data):
                self._heard(line)
        else:
            self._said = (self._said + data)[-_KEPT:]
            sys.__stderr__.write(data.decode("utf-8", "backslashreplace")) if sys.__stderr__ else None

    def _heard(self, line: bytes) -> None:
        try:
            said = json.loads(line)
            taken = [int(each) for each in said["taken"]] if said["word"] == SERVES else None
        except (ValueError, TypeError, KeyError):
            return
        if taken is not None and self._settle():
            self.serving.callback(taken)

    def leave_all(self, remembered: Iterable[Mapping[str, Any]]) -> Deferred[None]:
        """Tell it that what it has taken is its own, and then all that this process remembers, as fast as it reads.

        Fires when that is told, or the process is gone or too slow. Never fails.
        """
        pipe = self.transport.pipes.get(ORDERS)
        if pipe is None:
            return succeed(None)
        sent: Deferred[Any] = FileSender().beginFileTransfer(_Spoken(chain([{"word": YOURS}], remembered)), pipe)
        return sent.addTimeout(TELL_SECONDS, self._reactor).addBoth(lambda _: None)

    def kill(self, why: str) -> None:
        """End it, since it is not to serve, whatever it has said that nobody has heard yet."""
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")
        if self._settle():
            self.serving.errback(CannotServe([why]))

    def processEnded(self, reason: Failure) -> None:
        """It has ended, without serving if nobody was told before."""
        if self._settle():
            code = reason.value.exitCode if isinstance(reason.value, ProcessTerminated) else 0
            self.serving.errback(CannotServe(self._why(code, reason), os.EX_CONFIG if code == os.EX_CONFIG else 1))

    def _why(self, code: int | None, reason: Failure) -> list[str]:
        lines = [line.rstrip() for line in self._said.decode("utf-8", "backslashreplace").splitlines()]
        told = [line.removeprefix("mailserver: ") for line in lines if line.startswith("mailserver: ")]
        if code == os.EX_CONFIG and told:
            return told
        last = next((line for line in reversed(lines) if line), "it wrote nothing on standard error")
        return [
            f"the new process ended before it served ({reason.getErrorMessage().rstrip('.')}): {last[:LONGEST_PROBLEM]}"
        ]

    def _give_up(self) -> None:
        self.kill(f"the new process does not serve after {START_SECONDS:.0f} s, and was ended")

    def _settle(self) -> bool:
        """Whether nothing was told yet."""
        if self._late is not None and self._late.active():
            self._late.cancel()
        return not self.serving.called
