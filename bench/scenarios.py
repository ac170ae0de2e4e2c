"""The lines of the table that are many sessions of one kind, and the load generator that runs them."""

from __future__ import annotations

import json
import shlex
import subprocess
from typing import Any, NamedTuple

from bench.maildrops import IDLE, MAILDROPS
from bench.servers import Server
from bench.tools import program


class Scenario(NamedTuple):
    """What `connections` clients do, over and over."""

    label: str
    arguments: str
    maildrops: str
    tls: bool
    connections: int


STAT = Scenario("login + STAT", "", "small", False, 16)
LISTINGS = Scenario("login + LIST + UIDL", "--list --uidl", "small", False, 16)
BULK = Scenario("2 x 10 MB", "--retr 2", "bulk", False, 4)
TLS_FETCH = Scenario("TLS fetch 20 x 4 KB", "--list --uidl --retr 20", "small", True, 16)
MANY = Scenario("20,000 messages: LIST + UIDL", "--list --uidl", "many", False, 2)
HELD = Scenario("", "--idle", "idle", False, IDLE)

SCENARIOS = {
    "small": [
        STAT,
        LISTINGS,
        Scenario("fetch 20 x 4 KB", "--list --uidl --retr 20", "small", False, 16),
        Scenario("fetch 20 x 4 KB, pipelined", "--list --uidl --retr 20 --pipeline", "small", False, 16),
    ],
    "tls": [
        Scenario("TLS login + LIST + UIDL", "--list --uidl", "small", True, 16),
        Scenario("TLS login + LIST + UIDL, resumed", "--list --uidl --resume", "small", True, 16),
        TLS_FETCH,
    ],
    "wire": [Scenario("2 x 10 MB, wire form", "--retr 2", "wire", False, 4)],
    "bulk": [BULK, Scenario("TLS 2 x 10 MB", "--retr 2", "bulk", True, 4)],
    "many": [MANY],
    "workers": [STAT._replace(label="login + STAT, two workers")],
    "pages": [STAT._replace(label="login + STAT, counted for /metrics")],
}

AGES = [
    (BULK._replace(label="2 x 10 MB, after TLS and idle sessions"), [TLS_FETCH, HELD]),
    (BULK._replace(label="2 x 10 MB, after 20,000 messages, too"), [MANY]),
]
"""The bulk line again in the same processes, after other work. The first work can leave a heap in which each chunk of a message
costs new pages (12,300 page faults a session were seen, at twice the CPU); the second leaves a big hole, which hides that."""


def command(port: int, scenario: Scenario, *more: str) -> list[str]:
    """Return the load generator's command line."""
    drops = MAILDROPS[scenario.maildrops]
    who = f"--port {port} --userfmt {drops.name} --users {drops.users} --conns {scenario.connections}"
    tls = "--tls" if scenario.tls else ""
    return [str(program("popload")), *shlex.split(f"{who} {tls} {scenario.arguments}"), *more]


def run(server: Server, scenario: Scenario, seconds: float, *more: str) -> dict[str, Any]:
    """Run the load and return its figures, with the server's."""
    before = server.account.cpu_seconds()
    load = subprocess.run(
        command(server.port_for(tls=scenario.tls), scenario, "--seconds", str(seconds), *more),
        capture_output=True,
        text=True,
        timeout=seconds + 300,
        check=False,
    )
    figures: dict[str, Any] = json.loads(load.stdout)
    used = server.account.cpu_seconds() - before
    figures["server_cpu_us"] = used / (figures["sessions"] or 1) * 1e6
    figures["rss_mb"] = server.account.rss_mb()
    server.refuse_errors(figures, load.stderr)
    return figures
