#!/usr/bin/env python3
"""What counting for /metrics costs a session: two servers in one process, one of which counts, take turns; without sockets.

    bench/counting.py [SECONDS]

A session is login + STAT, with a passwd-file and a Maildir. Of many turns the fastest ones show the work without the machine's noise.
"""

from __future__ import annotations

import sys
import time
from itertools import count
from pathlib import Path
from typing import Any, cast
from unittest import mock

sys.path.insert(0, str(Path(__file__).parents[1]))

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.protocol import connectionDone
from twisted.internet.task import deferLater, react
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogBeginner

from mailserver.config.problems import Problems
from mailserver.config.reading import decode
from mailserver.service.server import Server
from tests.net.sessions import Wire
from tests.servers import Site

PEER = IPv4Address("TCP", "127.0.0.1", 1)
TURN = 10
"""Sessions."""
WARM = 30
"""Turns before the measurement."""


def complain(event: LogEvent) -> None:
    """Let nothing of the log cost anything but what goes wrong."""
    if event["log_level"] >= LogLevel.error:
        print(formatEvent(event), event.get("log_failure", ""), file=sys.stderr)


async def started(site: Site, reactor: Any, **listen: Any) -> Server:
    """A server without ports. Root may run it: the pages are not served."""
    auth = {"checkers": [f"passwd-file:{site.users}"], "cleartext": "always"}
    config = decode({"hostname": "h", "listen": {"pop3": ["tcp:0"], **listen}, "auth": auth})
    server = Server(config, reactor, Problems(config.places))
    with mock.patch("os.geteuid", return_value=1):
        await server.start()
    return server


async def turn(factory: Any, reactor: Any) -> float:
    """The CPU of a session, in microseconds."""
    began = time.thread_time_ns()
    for _ in range(TURN):
        wire, protocol = Wire(PEER), factory.buildProtocol(PEER)
        protocol.makeConnection(wire)
        for answers, line in enumerate((b"USER alice", b"PASS sesame of alice", b"STAT", b"QUIT"), 2):
            protocol.dataReceived(line + b"\r\n")
            while len(wire.writes) < answers:  # at the first login, what is new is read in a thread
                await deferLater(reactor, 0)
        protocol.connectionLost(connectionDone)
    return (time.thread_time_ns() - began) / TURN / 1000


async def measure(reactor: Any, seconds: float) -> None:
    """Print the fastest, the median and their differences."""
    with Site() as site:
        site.account("alice", messages=[b"Subject: hi\n\nhello\n"] * 20)
        servers = [await started(site, reactor), await started(site, reactor, http=["unix:/nowhere"])]
        factories = [server.factory("pop3", "tcp:0") for server in servers]
        taken: list[list[float]] = [[], []]
        end = time.monotonic() + seconds
        for number in count():
            for which in (0, 1) if number % 2 else (1, 0):
                taken[which].append(await turn(factories[which], reactor))
            await deferLater(reactor, 0)
            if number > WARM and time.monotonic() > end:
                break
        for server in servers:
            await server.stop()
    plain, counted = (sorted(each[WARM:]) for each in taken)
    for name, at in (("fastest", 0), ("median", len(plain) // 2)):
        print(f"{name}: {plain[at]:.0f} us, counted {counted[at]:.0f}, which is {counted[at] - plain[at]:.0f} more")


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, complain)], redirectStandardIO=False)
    react(lambda reactor: Deferred.fromCoroutine(measure(reactor, float([*sys.argv, "20"][1]))))
