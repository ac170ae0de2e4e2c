"""A worker process: adopts the ports of its parent and serves.

Descriptor 0 gives one line of JSON with the settings, later the parent's orders, and an end of file, when the parent ends. The log goes to
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
from contextlib import suppress
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ReactorNotRunning
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
from mailserver.service.binding import Gate
from mailserver.service.channel import FIRST_SOCKET, LONGEST_ORDER, MEMORY, RELOADED, SERVING, Lines, say
from mailserver.service.closing import close_ports
from mailserver.service.failures import report
from mailserver.service.incumbent import Door, Incumbent
from mailserver.service.listeners import DRAIN_SECONDS
from mailserver.service.logpipe import LineObserver, LogPipe
from mailserver.service.memories import Memories
from mailserver.service.orders import Orders, Parent
from mailserver.service.passing import FORMS
from mailserver.service.privileges import become
from mailserver.service.server import Server
from mailserver.service.workers import HELD
from mailserver.tls.tickets import MemoryTickets

_PIECE: Final = 65_536

log = Logger("mailserver.service.worker")  # run by -m, this module is called __main__


@implementer(IReadDescriptor)
class Lifeline:
    """Hears the parent's orders, each a line of JSON, until the end of file."""

    def __init__(self, descriptor: int, ended: Callable[[], object]) -> None:
        self._descriptor = descriptor
        self._ended = ended
        self._lines = Lines(LONGEST_ORDER)
        self.obey: Callable[[dict[str, Any]], object] = lambda _order: None
        """Called for each order."""

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """For Twisted's own log lines."""
        return "lifeline"

    def doRead(self) -> Any:  # an exception, as Twisted's own descriptors return; the interface says Failure
        """Read what is there."""
        octets = os.read(self._descriptor, _PIECE)
        if not octets:
            return CONNECTION_DONE
        for line in self._lines.feed(octets):
            self.obey(json.loads(line))
        return None

    def connectionLost(self, reason: Failure) -> None:
        """Report the end of file; ConnectionLost comes from the reactor's own shutdown, and is ignored."""
        if reason.check(ConnectionDone):
            self._ended()


def end(reactor: Any) -> None:
    """Stop the reactor, unless it stops already, for another reason."""
    with suppress(ReactorNotRunning):
        reactor.stop()


def common_memory(spec: dict[str, Any]) -> CommonMemory:
    """What this worker remembers in common with the others. Errors: Unusable, of a program that was changed under its parent."""
    os.set_inheritable(MEMORY, False)  # no program that a part starts may write there
    return _memory(spec["memory"], spec["memory"]["number"])


def _memory(memory: dict[str, Any], number: int) -> CommonMemory:
    return CommonMemory(MEMORY, bytes.fromhex(memory["key"]), number, memory["processes"], memory["connections"])


async def serve(spec: dict[str, Any], reactor: Any, lifeline: Lifeline) -> None:
    """Adopt the sockets and serve, until the reactor stops. Errors: ConfigError."""
    config = revive(spec["config"])
    problems = Problems(config.places)
    common = common_memory(spec)
    parent = Parent()
    tickets, first = MemoryTickets.adopted(*spec.pop("tickets")), spec["number"] == 1
    server = Server(config, reactor, problems, tickets, common, sweeps=first, whole=parent)
    with problems.collect("user"):
        become(config.user)
    await server.start()
    doors = [Door(kind, endpoint, Gate(kind)) for kind, endpoint in spec["sockets"]]
    controls = [Gate("control"), Gate("control")] if spec["controls"] else []
    workers = spec["processes"] if spec["controls"] else 0
    incumbent = Incumbent(server, reactor, doors, controls, spec["number"], workers)
    ports = []
    loop = loop_of(reactor)
    for descriptor, gate in enumerate([*(door.gate for door in doors), *controls], FIRST_SOCKET):
        with socket.socket(fileno=descriptor) as adopted:  # Twisted duplicates it
            ports.append(loop.adoptStreamPort(adopted.fileno(), adopted.family, gate))

    async def stop() -> None:
        paged = {port for port, (kind, _) in zip(ports, spec["sockets"], strict=False) if KINDS[kind].pages}
        await close_ports(port for port in ports if port not in paged)
        await incumbent.stop()
        await close_ports(paged)

    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(stop()))

    async def retire() -> None:
        await close_ports(ports)
        await incumbent.empty(DRAIN_SECONDS)
        end(reactor)

    def bury() -> None:
        Memories.made(
            config, reactor, _memory(spec["memory"], spec["memory"]["other"])
        )  # as its successor, it tidies up

    lifeline.obey = Orders(incumbent, parent, retire, bury, server.memories.told).obey

    def reload() -> None:
        incumbent.reload().addBoth(lambda _: say(RELOADED))

    signal.signal(signal.SIGHUP, lambda _number, _frame: reactor.callFromThread(reload))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
    if spec["stderr"]:  # until now it was a pipe, for the problems of a start
        os.dup2(FIRST_SOCKET + len(ports), 2)
        os.close(FIRST_SOCKET + len(ports))
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
    # Ctrl-C reaches the parent, too, which then sends SIGTERM; and only the parent has a log to open again at SIGUSR1, or is restarted at SIGUSR2.
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    problems: list[Failure] = []

    def failed(failure: Failure) -> None:
        problems.append(failure)
        reactor.stop()

    def begin() -> None:
        lifeline = Lifeline(0, lambda: end(reactor))
        reactor.addReader(lifeline)
        Deferred.fromCoroutine(serve(spec, reactor, lifeline)).addErrback(failed)

    reactor.callWhenRunning(begin)
    reactor.run()
    status = report(problems[0]) if problems else os.EX_OK
    output.finish()
    return status


if __name__ == "__main__":
    sys.exit(main())
