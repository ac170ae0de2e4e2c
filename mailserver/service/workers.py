"""Many cores: this process binds the ports, and its worker processes adopt them, accept and serve.

All worker processes wait on the same sockets, and the kernel wakes each idle one; the first takes the connection and the others
sleep again. That costs some wake-ups. In return a busy worker gets no new sessions, and a worker that dies loses no waiting
connections, as it would with a socket of its own (SO_REUSEPORT). `mailserver.service.worker` is the other side.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IFileDescriptor
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.config.cores import cores
from mailserver.config.reading import plain
from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.net.common.memory import make
from mailserver.service.channel import CHANNEL, FIRST_SOCKET, LONGEST_WORD, MEMORY, RELOADED, SERVING, Lines, heard
from mailserver.service.listeners import CUT_SECONDS, DRAIN_SECONDS
from mailserver.service.passing import PASSED, Journal
from mailserver.service.reporting import LONGEST_LINE, crossed
from mailserver.tls.tickets import MemoryTickets

RELOAD_SECONDS: Final = 30.0
"""How long a reload waits for a worker process to finish it; one on a slow file system finishes later."""

HELD: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGUSR1})
"""Signals that are blocked until a worker process can handle them: service managers and terminals send them to all processes."""

STEADY_SECONDS: Final = 60.0
"""A worker process that lived so long is replaced at once; otherwise the delay grows."""

LONGEST_DELAY: Final = 30.0

log = Logger()


class WorkerFault(Exception):
    """The first worker process could not serve because of a fault: the log has its traceback."""


class Workers:
    """The worker processes. One that dies is replaced; when this process dies, they stop at the end of their input."""

    def __init__(  # noqa: PLR0913 - what a server of several processes is made of
        self,
        config: Config,
        reactor: Any,
        sockets: Sequence[tuple[str, str, IFileDescriptor]],
        log_level: Any = LogLevel.debug,
        journal: Journal | None = None,
        *,
        controls: Sequence[IFileDescriptor] = (),
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._sockets = sockets
        self._controls = controls  # the operators' socket, then each worker's own
        self._log_level = log_level  # events that the observers here would drop need not be sent
        self.journal = journal
        self._tickets = MemoryTickets()
        self._count = config.workers or cores()
        self._memory: int | None = None  # the descriptor of the workers' memory, which this process never looks into
        self._memory_key = secrets.token_hex(32)
        self._workers: set[Worker] = set()
        self._waiting: list[IDelayedCall] = []
        self._delays: dict[int, float] = {}
        self._started: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether at least one worker process serves."""
        return any(worker.serving for worker in self._workers)

    def start(self) -> Deferred[None]:
        """Start one worker and, when it serves, the others, so that problems are reported once. Errors: ConfigError."""
        self._started = Deferred()
        self._memory = make(self._count, self._config.limits.connections)
        self._reactor.callWhenRunning(self._spawn, 1)
        return self._started

    def reload(self) -> Deferred[None]:
        """Pass SIGHUP on; fires when the workers that serve have finished the reload."""
        reloads = [worker.reload() for worker in self._workers]
        for each in reloads:
            each.addTimeout(RELOAD_SECONDS, self._reactor)
        return DeferredList(reloads, consumeErrors=True).addCallback(lambda _: None)

    def stop(self) -> Deferred[None]:
        """Let the workers drain; fires when the last has ended. A worker that takes too long is killed."""
        self._stopped = Deferred()
        self._started = None  # a first worker that serves only now does not start the others
        for call in self._waiting:
            if call.active():
                call.cancel()
        self._signal("TERM")
        # A worker limits its own drain, what it cuts, and the end of its threads (5 s); a second is to spare.
        killer = self._reactor.callLater(DRAIN_SECONDS + CUT_SECONDS + 6, self._signal, "KILL")
        self._check_stopped()
        return self._stopped.addCallback(lambda _: killer.cancel() if killer.active() else None)

    def _signal(self, name: str) -> None:
        for worker in self._workers:
            worker.signal(name)

    def _spawn(self, number: int) -> None:
        sockets = [(kind, endpoint) for kind, endpoint, _port in self._sockets]
        spec = {
            "number": number,
            "config": plain(self._config),
            "sockets": sockets,
            "controls": bool(self._controls),
            "tickets": self._tickets.passed(),
            "memory_key": self._memory_key,
            "processes": self._count,
            "log_level": self._log_level.name,
            "log_form": "event" if self.journal is None else self.journal.form,
        }
        worker = Worker(self, number, json.dumps(spec).encode() + b"\n", self._reactor.seconds())
        self._workers.add(worker)
        descriptors: dict[int, int | str] = {0: "w", 1: "r", 2: 2, CHANNEL: "r"}
        if self._memory is not None:
            descriptors[MEMORY] = self._memory
        ports = [port for _kind, _endpoint, port in self._sockets]
        if self._controls:
            ports += [self._controls[0], self._controls[number]]
        for descriptor, port in enumerate(ports, FIRST_SOCKET):
            descriptors[descriptor] = port.fileno()
        # -P: what lies in the working directory is not for import. The path is this process's, however it was found.
        command = [sys.executable, "-P", "-m", "mailserver.service.worker"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # A worker inherits what is blocked, and so can be signalled before its first line has run.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            self._reactor.spawnProcess(worker, sys.executable, command, env=env, childFDs=descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def worker_serves(self) -> None:
        """A worker accepts connections."""
        if self._started is not None:
            started, self._started = self._started, None
            for number in range(2, self._count + 1):
                self._spawn(number)
            started.callback(None)

    def worker_ended(self, worker: Worker, failure: Failure) -> None:
        """A worker process has ended."""
        self._workers.remove(worker)
        if self._stopped is not None:
            self._check_stopped()
        elif self._started is not None:
            started, self._started = self._started, None
            reported = isinstance(failure.value, ProcessTerminated) and failure.value.exitCode == os.EX_CONFIG
            started.errback(ConfigError([]) if reported else WorkerFault(failure.getErrorMessage()))
        else:
            self._replace(worker, failure)

    def _replace(self, worker: Worker, failure: Failure) -> None:
        lived = self._reactor.seconds() - worker.since
        delay = 0.0 if lived >= STEADY_SECONDS else self._delays.get(worker.number, 0.0)
        log.error(
            "worker {number} (pid {pid}) ended and is replaced in {delay} s: {reason}",
            event="worker.ended",
            number=worker.number,
            pid=worker.pid,
            delay=delay,
            reason=failure.getErrorMessage(),
        )
        self._waiting = [call for call in self._waiting if call.active()]
        self._waiting.append(self._reactor.callLater(delay, self._spawn, worker.number))
        self._delays[worker.number] = min(LONGEST_DELAY, max(1.0, 2 * delay))

    def _check_stopped(self) -> None:
        if not self._workers and self._stopped is not None and not self._stopped.called:
            if self._memory is not None:
                os.close(self._memory)
                self._memory = None
            self._stopped.callback(None)


class Worker(ProcessProtocol):
    """One worker process: its input gives the settings, its output is its log, and its channel carries its messages."""

    transport: Any

    def __init__(self, workers: Workers, number: int, spec: bytes, now: float) -> None:
        self._owner = workers
        self._spec = spec
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
                self._heard(heard(line))
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

    def _heard(self, event: str) -> None:
        if event == SERVING and not self.serving:
            self.serving = True
            if self._outdated:
                self.signal("HUP")
            self._owner.worker_serves()
        elif event == RELOADED:
            self._answer_reloads()

    def _answer_reloads(self) -> None:
        reloads, self._reloads = self._reloads, []
        for each in reloads:
            if not each.called:
                each.callback(None)

    def processEnded(self, reason: Failure) -> None:
        """The worker process has ended, for whatever reason."""
        self._answer_reloads()  # its replacement reads everything again
        self._owner.worker_ended(self, reason)

    def reload(self) -> Deferred[None]:
        """Send SIGHUP when the worker serves, since it may have read the old files. Fires when it has read the new ones."""
        self._outdated = True
        if self.serving:
            self.signal("HUP")
        reloaded: Deferred[None] = Deferred()
        self._reloads.append(reloaded)
        return reloaded

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
