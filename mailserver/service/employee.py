"""One worker process, as its parent has it: orders go to it, and its words and its log come back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.service.channel import (
    ANSWER,
    ASKED,
    CHANNEL,
    INSTALL,
    LONGEST_WORD,
    PREPARED,
    REFUSED,
    RELOADED,
    RETIRE,
    SERVING,
    Lines,
    heard,
)
from mailserver.service.passing import PASSED, Journal
from mailserver.service.reporting import LONGEST_LINE, crossed
from mailserver.service.whole import ASKS, RELOAD, Whole, bounded

RELOAD_SECONDS: Final = 30.0
"""How long a reload waits for a worker process to finish it; one on a slow file system finishes later."""

log = Logger()


class Employer(Protocol):
    """Whose worker it is."""

    journal: Journal | None
    whole: Whole | None

    def worker_serves(self, worker: Worker) -> None:
        """It accepts connections."""

    def worker_ended(self, worker: Worker, failure: Failure) -> None:
        """Its process has ended."""


class Worker(ProcessProtocol):
    """One worker process: its input gives the settings, its output is its log, and its channel carries its messages."""

    transport: Any

    def __init__(self, employer: Employer, number: int, config: Config, spec: bytes, now: float) -> None:
        self._owner = employer
        self._spec = spec
        self._preparing: Deferred[None] | None = None
        self.config = config
        """The settings that it serves by, or soon will."""
        self._log = Lines(LONGEST_LINE)
        self._words = Lines(LONGEST_WORD)
        self._outdated = False
        self._reloads: list[Deferred[None]] = []
        self.serving = False
        self.number = number
        self.pid = 0
        self.since = now

    def connectionMade(self) -> None:
        """Send the settings, and forget the secret in them. The input stays open as long as the worker shall live."""
        self.pid = self.transport.pid
        self.transport.write(self._spec)
        self._spec = b""

    def childDataReceived(self, childFD: int, data: bytes) -> None:  # noqa: N803 - Twisted's name
        """Read the worker's log and its channel."""
        if childFD == CHANNEL:
            for line in self._words.feed(data):
                self._heard(*heard(line))
        else:
            self.outReceived(data)

    def outReceived(self, data: bytes) -> None:
        """Write the worker's lines into the log, or pass its events to this process's observers: so there is one log."""
        lost, journal = self._log.lost, self._owner.journal
        passed = None if journal is None else PASSED.get(journal.form)
        for line in self._log.feed(data):
            if passed is None or journal is None:
                event = crossed(line, self.number)
                if event is not None:
                    globalLogPublisher(event)
                    continue
            elif text := passed(line, self.number):
                journal.write(text)
                continue
            # a C library wrote it, such as libkrb5 with KRB5_TRACE=/dev/stdout
            log.info("{line!r}", event="worker.output", line=line, worker=self.number)
        if journal is not None:
            journal.flush()  # these lines have waited for one another in the worker
        if self._log.lost != lost:
            log.warn(
                "worker {worker} wrote a line of more than {limit} octets, which is left out",
                event="worker.long_line",
                worker=self.number,
                limit=LONGEST_LINE,
            )

    def _heard(self, event: str, more: Mapping[str, Any]) -> None:
        if event == SERVING and not self.serving:
            self.serving = True
            if self._outdated:
                self.signal("HUP")
            self._owner.worker_serves(self)
        elif event == RELOADED:
            self._answer_reloads()
        elif event == PREPARED:
            self._prepared([])
        elif event == REFUSED:
            problems = more.get("problems")
            self._prepared(
                bounded(problems) if isinstance(problems, list) and problems else ["for a reason in the log"]
            )
        elif event == ASKED:
            self._asked(more.get("what"), more.get("number"))

    def _prepared(self, problems: list[str]) -> None:
        preparing, self._preparing = self._preparing, None
        if preparing is not None and not preparing.called:
            preparing.errback(ConfigError(problems)) if problems else preparing.callback(None)

    def _asked(self, what: object, number: object) -> None:
        whole = self._owner.whole
        if whole is None or what not in ASKS:
            return
        answered = whole.reload() if what == RELOAD else whole.restart()
        answered.addCallback(lambda outcome: self.send({"order": ANSWER, "number": number, "outcome": outcome.plain()}))

    def _answer_reloads(self) -> None:
        reloads, self._reloads = self._reloads, []
        for each in reloads:
            if not each.called:
                each.callback(None)

    def processEnded(self, reason: Failure) -> None:
        """The worker process has ended, for whatever reason."""
        self._owner.worker_ended(self, reason)  # first: who waits for it goes on without it
        self._answer_reloads()  # its replacement reads everything again
        self._prepared([])  # and has the settings of the others

    def reload(self) -> Deferred[None]:
        """Send SIGHUP when the worker serves, since it may have read the old files. Fires when it has read the new ones."""
        self._outdated = True
        if self.serving:
            self.signal("HUP")
        reloaded: Deferred[None] = Deferred()
        self._reloads.append(reloaded)
        return reloaded

    def prepare(self, order: Mapping[str, Any], reactor: Any) -> Deferred[None]:
        """Send settings. Fires when the worker could serve by them, or has ended. Errors: ConfigError."""
        self._preparing = preparing = Deferred[None]()
        self.send(order)
        return preparing.addTimeout(RELOAD_SECONDS, reactor, self._silent)

    def _silent(self, _outcome: object, seconds: float) -> None:
        raise ConfigError([f"worker {self.number} (pid {self.pid}) does not answer in {seconds:.0f} s: try again"])

    def install(self, config: Config) -> Deferred[None]:
        """Let it serve by what it has prepared; fires when it does."""
        self.config = config
        self.send({"order": INSTALL})
        installed: Deferred[None] = Deferred()
        self._reloads.append(installed)
        return installed

    def retire(self) -> None:
        """Let its sessions end by themselves, and then the process; one that does not serve yet ends at once."""
        if self.serving:
            self.send({"order": RETIRE})
        else:
            self.signal("TERM")

    def send(self, order: Mapping[str, Any]) -> None:
        """Send an order, which is a line. To one that has ended it goes nowhere."""
        self.transport.write(json.dumps(order).encode() + b"\n")

    def signal(self, name: str) -> None:
        """Send a signal, if there is still somebody to get it."""
        try:
            self.transport.signalProcess(name)
        except ProcessExitedAlready:
            pass  # `processEnded` will follow
        except OSError as error:  # EPERM, after twistd's --uid: the worker ends when this process does
            log.warn(
                "worker {number} (pid {pid}) takes no signal {name}: {reason}",
                event="worker.signal_refused",
                number=self.number,
                pid=self.pid,
                name=name,
                reason=error.strerror,
            )
