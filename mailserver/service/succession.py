"""A restart without a refused connection: a new process takes the place of this one, which goes on if that one cannot serve."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.internet.error import ReactorNotRunning
from twisted.logger import Logger

from mailserver.service.legacy import FIRST
from mailserver.service.mail import MailService
from mailserver.service.notify import Notifier
from mailserver.service.origin import Origin
from mailserver.service.predecessor import Predecessor
from mailserver.service.successor import CannotServe, Successor
from mailserver.service.whole import Outcome

_CANNOT_RUN: Final = "cannot run {}: {}; the user that serves must be allowed to, or restart it by what starts it"
_STOPPED: Final = "the server was stopped meanwhile"

log = Logger()


class Pidfile:
    """The file with twistd's pid, at `path`; "": there is none. twistd removes it at its end, as its `options` name it.

    It stays open from the start on, since later the process may not be allowed to open it.
    """

    def __init__(self, path: str, options: MutableMapping[str, Any] | None) -> None:
        self._path = path
        self._options = options
        self.descriptor: int | None = None

    def open(self) -> None:
        """Open it, when twistd has written it."""
        if self._path and self.descriptor is None:
            with suppress(OSError):  # it is as if there were none
                self.descriptor = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)

    def have(self, descriptor: int | None) -> None:
        """Write this process's pid into the one before's."""
        if descriptor is None:
            return
        os.set_inheritable(descriptor, False)
        self.descriptor = descriptor
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d" % os.getpid(), 0)
        if self._options is not None:
            self._options["pidfile"] = self._path

    def leave(self) -> None:
        """Leave it to another process."""
        if self._options is not None and self._path:
            self._options["pidfile"] = ""


class Succession:
    """This process's place between the one before it, if it was started by that, and the one after it."""

    def __init__(  # noqa: PLR0913, PLR0917 - what another process takes over
        self,
        origin: Origin,
        mail: MailService,
        notifier: Notifier,
        pidfile: Pidfile,
        predecessor: Predecessor | None,
        reactor: Any,
    ) -> None:
        self._origin = origin
        self._mail = mail
        self._notifier = notifier
        self._pidfile = pidfile
        self._predecessor = predecessor
        self._reactor = reactor
        self._successor: Successor | None = None
        self._left = self._stops = False
        self._restarting = DeferredLock()

    # The one before.

    def serves(self, told: Callable[[], object]) -> None:
        """This process serves. `told` is called when it is the server's only one that accepts."""
        if self._predecessor is None:
            told()
            return
        predecessor = self._predecessor

        def left() -> None:
            self._mail.own()
            self._pidfile.have(predecessor.legacy.pidfile)
            told()

        predecessor.serve(self._mail.taken(), left, self._mail.hear, self._mail.bury)

    # The one after.

    def restart(self) -> Deferred[Outcome]:
        """Start it, and leave all to it when it serves. Never fails."""
        reason, status = self._obstacle()
        if reason:
            return succeed(_refused(reason, status))
        return self._restarting.run(lambda: Deferred.fromCoroutine(self._restart()))

    async def follower(self) -> int:
        """The process that has this one's place, when a restart is over that is under way; 0: this one has it."""
        async with self._restarting:
            return self._successor.pid if self._left and self._successor is not None else 0

    def stop(self) -> None:
        """This process stops: one that does not serve yet is not to take its place."""
        self._stops = True
        if self._successor is not None and not self._left:
            self._successor.kill(_STOPPED)

    async def _restart(self) -> Outcome:
        log.info("a new process is started, to take the place of this one", event="restart.begun")
        try:
            self._successor = self._start()
            taken = await self._successor.serving
        except (CannotServe, OSError) as error:
            self._successor = None
            if self._stops:
                return _refused(_STOPPED, os.EX_TEMPFAIL)
            problems = (
                error.problems
                if isinstance(error, CannotServe)
                else [_CANNOT_RUN.format(sys.executable, error.strerror)]
            )
            return _failed(problems, error.status if isinstance(error, CannotServe) else 1)
        self._left = True
        pid = self._successor.pid
        log.info("process {pid} serves, and this one ends with its last session", event="restart.done", pid=pid)
        self._notifier.succeeded_by(pid)
        self._pidfile.leave()
        self._mail.leave(taken)
        told = self._successor.leave_all(self._mail.remembered())
        self._reactor.callLater(0, self._retire, told)  # when the operator is answered
        return Outcome(pid=pid)

    def _start(self) -> Successor:
        legacy, descriptors = self._mail.leaves()
        if self._pidfile.descriptor is not None:
            legacy.pidfile = FIRST + len(descriptors)
            descriptors.append(self._pidfile.descriptor)
        return Successor.start(self._origin, legacy, descriptors, self._reactor)

    def _obstacle(self) -> tuple[str, int]:
        """Why there can be no restart now, and the exit status for an operator; "": nothing is in its way."""
        if self._left and self._successor is not None:
            return f"process {self._successor.pid} has this one's place already", os.EX_TEMPFAIL
        if self._successor is not None:
            return "another restart is under way: wait for it", os.EX_TEMPFAIL
        if self._predecessor is not None and not self._predecessor.gone:
            pid = self._predecessor.pid
            return f"process {pid}, before this one, still has sessions: try again when it has ended", os.EX_TEMPFAIL
        if not self._mail.alive:
            return "the server does not serve yet, or it stops", os.EX_TEMPFAIL
        if os.getpid() == 1:
            text = "this process is a container's first, whose end ends the container: restart that"
            return text, os.EX_UNAVAILABLE
        return "", os.EX_OK

    def _retire(self, told: Deferred[None]) -> None:
        retired = Deferred.fromCoroutine(self._mail.retire())
        retired.addErrback(lambda failure: log.failure("fault in a restart", failure, event="restart.fault"))
        retired.addCallback(lambda _: told).addCallback(lambda _: self._end())

    def _end(self) -> None:
        with suppress(ReactorNotRunning):  # it was stopped meanwhile
            self._reactor.stop()


def _refused(reason: str, status: int) -> Outcome:
    log.warn("no restart: {reason}", event="restart.refused", reason=reason)
    return Outcome(status, [reason])


def _failed(problems: Any, status: int) -> Outcome:
    for problem in problems:
        log.error(
            "the new process cannot serve, and this one goes on: {problem}", event="restart.failed", problem=problem
        )
    return Outcome(status, problems)
