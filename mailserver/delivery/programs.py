"""Runs a program of the site's in the background, without a shell: bounded in number and in time, and its failure is logged."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from typing import Any, Final, cast

from twisted.internet.error import ProcessDone
from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.incoming import Usage

SECONDS: Final = 60.0
"""How long a program may run: it sends a message or an HTTP request, and one that hangs must not keep the place of the next."""

AT_ONCE: Final = 2
"""Programs that run at the same time: a warning is in no hurry, and a wave of full maildrops must not take the machine from the mail."""

MAX_WAITING: Final = 1000
"""Warnings that wait; further ones are dropped and logged. At a second each, two at a time, the last one waits eight minutes."""

MAX_OUTPUT: Final = 500
"""Octets of what a failed program says that the log shows."""

log = Logger()


class Programs:
    """Runs `command` with two arguments more, the percentage and the user."""

    def __init__(self, reactor: Any, command: Sequence[str]) -> None:
        self._reactor = reactor
        self._command = command
        self._running: set[_Program] = set()
        self._waiting: deque[tuple[str, int, Usage]] = deque()

    def run(self, user: str, percent: int, usage: Usage) -> None:
        """Run it for a user, now or when its turn comes."""
        if len(self._waiting) >= MAX_WAITING:
            self.failed(user, "too many others wait", b"")
            return
        self._waiting.append((user, percent, usage))
        self._next()

    def _next(self) -> None:
        while self._waiting and len(self._running) < AT_ONCE:
            user, percent, usage = self._waiting.popleft()
            program = _Program(self, user)
            arguments = [*self._command, str(percent), user]
            env = {
                "PATH": os.environ.get("PATH", os.defpath),
                "MAILSERVER_USER": user,
                "MAILSERVER_PERCENT": str(percent),
                "MAILSERVER_OCTETS": str(usage.octets),
                "MAILSERVER_MESSAGES": str(usage.messages),
            }
            try:
                octets = [os.fsencode(each) for each in arguments]
                self._reactor.spawnProcess(program, octets[0], octets, env=env, path="/")
            except OSError as error:  # no memory, or no more processes
                self.failed(user, str(error.strerror), b"")
                continue
            self._running.add(program)
            program.watch(self._reactor)

    def ended(self, program: _Program) -> None:
        """Called by a program at its end."""
        self._running.discard(program)
        self._next()

    def failed(self, user: str, reason: str, output: bytes) -> None:
        """Log that a program did not do its work."""
        log.warn(
            "quota.warn_command failed for {user}: {reason}: {output!r}",
            event="delivery.warn_command",
            user=user,
            reason=reason,
            output=output.decode("utf-8", "backslashreplace"),
        )

    def stop(self) -> None:
        """Kill those that run, and forget those that wait."""
        self._waiting.clear()
        for program in list(self._running):
            program.kill("the server ends")


class _Program(ProcessProtocol):
    """One run of the program."""

    def __init__(self, programs: Programs, user: str) -> None:
        self._programs = programs
        self._user = user
        self._output = b""
        self._patience: Any = None
        self._killed = ""

    def watch(self, reactor: Any) -> None:
        """Give it so much time."""
        self._patience = reactor.callLater(SECONDS, self.kill, f"it ran for {SECONDS:.0f} s")

    def connectionMade(self) -> None:
        """Give it nothing to read."""
        cast(IProcessTransport, self.transport).closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Keep the beginning, as of errors."""
        self.errReceived(data)

    def errReceived(self, data: bytes) -> None:
        """Keep the beginning."""
        self._output = (self._output + data)[:MAX_OUTPUT]

    def processEnded(self, reason: Failure) -> None:
        """Log a failure, and make room for the next."""
        if self._patience is not None and self._patience.active():
            self._patience.cancel()
        if reason.check(ProcessDone) is None:
            why = f"it was killed, for {self._killed}" if self._killed else str(reason.value)
            self._programs.failed(self._user, why, self._output)
        self._programs.ended(self)

    def kill(self, why: str) -> None:
        """End it now. Its own children may stay behind, and hold its output open: without this they would also hold its place."""
        self._killed = why
        if self.transport is not None:
            if self.transport.pid is not None:
                self.transport.signalProcess("KILL")
            self.transport.loseConnection()
