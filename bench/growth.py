#!/usr/bin/env python3
"""Measure how costs grow: with the mail in a maildrop, with idle clients, with workers, and with the sessions of a process's life.

    bench/growth.py [--only logins,idle,workers,memory,stalls] [--json OUT] [--plot OUT.svg] [--server 'NAME=COMMAND']...

logins: CPU of one login with STAT, one client at a time, at 100 to 100,000 messages: the first ever ("cold"), the first after ten
deliveries, and to a maildrop that nothing has changed. idle: CPU of an active session's login and STAT beside 1 to 10,000 clients
that are logged in and do nothing. workers: sessions a second, and a second of CPU, by number of processes. memory: of a process,
after each 10,000 of 100,000 sessions. stalls: the longest wait of another session while a maildrop is opened (stall.py).
All but logins is measured of our own server alone: where each session is a process, there is nothing to grow. Parts need what
compare.py needs for theirs; what is missing is said.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shlex
import socket
import statistics
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import maildrops, measures, plot, stall, tools
from bench.figures import medians
from bench.machine import versions
from bench.maildrops import CROWD, MAILDROPS, deliver, forget, growing, settle
from bench.root import alone
from bench.scenarios import LISTINGS, STAT, TLS_FETCH, Scenario, run
from bench.servers import BUILT_IN, WORKERS, Server

Line = list[tuple[float, float]]
"""Points."""

SIZES = (100, 1000, 10_000, 100_000)
CROWDS = (1, 10, 100, 1000, 10_000)
PROCESSES = tuple(sorted({1, 2, max(4, os.cpu_count() or 1)}))


class Slices(NamedTuple):
    """How each figure is measured: the median of so many slices."""

    rounds: int
    seconds: float


LIFE = 100_000
"""Sessions in the life of a process, of which the memory is read ten times."""
MIX: tuple[tuple[Scenario, float], ...] = (
    (LISTINGS, 0.8),
    (LISTINGS._replace(arguments="--retr 20"), 0.1),
    (TLS_FETCH, 0.1),
)
"""What these sessions do, and each one's part."""

DESCRIPTORS_EACH = 2
"""Of a session that is logged in: its socket and its maildrop's lock."""
DESCRIPTORS_ELSE = 200
CLIENTS_PER_ADDRESS = 100


def logins(server: Server, sizes: Sequence[int], slices: Slices) -> dict[str, Line]:
    """Milliseconds of CPU for each kind of login, by the messages in the maildrop."""
    found: dict[str, Line] = {"cold": [], "new": [], "unchanged": []}
    for messages in sizes:
        account = growing(server.name, messages).name
        for kind, prepare in (("cold", forget), ("new", lambda name: deliver(name, measures.DELIVERED))):
            costs = []
            for _ in range(slices.rounds):
                prepare(account)
                settle(account)
                costs.append(measures.login(server, account)["server_cpu_us"] / 1e3)
            found[kind].append((messages, statistics.median(costs)))
        settle(account)
        measures.log_in(server, account)  # after this nothing has changed
        found["unchanged"].append((messages, active(server, account, slices) / 1e3))
        told = ", ".join(f"{kind} {line[-1][1]:.2f} ms" for kind, line in found.items())
        print(f"  {server.name:12} {messages:7,} messages: {told}", flush=True)
    return found


def active(server: Server, account: str, slices: Slices) -> float:
    """Microseconds of CPU for a login with STAT, by one client who does nothing else."""
    costs = []
    for _ in range(slices.rounds):
        before, ends, sessions = server.account.cpu_seconds(), time.monotonic() + slices.seconds, 0
        while time.monotonic() < ends:
            measures.log_in(server, account)
            sessions += 1
        costs.append((server.account.cpu_seconds() - before) / sessions * 1e6)
    return statistics.median(costs)


def idle(server: Server, crowds: Sequence[int], slices: Slices) -> Line:
    """Microseconds of CPU for a session beside so many idle ones."""
    measures.log_in(server, "user0")
    found: Line = [(0, active(server, "user0", slices))]
    with ExitStack() as held:
        clients: list[socket.socket] = []
        for crowd in crowds:
            room = (_descriptors() - DESCRIPTORS_ELSE) // DESCRIPTORS_EACH
            while len(clients) < min(crowd, room):
                clients.append(held.enter_context(_client(server, len(clients))))
            found.append((len(clients), active(server, "user0", slices)))
            print(f"  {len(clients):7,} idle clients: {found[-1][1]:.0f} us for a session", flush=True)
    return found


def _client(server: Server, number: int) -> socket.socket:
    """A client that is logged in."""
    source = (f"127.0.0.{1 + number // CLIENTS_PER_ADDRESS}", 0)
    client = socket.create_connection(("127.0.0.1", server.port), 60, source)
    for line in (b"", b"USER %b\r\n" % (CROWD.name % number).encode(), b"PASS secret\r\n"):
        client.sendall(line)
        if not client.recv(1000).startswith(b"+OK"):
            raise SystemExit(f"client {number} was refused")
    return client


