"""Many cores: this process binds the ports, and its worker processes adopt them, accept and serve.

All worker processes wait on the same sockets, and the kernel wakes each idle one; the first takes the connection and the others
sleep again. That costs some wake-ups. In return a busy worker gets no new sessions, and a worker that dies loses no waiting
connections, as it would with a socket of its own (SO_REUSEPORT). `mailserver.service.worker` is the other side.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, cast

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.error import ProcessTerminated
from twisted.internet.interfaces import IDelayedCall, IFileDescriptor
from twisted.logger import Logger, LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from mailserver.config.cores import cores
from mailserver.config.problems import Problems
from mailserver.config.reading import plain
from mailserver.config.settings import Config
from mailserver.errors import ConfigError
from mailserver.service.channel import BURY, CHANNEL, DROP, FIRST_SOCKET, MEMORY, PREPARE
from mailserver.service.common import Common
from mailserver.service.employee import RELOAD_SECONDS, Worker
from mailserver.service.legacy import FIRST, STDERR, Legacy
from mailserver.service.listeners import CUT_SECONDS, DRAIN_SECONDS
from mailserver.service.passing import Journal
from mailserver.service.tidings import Tidings
from mailserver.service.whole import Whole
from mailserver.tls.tickets import MemoryTickets

HELD: Final = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2})
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
        whole: Whole | None = None,
        legacy: Legacy | None = None,
    ) -> None:
        self.whole = whole
        """Whom workers ask for what is not theirs."""
        self._config = config
        self._reactor = reactor
        self._sockets = sockets
        self._controls = controls  # the operators' socket, then each worker's own
        self._log_level = log_level  # events that the observers here would drop need not be sent
        self.journal = journal
        self._tickets = MemoryTickets.adopted(*legacy.tickets) if legacy and legacy.tickets else MemoryTickets()
        self._count = config.workers or cores()
        self._common = Common.following(legacy, self._count, config.limits.connections)
        self._stderr = STDERR if legacy else None
        self._workers: set[Worker] = set()
        self._waiting: list[IDelayedCall] = []
        self._delays: dict[int, float] = {}
        self._tidings = Tidings(self._workers)
        self._started: Deferred[None] | None = None
        self._stopped: Deferred[None] | None = None
        self._completed: Deferred[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether at least one worker process serves."""
        return any(worker.serving for worker in self._workers)

    def start(self) -> Deferred[None]:
        """Start one worker and, when it serves, the others, so that problems are reported once. Errors: ConfigError."""
        self._started = Deferred()
        self._common.open()
        globalLogPublisher.addObserver(self._tidings)
        self._reactor.callWhenRunning(self._spawn, 1)
        return self._started

    def reload(self) -> Deferred[None]:
        """Pass SIGHUP on; fires when the workers that serve have finished the reload."""
        reloads = [worker.reload() for worker in self._workers]
        for each in reloads:
            each.addTimeout(RELOAD_SECONDS, self._reactor)
        return DeferredList(reloads, consumeErrors=True).addCallback(lambda _: None)

    async def renew(self, config: Config, problems: Problems) -> None:
        """Let all workers go on by other settings, or none. Errors: ConfigError, with the problems of the first that has some.

        One worker is asked first, so that problems are told once, and work that finds them is done once.
        """
        order = {"order": PREPARE, "config": plain(config), **problems.passed()}
        asked: list[Worker] = []
        try:
            for some in _first_and_others(worker for worker in self._workers if worker.serving):
                asked += some
                await gathered([worker.prepare(order, self._reactor) for worker in some])
        except BaseException:
            for worker in asked:
                worker.send({"order": DROP})
            raise
        self._config = config
        installing = [worker.install(config) for worker in asked if worker in self._workers]
        for worker in self._workers:
            self._catch_up(worker)
        for each in installing:
            each.addTimeout(RELOAD_SECONDS, self._reactor)
        await DeferredList(installing, consumeErrors=True)

    def _catch_up(self, worker: Worker) -> None:
        """Bring a worker, that was started by earlier settings and serves only now, to those of the others."""
        if not worker.serving or worker.config is self._config:
            return
        config = self._config
        order = {"order": PREPARE, "config": plain(config), **Problems().passed()}
        worker.config = config
        preparing = worker.prepare(order, self._reactor)
        preparing.addCallbacks(lambda _: worker.install(config), lambda _: worker.signal("TERM"))  # then it is replaced

    def stop(self) -> Deferred[None]:
        """Let the workers drain; fires when the last has ended. A worker that takes too long is killed."""
        return self._end(lambda: self._signal("TERM"), DRAIN_SECONDS)

    def retire(self) -> Deferred[None]:
        """Let the workers' sessions end by themselves for some time, and then stop; fires when the last worker has ended."""
        return self._end(self._retire, 2 * DRAIN_SECONDS)

    def _retire(self) -> None:
        for worker in self._workers:
            worker.retire()

    def bequeath(self, legacy: Legacy, descriptors: list[int]) -> None:
        """Add what the workers of another process need of these."""
        legacy.tickets = self._tickets.passed()
        if self._common.descriptor is not None:
            legacy.common = self._common.passed(FIRST + len(descriptors))
            descriptors.append(self._common.descriptor)

    def bury(self) -> None:
        """The process whose place this one has taken is gone: give back what its workers hold in the memory, if they were killed."""
        for worker in self._workers:
            worker.send({"order": BURY})

    def _end(self, begin: Callable[[], object], drain_seconds: float) -> Deferred[None]:
        """End the workers. It is called again by a stop that comes while they retire."""
        ended: Deferred[None] = Deferred()
        earlier, self._stopped = self._stopped, ended
        if earlier is not None:
            ended.addCallback(lambda _: None if earlier.called else earlier.callback(None))
        self._started = None  # a first worker that serves only now does not start the others
        for call in self._waiting:
            if call.active():
                call.cancel()
        begin()
        # A worker limits its own drain, what it cuts, and the end of its threads (5 s); a second is to spare.
        killer = self._reactor.callLater(drain_seconds + CUT_SECONDS + 6, self._signal, "KILL")
        self._check_stopped()
        return ended.addCallback(lambda _: killer.cancel() if killer.active() else None)

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
            "memory": self._common.spec(number),
            "stderr": self._stderr is not None,
            "tickets": self._tickets.passed(),
            "processes": self._count,
            "log_level": self._log_level.name,
            "log_form": "event" if self.journal is None else self.journal.form,
        }
        worker = Worker(self, number, self._config, json.dumps(spec).encode() + b"\n", self._reactor.seconds())
        self._workers.add(worker)
        descriptors: dict[int, int | str] = {0: "w", 1: "r", 2: 2, CHANNEL: "r"}
        if self._common.descriptor is not None:
            descriptors[MEMORY] = self._common.descriptor
        ports = [port for _kind, _endpoint, port in self._sockets]
        if self._controls:
            ports += [self._controls[0], self._controls[number]]
        for descriptor, port in enumerate(ports, FIRST_SOCKET):
            descriptors[descriptor] = port.fileno()
        if self._stderr is not None:
            descriptors[FIRST_SOCKET + len(ports)] = self._stderr
        # -P: what lies in the working directory is not for import. The path is this process's, however it was found.
        command = [sys.executable, "-P", "-m", "mailserver.service.worker"]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # A worker inherits what is blocked, and so can be signalled before its first line has run.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            self._reactor.spawnProcess(worker, sys.executable, command, env=env, childFDs=descriptors)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)

    def worker_serves(self, worker: Worker) -> None:
        """A worker accepts connections."""
        self._catch_up(worker)
        self._tidings.pass_on()
        if self._started is not None:
            started, self._started = self._started, None
            for number in range(2, self._count + 1):
                self._spawn(number)
            started.callback(None)
        self._check_complete()

    def complete(self) -> Deferred[None]:
        """Fires when all of them serve: another server that has as many is not to end before."""
        self._completed = Deferred()
        self._check_complete()
        return self._completed

    def _check_complete(self) -> None:
        if self._completed is not None and sum(worker.serving for worker in self._workers) == self._count:
            completed, self._completed = self._completed, None
            completed.callback(None)

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
        reason = failure.getErrorMessage()
        log.error(
            "worker {number} (pid {pid}) ended and is replaced in {delay} s: {reason}",
            event="worker.ended",
            number=worker.number,
            pid=worker.pid,
            delay=delay,
            reason=reason,
        )
        self._waiting = [call for call in self._waiting if call.active()]
        self._waiting.append(self._reactor.callLater(delay, self._spawn, worker.number))
        self._delays[worker.number] = min(LONGEST_DELAY, max(1.0, 2 * delay))

    def _check_stopped(self) -> None:
        if not self._workers and self._stopped is not None and not self._stopped.called:
            self._common.close()
            globalLogPublisher.removeObserver(self._tidings)
            self._stopped.callback(None)


def _first_and_others(workers: Iterable[Worker]) -> Iterator[list[Worker]]:
    ordered = sorted(workers, key=lambda worker: worker.number)
    yield ordered[:1]
    yield ordered[1:]


async def gathered(waiting: Sequence[Deferred[None]]) -> None:
    """Wait for all. Errors: that of the first that fails, when the others are over, too."""
    for done, outcome in await DeferredList(waiting, consumeErrors=True):
        if not done:
            cast(Failure, outcome).raiseException()
