#!/usr/bin/env python3
"""Measure POP3 servers side by side: CPU and memory per session, on the same maildrops, in one run.

    bench/compare.py [--seconds 3] [--rounds 3] [--only small,tls,...] [--json OUT] [--server 'NAME=COMMAND']...

Three servers are built in: `limit` (limit.c, the least work that a POP3 server can do on this kernel: the floor), `dovecot`
(Debian's dovecot-pop3d in a private instance, with its fast settings) and `mailserver` (the twist beside this Python).
A --server's COMMAND runs in the foreground and serves the same maildrops; in it {port} and {tls_port} are the ports to
listen on, {users} is a passwd-file "NAME:{PLAIN}secret:UID:GID::HOME" (maildrop: HOME/Maildir), {cert} and {key} PEM files.

Groups of lines: small, tls, wire, bulk and many (see scenarios.py); aged (bulk again, after other work in the same processes);
new10 (the first login after ten deliveries to a maildrop of 100,000); workers (two worker processes beside one); pages (a server that
counts for /metrics beside one that does not); idle (memory).

CPU is that of all of a server's processes, also of those that came and went. Machines are shared and noisy: quote the ratios of
one run, never a figure alone. What is missing here (root, Dovecot, gcc, cgroups) is said at the start, and the rest is measured.

mailserver is measured as it is used: it logs at `info` into a file. Limits that its users would meet only in a benchmark, all
of whose clients have one address, are raised for both servers. A session that is refused or breaks off would be cheap:
it is an error, told with the line that says so, and the exit status is 1. Use a Python that is built with PGO, such as
Debian's; the heading tells what was used.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import maildrops, measures, tools
from bench.machine import versions
from bench.maildrops import MAILDROPS
from bench.root import alone
from bench.scenarios import AGES, SCENARIOS, Scenario
from bench.servers import BUILT_IN, PAGES, WORKERS, Server

GROUPS = ("small", "tls", "wire", "bulk", "many", "aged", "workers", "pages", "new10", "idle")
PLAIN_TOOLS = ("new10",)
"""Groups that need no load generator."""

PAIRS = {"workers": {"-1": WORKERS.format(1), "-2": WORKERS.format(2)}, "pages": {"-plain": "", "-counted": PAGES}}
"""By group: what ends the names of two fresh servers, and their commands. The second is compared with the first."""


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(GROUPS))
    parser.add_argument("--messages", type=int, default=100_000, help="in the maildrop of new10")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--server", action="append", default=[])
    parser.add_argument("--without", type=lambda text: text.split(","), default=[])
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(GROUPS):
        parser.error(f"--only {','.join(sorted(unknown))}: choose from {','.join(GROUPS)}")
    return options


def commands(options: argparse.Namespace, there: tools.Tools) -> dict[str, str]:
    """Return the servers' command lines by their names."""
    found = {name: command for name, command in BUILT_IN.items() if there.serves(name)}
    found |= dict(server.split("=", 1) for server in options.server)
    return {name: command for name, command in found.items() if name not in options.without}


def make_maildrops(options: argparse.Namespace, names: list[str]) -> None:
    """Write the passwd-file, and fill what the wanted lines are about."""
    own = [maildrops.growing(name, options.messages) for name in names if name != "limit"]
    maildrops.write_users([*MAILDROPS.values(), *own])
    scenarios = [scenario for group in options.only for scenario in SCENARIOS.get(group, [])]
    if "aged" in options.only:
        scenarios += [each for scenario, work in AGES for each in (scenario, *work)]
    wanted = {scenario.maildrops for scenario in scenarios} | {"idle"} & set(options.only)
    for drops in [*(MAILDROPS[name] for name in sorted(wanted)), *(own if "new10" in options.only else [])]:
        maildrops.fill(drops)


class Comparison:
    """One run: the servers, and what was measured of them."""

    def __init__(self, options: argparse.Namespace, servers: list[Server], pairs: dict[str, list[Server]]) -> None:
        self.options = options
        self.servers, self.pairs = servers, pairs
        self.lines: dict[str, measures.Rounds] = {}
        self.idle: dict[str, float] = {}

    def measure(self, group: str) -> None:
        """Measure all lines of a group."""
        seconds, rounds = self.options.seconds, self.options.rounds
        real = [server for server in self.servers if server.name != "limit"]
        if group == "idle":
            self.idle = dict(measures.idle_memory(real))
        elif group == "new10":
            label = f"first login after {measures.DELIVERED} new in {self.options.messages:,}"
            self.keep(label, measures.first_logins(real, self.options.messages, rounds))
        elif group == "aged":
            for scenario, work in AGES:
                measures.age(real, work, seconds)
                self.keep(scenario.label, measures.sessions(real, scenario, seconds, rounds))
        else:
            for scenario in SCENARIOS[group]:
                able = self.pairs[group] if group in PAIRS else self.servers if floor(scenario) else real
                self.keep(scenario.label, measures.sessions(able, scenario, seconds, rounds))

    def keep(self, label: str, results: measures.Rounds) -> None:
        """Print a line and remember it."""
        self.lines[label] = results
        measures.show(label, results, lambda name: first_of(name) or "dovecot")


def first_of(name: str) -> str:
    """The first of a pair, by the second's name; "": it is no second one."""
    for first, second in PAIRS.values():
        if name.endswith(second):
            return name.removesuffix(second) + first
    return ""


def floor(scenario: Scenario) -> bool:
    """Whether limit.c can serve it: twenty small messages, without TLS."""
    return scenario.maildrops == "small" and not scenario.tls


def main(arguments: list[str]) -> int:
    """Measure what the command line asks for; returns the exit status."""
    options = parse(arguments)
    with alone(), ExitStack() as running:
        there = tools.make()
        print("\n".join(f"{name}: {version}" for name, version in versions().items()))
        print("\n".join(there.lacks()) or "nothing is missing", flush=True)
        found = commands(options, there)
        make_maildrops(options, list(found))

        def started(name: str, command: str) -> Server:
            server = Server(name, command)
            running.callback(server.close)
            return server

        servers = [started(name, command) for name, command in found.items()]
        pairs = {
            group: [
                started(server.name + suffix, server.template + more)
                for server in servers
                if server.ours
                for suffix, more in PAIRS[group].items()
            ]
            for group in options.only
            if group in PAIRS
        }
        comparison = Comparison(options, servers, pairs)
        for group in options.only:
            if there.popload or group in PLAIN_TOOLS:
                comparison.measure(group)
        if options.json:
            told: dict[str, Any] = {"versions": versions(), "command": shlex.join(["bench/compare.py", *arguments])}
            told |= {"lacks": there.lacks(), "lines": comparison.lines, "idle": comparison.idle}
            options.json.write_text(json.dumps(told, indent=1))
        return 1 if any(server.errors for server in [*servers, *chain.from_iterable(pairs.values())]) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