def _descriptors() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def workers(command: str, processes: Sequence[int], slices: Slices) -> dict[str, Line]:
    """Sessions a second, and a second of CPU, by the number of processes."""
    with ExitStack() as running:
        servers = {}
        for count in processes:
            servers[count] = running.enter_context(started(f"workers-{count}", command + WORKERS.format(count)))
        results = measures.sessions(list(servers.values()), STAT, slices.seconds, slices.rounds)
        measures.show("login + STAT by the number of workers", results, lambda _: f"workers-{processes[0]}")
    found: dict[str, Line] = {"a second": [], "a second of CPU": []}
    for count, rounds in zip(processes, results.values(), strict=True):
        figures = medians(rounds, measures.SHOWN)
        found["a second"].append((count, figures["sessions_s"]))
        found["a second of CPU"].append((count, 1e6 / figures["server_cpu_us"]))
    return found


def memory(server: Server, life: int) -> Line:
    """Megabytes of the process, by the sessions that it has served."""
    found: Line = []
    for served in range(0, life + 1, life // 10):
        for scenario, part in MIX:
            sessions = round(part * life / 10)
            run(server, scenario, 600, "--sessions", str(sessions))
        found.append((served, server.account.rss_mb()))
        print(f"  after {served:7,} sessions: {found[-1][1]:.1f} MB", flush=True)
    return found


def stalls(server: Server, sizes: Sequence[int], rounds: int) -> dict[str, dict[str, Line]]:
    """Milliseconds of the longest wait, by the messages in the maildrop that another opens; without waits for a core, and with."""
    found: dict[str, dict[str, Line]] = {"run": {}, "all": {}}
    for messages in sizes:
        for kind, waits in stall.measure([server], messages, rounds)[server.name].items():
            run, longest = (
                statistics.median(column) for column in ([w.run for w in waits], [w.longest for w in waits])
            )
            found["run"].setdefault(kind, []).append((messages, run))
            found["all"].setdefault(kind, []).append((messages, longest))
            print(
                f"  {messages:7,} messages, {kind}: others waited {run:.1f} ms, {longest:.1f} with waits for a core",
                flush=True,
            )
    return found


@contextmanager
def started(name: str, command: str) -> Generator[Server]:
    """A server, and its end."""
    server = Server(name, command)
    try:
        yield server
    finally:
        server.close()
        if server.errors:
            raise SystemExit(f"{name} refused {server.errors} sessions: these figures are worth nothing")


class Growth:
    """One run."""

    def __init__(self, options: argparse.Namespace, there: tools.Tools) -> None:
        self.options = options
        self.slices = Slices(options.rounds, options.seconds)
        self.commands = {name: BUILT_IN[name] for name in ("dovecot", "mailserver") if there.serves(name)}
        self.commands |= dict(server.split("=", 1) for server in options.server)
        self.commands = {name: command for name, command in self.commands.items() if name not in options.without}
        *_, (self.name, self.command) = self.commands.items()
        self.found: dict[str, Any] = {}

    def make_maildrops(self) -> None:
        """Write the passwd-file, and fill what the wanted parts are about."""
        own = [growing(name, size) for name in self.commands for size in self.options.sizes]
        maildrops.write_users([*MAILDROPS.values(), CROWD, *own])
        needed = [MAILDROPS["small"]]
        needed += [CROWD._replace(users=max(self.options.crowds))] if "idle" in self.options.only else []
        needed += own if {"logins", "stalls"} & set(self.options.only) else []
        for drops in needed:
            maildrops.fill(drops)

    def measure(self, part: str) -> Any:
        """Measure one part; each in a process of its own."""
        if part == "workers":
            return workers(self.command, self.options.processes, self.slices)
        if part == "logins":
            return {name: self._served(name, part) for name in self.commands}
        return self._served(self.name, part)

    def _served(self, name: str, part: str) -> Any:
        with started(name, self.commands[name]) as server:
            if part == "logins":
                return logins(server, self.options.sizes, self.slices)
            if part == "idle":
                return idle(server, self.options.crowds, self.slices)
            if part == "memory":
                return memory(server, self.options.life)
            return stalls(server, self.options.sizes, self.slices.rounds)


PARTS = ("logins", "idle", "workers", "memory", "stalls")
LOADED = ("workers", "memory")
"""Parts that need the load generator."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""

    def counts(text: str) -> list[int]:
        return [int(count) for count in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--server", action="append", default=[])
    parser.add_argument("--without", type=lambda text: text.split(","), default=[])
    parser.add_argument("--sizes", type=counts, default=list(SIZES), help="messages")
    parser.add_argument("--crowds", type=counts, default=list(CROWDS), help="idle clients")
    parser.add_argument("--processes", type=counts, default=list(PROCESSES), help="workers")
    parser.add_argument("--life", type=int, default=LIFE, help="sessions")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"--only {','.join(sorted(unknown))}: choose from {','.join(PARTS)}")
    return options


def main(arguments: list[str]) -> int:
    """Measure what the command line asks for; returns the exit status."""
    options = parse(arguments)
    with alone():
        there = tools.make()
        print("\n".join([f"{name}: {version}" for name, version in versions().items()] + there.lacks()), flush=True)
        growth = Growth(options, there)
        growth.make_maildrops()
        for part in options.only:
            if part in LOADED and not there.popload:
                continue
            print(f"\n{part}", flush=True)
            growth.found[part] = growth.measure(part)
    told = {"versions": versions(), "command": shlex.join(["bench/growth.py", *arguments]), **growth.found}
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    if options.plot:
        options.plot.write_text(plot.draw(told))
        print(f"\nthe plot is in {options.plot}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
