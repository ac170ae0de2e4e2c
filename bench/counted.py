#!/usr/bin/env python3
"""Sessions (login + STAT) in one process without sockets, of a server that counts for /metrics or not, for valgrind to count instructions.

    valgrind --tool=callgrind --instr-atstart=no --callgrind-out-file=OUT bench/counted.py plain|counted SESSIONS

Their instructions are in OUT.1. `bench/counting.py` runs this. With a passwd-file and a Maildir; what the log writes is left out.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
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

WARM = 300
"""Sessions before those that are counted: the interpreter has specialised what runs often."""


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


if __name__ == "__main__":
    globalLogBeginner.beginLoggingTo([cast(ILogObserver, complain)], redirectStandardIO=False)
    pages = {"http": ["unix:/nowhere"]} if sys.argv[1] == "counted" else {}
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, pages, int(sys.argv[2]))))
