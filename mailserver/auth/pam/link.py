"""The link to the process that asks PAM: starts it while there are rights to give it, and asks it from a pool of threads."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from mailserver.asker import asker
from mailserver.auth.pam.line import LineEnded, Lines, NoAnswer
from mailserver.auth.pam.options import Options
from mailserver.errors import TemporaryFailure, Unusable
from mailserver.pam.keeper import COMMAND, FIRST_LINE, FOLDER, PAUSE_SECONDS
from mailserver.pam.login import Policy
from mailserver.pool import Pool

MAX_WAITING: Final = 100
"""As for hashes: a stack that takes 100 ms answers the last one after some seconds."""

SHARE: Final = 20
"""Logins of one address that may wait, so that it keeps no other out."""

QUIET_SECONDS: Final = 60.0
"""Trouble that comes and goes, as with one module for some users, is told once a minute."""

END_SECONDS: Final = 2.0
"""How long a stop waits for the process, which ends at once, unless somebody has stopped it."""

LONGEST_PAUSE: Final = 60.0
"""Between two starts of a process that ends each time, each of which is logged."""

LEFT_OUT: Final = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")
"""What the service manager has given to the server alone. PAM's modules may need other variables of the environment."""

GONE: Final = (
    "the process that asks PAM has ended, and one with its rights can only be started as root: restart the server"
)

log = Logger()


class PamUnusable(Unusable):
    """PAM cannot work here."""


class Link:
    """One process that asks PAM, and the threads that wait for it.

    `begin` starts it with the rights of that moment. It is started anew where it ends and this process has still the same
    rights.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._reactor: Any = None
        self._lines: Lines | None = None
        self._pool: Pool | None = None
        self._uid = -1
        self._checked = False
        self._watch: Watch | None = None
        self._anew: Any = None
        self._pause = PAUSE_SECONDS
        self._trouble = ""
        self._told = float("-inf")

    @property
    def running(self) -> bool:
        """Whether it was started."""
        return self._pool is not None

    def begin(self, reactor: Any) -> None:
        """Start the process; idempotent. Errors: OSError."""
        if self._lines is not None:
            return
        self._reactor, self._uid = reactor, os.geteuid()
        lines, others = Lines.pairs(self._options.processes)
        env = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
        watch = Watch(self, lines)
        try:
            with Path(os.devnull).open("r+b", buffering=0) as nowhere:
                descriptors = {0: nowhere.fileno(), 1: nowhere.fileno(), 2: 2}
                descriptors |= {FIRST_LINE + at: each.fileno() for at, each in enumerate(others)}
                reactor.spawnProcess(watch, sys.executable, self._command(), env=env, path="/", childFDs=descriptors)
        except BaseException:
            lines.end()
            raise
        finally:
            for each in others:
                each.close()
        self._lines, self._watch = lines, watch

    def _command(self) -> list[str]:
        options = self._options
        policy = Policy(options.service, options.folder, options.min_uid, options.processes)
        return [sys.executable, *COMMAND, json.dumps(asdict(policy)), FOLDER]

    def start(self, reactor: Any) -> Deferred[None]:
        """Start the threads, and hear whether PAM can work. Errors: PamUnusable, NoThreads; then nothing is left running."""
        return Deferred.fromCoroutine(self._start(reactor))

    async def _start(self, reactor: Any) -> None:
        if self._pool is not None:
            return
        self.begin(reactor)
        self._pool = Pool(reactor, self._options.processes, MAX_WAITING, "pam", share=SHARE)
        try:
            self._pool.start()
            checked = await self._run({"ask": "check"})
            if checked["problem"]:
                raise PamUnusable(checked["problem"])
        except (LineEnded, NoAnswer):
            await self.stop()
            raise PamUnusable("the process that asks PAM does not start: standard error has the reason") from None
        except BaseException:
            await self.stop()
            raise
        self._checked = True
        if checked["uid"]:
            log.info(
                "PAM is asked by uid {uid}, not by root: modules that read /etc/shadow refuse everybody else",
                event="auth.pam.rights",
                uid=checked["uid"],
            )

    def stop(self) -> Deferred[None]:
        """End the threads and the process; what waits fails with TemporaryFailure. Idempotent."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._checked = False
        pool, self._pool = self._pool, None
        lines, self._lines = self._lines, None
        watch, self._watch = self._watch, None
        if self._anew is not None:
            self._anew.cancel()
            self._anew = None
        if lines is not None:
            lines.end()
        if pool is not None:
            await pool.stop()
        if watch is not None:
            await watch.gone.addTimeout(END_SECONDS, self._reactor, onTimeoutCancel=lambda _result, _seconds: None)

    def ask(self, question: dict[str, Any]) -> Deferred[dict[str, Any]]:
        """The answer. Errors: TemporaryFailure if there is none; the first of a row is logged."""
        if self._pool is None:
            return fail(TemporaryFailure())
        return self._run(question).addCallbacks(self._answered, self._failed)

    def _run(self, question: dict[str, Any]) -> Deferred[dict[str, Any]]:
        pool, lines = self._pool, self._lines
        if pool is None or lines is None:
            return fail(TemporaryFailure())
        until = time.monotonic() + self._options.timeout  # the other process has the same clock
        return pool.run(lines.ask, question, until, key=asker())

    def _answered(self, answer: dict[str, Any]) -> dict[str, Any]:
        if answer["verdict"] == "trouble":
            self._tell(answer["reason"])
            raise TemporaryFailure
        self._pause = PAUSE_SECONDS
        if self._trouble:
            self._trouble = ""
            log.info("PAM answers again", event="auth.pam.up")
        return answer

    def _failed(self, failure: Failure) -> Failure:
        if failure.check(LineEnded, NoAnswer):
            if self._pool is not None:
                self._tell(str(failure.value) or self._consequence())
            raise TemporaryFailure from None
        return failure

    def _tell(self, trouble: str) -> None:
        now = self._reactor.seconds()
        if trouble != self._trouble and (now - self._told >= QUIET_SECONDS or trouble == GONE):
            self._told = now
            log.error(
                "PAM cannot tell who logs in, by {service!r}: {trouble}",
                event="auth.pam.down",
                service=self._options.service,
                trouble=trouble,
            )
        self._trouble = trouble

    def _consequence(self) -> str:
        return "the process that asks PAM is started anew" if self._may_begin() else GONE

    def _may_begin(self) -> bool:
        return os.geteuid() == self._uid

    def ended(self, lines: Lines, why: str) -> None:
        """The first of the other processes has ended: start it anew if there are the rights."""
        if lines is not self._lines or not self._checked:
            return
        log.error(
            "PAM's process has ended ({why}): {consequence}",
            event="auth.pam.ended",
            why=why,
            consequence=self._consequence(),
        )
        if self._may_begin():
            lines.end()
            self._lines = None
            self._anew = self._reactor.callLater(self._pause, self._begin_anew)
            self._pause = min(LONGEST_PAUSE, 2 * self._pause)

    def _begin_anew(self) -> None:
        self._anew = None
        try:
            self.begin(self._reactor)
        except OSError as error:
            self._tell(f"no process can be started ({error.strerror}): restart the server")


class Watch(ProcessProtocol):
    """Hears of the end of the first process."""

    def __init__(self, link: Link, lines: Lines) -> None:
        self._link = link
        self._lines = lines
        self.gone: Deferred[None] = Deferred()

    def processEnded(self, reason: Failure) -> None:
        """The process has ended, for whatever reason."""
        self._link.ended(self._lines, reason.getErrorMessage())
        if not self.gone.called:
            self.gone.callback(None)
