#!/usr/bin/env python3
"""Sessions (login + STAT) in one process without sockets, of a server that counts for /metrics or not; `bench/counting.py` runs this.

    valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file=OUT bench/counted.py plain|counted SESSIONS
    bench/counted.py turns SECONDS

The first leaves the instructions in OUT.1. The second has both servers in the process, which take turns, and writes, as JSON, the CPU of a
session that is not counted, and how much more one takes that is, in microseconds, as medians of the rounds: what makes the machine slower
for a while makes both slower. The log is watched for both then. With a passwd-file and a Maildir; what the log writes is left out.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

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

PAGES = {"http": ["unix:/nowhere"]}
"""What makes a server count."""

WARM = 300
"""Sessions before those that are counted: the interpreter has specialised what runs often."""

TURN = 100
"""Sessions of one of two servers in one process, and then what it does every few seconds, which is less in truth."""


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


async def sessions(factory: Any, reactor: Any, number: int) -> None:
    """So many of them, one after the other, and what is done of them every few seconds."""
    for _ in range(number):
        wire, protocol = Wire(PEER), factory.buildProtocol(PEER)
        protocol.makeConnection(wire)
        for answers, line in enumerate((b"USER alice", b"PASS sesame of alice", b"STAT", b"QUIT"), 2):
            protocol.dataReceived(line + b"\r\n")
            while len(wire.writes) < answers:  # at the first login, what is new is read in a thread
                await deferLater(reactor, 0)
        protocol.connectionLost(connectionDone)
    if factory.traffic is not None:
        factory.traffic.tidy()


def control(command: str) -> None:
    """Tell valgrind."""
    subprocess.run(["callgrind_control", command, str(os.getpid())], check=True, stdout=subprocess.DEVNULL)


async def run(reactor: Any, listen: dict[str, list[str]], number: int) -> None:
    """Warm up, and let sessions be counted."""
    with Site() as site:
        site.account("alice", messages=[b"Subject: hi\n\nhello\n"] * 20)
        server = await started(site, reactor, **listen)
        factory = server.factory("pop3", "tcp:0")
        await sessions(factory, reactor, WARM)
        gc.collect()
        gc.freeze()  # as the service does: else a collection may fall into one of two runs
        control("--instr=on")
        await sessions(factory, reactor, number)
        control("--dump")
        await server.stop()


async def take_turns(reactor: Any, seconds: float) -> None:
    """Let a server that counts nothing and one that counts take turns."""
    with Site() as site:
        site.account("alice", messages=[b"Subject: hi\n\nhello\n"] * 20)
        servers = [await started(site, reactor), await started(site, reactor, **PAGES)]
        factories = [server.factory("pop3", "tcp:0") for server in servers]
        for factory in factories:
            await sessions(factory, reactor, WARM)
        gc.collect()
        gc.freeze()
        plain, more = [], []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            taken = []
            for which in (0, 1, 1, 0):
                began = time.thread_time_ns()
                await sessions(factories[which], reactor, TURN)
                taken.append((time.thread_time_ns() - began) / TURN / 1000)
            plain.append((taken[0] + taken[3]) / 2)
            more.append((taken[1] + taken[2]) / 2 - plain[-1])
            await deferLater(reactor, 0)
        for server in servers:
            await server.stop()
    print(json.dumps({"plain": statistics.median(plain), "more": statistics.median(more)}))


def main(what: str, amount: str) -> None:
    """Do what the command line asks for."""
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, complain)], redirectStandardIO=False)

    def begin(reactor: Any) -> Deferred[None]:
        if what == "turns":
            return Deferred.fromCoroutine(take_turns(reactor, float(amount)))
        return Deferred.fromCoroutine(run(reactor, PAGES if what == "counted" else {}, int(amount)))

    react(begin)


if __name__ == "__main__":
    main(*sys.argv[1:])
