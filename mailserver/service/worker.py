"""A worker process: adopts the ports of its parent and serves.

Descriptor 0 gives one line of JSON with the settings, and later only an end of file, when the parent ends. The log goes to
descriptor 1, as finished lines of `passing`, and the messages of `channel` go to CHANNEL. MEMORY is what all workers remember
together. The sockets begin at FIRST_SOCKET.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
)
from twisted.python.failure import Failure
from zope.interface import implementer

from mailserver.clock import steady
from mailserver.config.kinds import KINDS
from mailserver.config.problems import Problems
from mailserver.config.reading import revive
from mailserver.net.common.memory import CommonMemory
from mailserver.net.hub import loop_of
from mailserver.service.channel import FIRST_SOCKET, MEMORY, RELOADED, SERVING, say
from mailserver.service.closing import close_ports
from mailserver.service.failures import report
from mailserver.service.logpipe import LineObserver, LogPipe
from mailserver.service.passing import FORMS
from mailserver.service.privileges import become
from mailserver.service.server import Server
from mailserver.service.workers import HELD
from mailserver.tls.tickets import MemoryTickets

log = Logger("mailserver.service.worker")  # run by -m, this module is called __main__


@implementer(IReadDescriptor)
class Lifeline:
    """Watches a descriptor for its end of file."""

    def __init__(self, descriptor: int, ended: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._ended = ended

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return "lifeline"

    def doRead(self) -> Any:  # an exception, as Twisted's own descriptors return; the interface says Failure
        """The descriptor is readable, which means its end of file."""
        return CONNECTION_DONE

    def connectionLost(self, reason: Failure) -> None:
        """Report the end of file; ConnectionLost comes from the reactor's own shutdown, and is ignored."""
        if reason.check(ConnectionDone):
            self._ended()


def common_memory(spec: dict[str, Any], connections: int) -> CommonMemory:
    """What this worker remembers in common with the others. Errors: Unusable, of a program that was changed under its parent."""
    os.set_inheritable(MEMORY, False)  # no program that a part starts may write there
    key = bytes.fromhex(spec["memory_key"])
    return CommonMemory(MEMORY, key, spec["number"] - 1, spec["processes"], connections)


async def serve(spec: dict[str, Any], reactor: Any) -> None:
    """Adopt the sockets and serve, until the reactor stops. Errors: ConfigError."""
    config = revive(spec["config"])
    problems = Problems(config.places)
    common = common_memory(spec, config.limits.connections)
    tickets, first = MemoryTickets.adopted(*spec.pop("tickets")), spec["number"] == 1
    server = Server(config, reactor, problems, tickets, common, sweeps=first)
    with problems.collect("user"):
        become(config.user)
    await server.start()
    factories = [server.factory(kind, endpoint) for kind, endpoint in spec["sockets"]]
    controls = server.controls(spec["number"], spec["processes"] if spec["controls"] else 0)
    factories += controls if spec["controls"] else []
    ports = []
    loop = loop_of(reactor)
    for descriptor, factory in enumerate(factories, FIRST_SOCKET):
        with socket.socket(fileno=descriptor) as adopted:  # Twisted duplicates it
            ports.append(loop.adoptStreamPort(adopted.fileno(), adopted.family, factory))

    async def stop() -> None:
        paged = {port for port, (kind, _) in zip(ports, spec["sockets"], strict=False) if KINDS[kind].pages}
        await close_ports(port for port in ports if port not in paged)
        await server.stop()
        await close_ports(paged)

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))

    def reload() -> None:
        server.reload().addBoth(lambda _: say(RELOADED))

    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    log.info("worker {number} serves (pid {pid})", event="worker.serving", number=spec["number"], pid=os.getpid())
    say(SERVING)


def main() -> int:
    """Serve until SIGTERM or the parent's end; answers the exit status."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    steady(reactor)
    spec = json.loads(sys.stdin.buffer.readline())
    output = LogPipe(1, reactor, batched=True)
    observer = LineObserver(output, FORMS[spec["log_form"]])
    level = LogLevelFilterPredicate(defaultLogLevel=LogLevel.levelWithName(spec["log_level"]))
    # Standard output itself becomes part of the log, so that no print garbles the lines.
    globalLogBeginner.beginLoggingTo([FilteringLogObserver(observer, [level])])
    # Ctrl-C reaches the parent, too, which then sends SIGTERM; and only the parent has a log to open again at SIGUSR1.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    problems: list[Failure] = []

    def failed(failure: Failure) -> None:
        problems.append(failure)
        reactor.stop()

    def begin() -> None:
        reactor.addReader(Lifeline(0, reactor.stop))
        Deferred.fromCoroutine(serve(spec, reactor)).addErrback(failed)

    reactor.callWhenRunning(begin)
    reactor.run()
    status = report(problems[0]) if problems else os.EX_OK
    output.finish()
    return status


if __name__ == "__main__":
    sys.exit(main())
