"""Many cores: this process has bound the ports, and processes of its own adopt them, accept and serve.

All workers wait for the same sockets, and the kernel wakes each that is idle; the first takes the connection and the others
go back to sleep. That costs some wake-ups, and in return a busy worker gets no new sessions and a dead one takes no waiting
connections with it, as it would with a socket of its own (SO_REUSEPORT). `mailserver.cli.worker` is the other side.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IFileDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, eventFromJSON, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.config import Config, ConfigError
from mailserver.config_file import plain
from mailserver.serving import DRAIN_SECONDS

SERVING: Final = "worker.serving"
"""The event by which a worker says that it accepts connections."""

FIRST_SOCKET: Final = 3
"""The descriptors of the sockets in a worker begin here."""

STEADY_SECONDS: Final = 60.0
"""A worker that lived so long is replaced at once; one that did not, later and later."""

LONGEST_DELAY: Final = 30.0

log = Logger()


class WorkerFault(Exception):
    """The first worker could not serve, and nothing of the operator's is why: its own traceback stands in the log."""


class Workers:
    """The processes. One that dies is replaced; when this process dies, they see the end of their input and stop."""

    def __init__(self, config: Config, reactor: Any, sockets: Sequence[tuple[str, str, IFileDescriptor]]) -> None:
        self._config = config
        self._reactor = reactor
        self._sockets = sockets
        self._workers: set[Worker] = set()
        self._waiting: list[IDelayedCall] = []
        self._delay = 0.0
        self._started: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None

    def start(self) -> Deferred[None]:
        """Start one and, when it serves, the others: so what is wrong is said once. Errors: ConfigError; WorkerFault."""
        self._started = Deferred()
        self._reactor.callWhenRunning(self._spawn, 1)
        return self._started

    def reload(self) -> None:
        """Pass SIGHUP on."""
        for worker in self._workers:
            worker.reload()

    def stop(self) -> Deferred[None]:
        """Let them drain; fires when the last has gone. Who takes too long is killed."""
        self._stopped = Deferred()
        self._started = None  # a first worker that serves only now brings no others
        for call in self._waiting:
            if call.active():
                call.cancel()
        self._signal("TERM")
        # A worker bounds its own drain; what is on top covers the end of its threads.
        killer = self._reactor.callLater(DRAIN_SECONDS + 5, self._signal, "KILL")
        self._check_stopped()
        return self._stopped.addCallback(lambda _: killer.cancel() if killer.active() else None)

    def _signal(self, name: str) -> None:
        for worker in self._workers:
            worker.signal(name)

    def _spawn(self, number: int) -> None:
        sockets = [(kind, endpoint) for kind, endpoint, _port in self._sockets]
        spec = {"number": number, "config": plain(self._config), "sockets": sockets}
        worker = Worker(self, number, json.dumps(spec).encode() + b"\n", self._reactor.seconds())
        self._workers.add(worker)
        descriptors: dict[int, int | str] = {0: "w", 1: "r", 2: 2}
        for offset, (_kind, _endpoint, port) in enumerate(self._sockets):
            descriptors[FIRST_SOCKET + offset] = port.fileno()
        # -P: what lies in the working directory is not for import. The path is this process's, however it was found.
        command = [sys.executable, "-P", "-m", "mailserver.cli.worker"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._reactor.spawnProcess(worker, sys.executable, command, env=env, childFDs=descriptors)

    def told_serving(self) -> None:
        """A worker accepts connections."""
        if self._started is not None:
            started, self._started = self._started, None
            for number in range(2, (self._config.workers or len(os.sched_getaffinity(0))) + 1):
                self._spawn(number)
            started.callback(None)

    def told_ended(self, worker: Worker, failure: Failure) -> None:
        """A worker has gone."""
        self._workers.remove(worker)
        if self._stopped is not None:
            self._check_stopped()
        elif self._started is not None:
            started, self._started = self._started, None
            told = isinstance(failure.value, ProcessTerminated) and failure.value.exitCode == os.EX_CONFIG
            started.errback(ConfigError([]) if told else WorkerFault(failure.getErrorMessage()))
        else:
            self._replace(worker, failure)

    def _replace(self, worker: Worker, failure: Failure) -> None:
        if self._reactor.seconds() - worker.since >= STEADY_SECONDS:
            self._delay = 0.0
        log.error(
            "worker {number} (pid {pid}) ended and is replaced in {delay} s: {reason}",
            event="worker.ended",
            number=worker.number,
            pid=worker.pid,
            delay=self._delay,
            reason=failure.getErrorMessage(),
        )
        self._waiting = [call for call in self._waiting if call.active()]
        self._waiting.append(self._reactor.callLater(self._delay, self._spawn, worker.number))
        self._delay = min(LONGEST_DELAY, max(1.0, 2 * self._delay))

    def _check_stopped(self) -> None:
        if not self._workers and self._stopped is not None and not self._stopped.called:
            self._stopped.callback(None)


class Worker(ProcessProtocol):
    """One process: its input says what to do, its output is its log."""

    transport: Any

    def __init__(self, workers: Workers, number: int, spec: bytes, now: float) -> None:
        self._owner = workers
        self._spec = spec
        self._log = b""
        self._serving = self._outdated = False
        self.number = number
        self.pid = 0
        self.since = now

    def connectionMade(self) -> None:
        """Tell the worker what to serve. Its input stays open for as long as it shall live."""
        self.pid = self.transport.pid
        self.transport.write(self._spec)

    def outReceived(self, data: bytes) -> None:
        """Hand its log events to this process's observers, so there is one log in whatever form the operator chose."""
        *lines, self._log = (self._log + data).split(b"\n")
        for line in lines:
            try:
                event = eventFromJSON(line.decode("utf-8"))
            except ValueError:  # a C library wrote it, such as libkrb5 with KRB5_TRACE=/dev/stdout
                log.info("{line!r}", event="worker.output", line=line, worker=self.number)
                continue
            event["worker"] = self.number
            globalLogPublisher(event)
            if event.get("event") == SERVING:
                self._serving = True
                if self._outdated:
                    self.signal("HUP")
                self._owner.told_serving()

    def processEnded(self, reason: Failure) -> None:
        """It has gone, for whatever reason."""
        self._owner.told_ended(self, reason)

    def reload(self) -> None:
        """SIGHUP, when it serves: until then the signal would end it, and it may have read the old files."""
        self._outdated = True
        if self._serving:
            self.signal("HUP")

    def signal(self, name: str) -> None:
        """Send a signal, if there is still somebody to get it."""
        with suppress(ProcessExitedAlready):  # the news of its end is on its way
            self.transport.signalProcess(name)
