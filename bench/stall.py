#!/usr/bin/env python3
"""Measure how long other sessions wait while a big maildrop is opened: cold, and after new mail.

    bench/stall.py [--messages 100000] [--rounds 5] [--server 'NAME=COMMAND']... [--without NAME,...]

One session sends a NOOP each millisecond while another logs in. For each login: its seconds, the CPU of the server's processes
(with the NOOPs'), and of the waits for a reply the median, the 99th percentile and the longest. Machines are shared: `run` is
the longest wait without the time in which a thread of the server or the client was ready to run and had no core, as the kernel
counts it (schedstat): one that waits for a core with the interpreter's lock lets all others wait.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import maildrops, tools
from bench.machine import versions
from bench.maildrops import MAILDROPS, deliver, forget, growing, settle
from bench.measures import DELIVERED, log_in
from bench.root import alone
from bench.servers import BUILT_IN, Server

EACH_SECONDS = 0.001
"""Between two commands; a wait of less is not noticed, and a longer one once."""

PROBER = "user%d"
"""The accounts of the sessions that wait, one for each server."""


class Waits(NamedTuple):
    """What one login cost, and what others waited meanwhile: milliseconds."""

    login: float
    cpu: float
    commands: int
    median: float
    p99: float
    longest: float
    run: float
    """The longest without the waits for a core."""

    @classmethod
    def of(cls, seconds: float, cpu: float, waits: list[tuple[float, float]]) -> Self:
        """The figures of a login."""
        found = sorted(wait for wait, _ in waits)
        median, p99, longest = statistics.median(found), found[len(found) * 99 // 100], found[-1]
        run = max(without for _, without in waits)
        return cls(seconds * 1e3, cpu * 1e3, len(found), median * 1e3, p99 * 1e3, longest * 1e3, run * 1e3)


class Prober:
    """A session that sends a command each millisecond."""

    def __init__(self, server: Server, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", server.port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tasks = [
            os.open(f"{task}/schedstat", os.O_RDONLY) for task in _tasks([os.getpid(), *server.account.pids()])
        ]
        self.socket.recv(1000)
        for line in (f"USER {PROBER % number}", "PASS secret", "NOOP"):
            self.ask(line.encode() + b"\r\n")

    def ask(self, line: bytes) -> None:
        """Send a line and wait for the reply."""
        self.socket.sendall(line)
        if not self.socket.recv(1000).startswith(b"+OK"):
            raise SystemExit(f"the server refused {line!r}")

    def one(self) -> tuple[float, float]:
        """The seconds of one NOOP, with and without the waits for a core."""
        waited, begun = self.waited(), time.perf_counter()
        self.ask(b"NOOP\r\n")
        took = time.perf_counter() - begun
        return took, max(0.0, took - (self.waited() - waited))

    def waited(self) -> float:
        """Seconds in which the ends have waited for a core, so far."""
        return sum(int(os.pread(task, 100, 0).split()[1]) for task in self.tasks) / 1e9

    def until(self, ended: threading.Event) -> list[tuple[float, float]]:
        """The seconds of all NOOPs until then; one at least, since a small maildrop's login may end before the first."""
        found = [self.one()]
        while not ended.is_set():
            time.sleep(EACH_SECONDS)
            found.append(self.one())
        return found


def _tasks(pids: Iterable[int]) -> list[Path]:
    return [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]


def beside(server: Server, prober: Prober, account: str) -> Waits:
    """What the prober waits while the account logs in."""
    ended, took = threading.Event(), [0.0]

    def login() -> None:
        begun = time.perf_counter()
        try:
            log_in(server, account)
        finally:
            took[0] = time.perf_counter() - begun
            ended.set()

    before = server.account.cpu_seconds()
    thread = threading.Thread(target=login)
    thread.start()
    found = prober.until(ended)
    thread.join()
    cpu = server.account.cpu_seconds() - before
    return Waits.of(took[0], cpu, found)


def measure(servers: Sequence[Server], messages: int, rounds: int) -> dict[str, dict[str, list[Waits]]]:
    """Both kinds of logins, at all servers in turn; by server and kind."""
    found: dict[str, dict[str, list[Waits]]] = {server.name: {"cold": [], "new": []} for server in servers}
    probers = {server.name: Prober(server, number) for number, server in enumerate(servers)}
    for _ in range(rounds):
        for kind in ("cold", "new"):
            for server in servers:
                account = growing(server.name, messages).name
                (forget(account) if kind == "cold" else deliver(account, DELIVERED))
                settle(account)
                found[server.name][kind].append(beside(server, probers[server.name], account))
    return found


def show(name: str, found: dict[str, list[Waits]]) -> None:
    """Print a line for each kind: medians, and of the longest waits all."""
    for kind, logins in found.items():
        middle = Waits(*(statistics.median(column) for column in zip(*logins, strict=True)))
        longest = " ".join(f"{each.longest:.1f} ({each.run:.1f})" for each in logins)
        print(
            f"  {name:12} {kind:7} login {middle.login:7.0f} ms, CPU {middle.cpu:6.0f} ms, {middle.commands:5.0f} NOOPs: "
            f"median {middle.median:.2f}, p99 {middle.p99:.2f} ms; longest (run) of each login {longest}; "
            f"middle {middle.longest:.1f} ({middle.run:.1f}) ms",
            flush=True,
        )


def main(arguments: list[str]) -> int:
    """Measure what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server", action="append", default=[])
    parser.add_argument("--without", type=lambda text: text.split(","), default=["dovecot"])
    options = parser.parse_args(arguments)
    with alone(), ExitStack() as running:
        there = tools.make()
        print("\n".join(f"{name}: {version}" for name, version in versions().items()), flush=True)
        commands = {name: BUILT_IN[name] for name in ("dovecot", "mailserver") if there.serves(name)}
        commands |= dict(server.split("=", 1) for server in options.server)
        commands = {name: command for name, command in commands.items() if name not in options.without}
        drops = [growing(name, options.messages) for name in commands]
        maildrops.write_users([*MAILDROPS.values(), *drops])
        for each in (MAILDROPS["small"], *drops):
            maildrops.fill(each)
        servers = [Server(name, command) for name, command in commands.items()]
        for server in servers:
            running.callback(server.close)
        for name, found in measure(servers, options.messages, options.rounds).items():
            show(name, found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
