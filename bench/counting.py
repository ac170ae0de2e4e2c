#!/usr/bin/env python3
"""What counting for /metrics costs a session (login + STAT): a server that counts beside one that does not.

    bench/counting.py [--rounds 24] [--sessions 1500] [--json FILE]

First the CPU of a session without sockets, kernel and log, of both servers in one process, in turn: so the difference is known best. Then
the instructions of such a session, in a process for each, as valgrind counts them: whatever else the machine does, they are the same to
a percent. Then the CPU of all of it, with 16 clients at once: three servers take turns, of which two count nothing. In each round all have
two turns, the second ones in reverse order, so that neither what changes slowly nor who is first makes a difference. What is told is the
median of the rounds' ratios, and the range that the true one is in, by 95 of 100. The second server that counts nothing is compared with
the first in the same way: what that differs by is the error. The servers are started anew several times, because a process may be lucky.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, closing
from math import comb
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import maildrops, scenarios, tools
from bench.machine import versions
from bench.maildrops import MAILDROPS
from bench.root import HERE, ROOT, alone
from bench.scenarios import STAT
from bench.servers import MAILSERVER, PAGES, Server

STARTS = 4
"""Times that the servers are started anew."""

WARM = 400
"""Sessions before a measurement: each maildrop's index is there, and the interpreter has specialised what runs often."""

INSTRUMENTED = 300
"""Sessions whose instructions are counted, by `counted.py`. Valgrind takes fifty times as long as they do."""

SECONDS = 25
"""For which both take turns in one process."""

VALGRIND = ("valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no")
AGAIN = "-again"


def sessions(server: Server, number: int) -> None:
    """So many of them, as fast as it can."""
    scenarios.run(server, STAT, 600, "--sessions", str(number))


def in_turn() -> dict[str, float]:
    """The CPU of a session that is not counted, and how much more one takes that is, in microseconds, both in one process."""
    program = [sys.executable, str(HERE / "counted.py"), "turns", str(SECONDS)]
    found: dict[str, float] = json.loads(subprocess.run(program, check=True, stdout=subprocess.PIPE).stdout)
    return found


def instructions(kind: str) -> float:
    """Those of a session in a process of its own."""
    out = ROOT / f"{kind}.callgrind"
    program = [sys.executable, str(HERE / "counted.py"), kind, str(INSTRUMENTED)]
    subprocess.run([*VALGRIND, f"--callgrind-out-file={out}", *program], check=True, stderr=subprocess.DEVNULL)
    lines = Path(f"{out}.1").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("summary:")).split()[1]) / INSTRUMENTED


def rounds(names: Sequence[str], number: int, count: int) -> list[dict[str, float]]:
    """Rounds of the CPU that each server takes, in microseconds a session."""
    found = []
    with ExitStack() as running:
        servers = [running.enter_context(closing(Server(name, MAILSERVER + of(name)))) for name in names]
        for server in servers:
            sessions(server, WARM)
        for turn in range(number):
            first = turn % len(servers)
            order = servers[first:] + servers[:first]
            # From round to round, so that what a server does every few seconds is in it, which may be while others have their turn.
            before = {server.name: server.account.cpu_seconds() for server in servers}
            for server in (*order, *reversed(order)):
                sessions(server, count)
            found.append(
                {
                    server.name: (server.account.cpu_seconds() - before[server.name]) / (2 * count) * 1e6
                    for server in servers
                }
            )
        if any(server.errors for server in servers):
            raise SystemExit("sessions failed, so nothing is measured")
    return found


def of(name: str) -> str:
    """What ends the command of a server with this name."""
    return PAGES if name == "counted" else ""


def within(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the ends of the range that the true one is in, by 95 of 100: by how many may be on one side of it by chance."""
    ordered, number = sorted(ratios), len(ratios)
    cut = below = 0
    while (below := below + comb(number, cut)) <= 2**number / 40:
        cut += 1
    return statistics.median(ordered), ordered[max(0, cut - 1)], ordered[-max(1, cut)]


def main(arguments: Sequence[str]) -> int:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--sessions", type=int, default=1500, help="in a turn")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    told: dict[str, Any] = {"versions": versions()}
    with alone():
        if not tools.make().popload:
            print("No load generator (gcc with libssl-dev): nothing is measured.")
            return 0
        maildrops.write_users([*MAILDROPS.values()])
        maildrops.fill(MAILDROPS["small"])
        print("\n".join(f"{name}: {version}" for name, version in versions().items()), flush=True)
        told["turns"] = turns = in_turn()
        print(f"in one process: {turns['plain']:.0f} us, counted {turns['more']:.1f} more", flush=True)
        if shutil.which("valgrind"):
            plain, counted = (instructions(name) for name in ("plain", "counted"))
            told["instructions"] = {"plain": plain, "counted": counted}
            print(
                f"instructions: {plain:,.0f}, counted {counted:,.0f}, which is {counted / plain - 1:+.2%}", flush=True
            )
        else:
            print("No valgrind: instructions are not counted.")
        found: list[dict[str, float]] = []
        names = ("plain", "counted", "plain" + AGAIN)
        for _ in range(STARTS if options.rounds else 0):
            found += rounds(names, -(-options.rounds // STARTS), options.sessions)
        told["rounds"] = found
        for name in names[1:] if found else ():
            median, least, most = within([each[name] / each["plain"] for each in found])
            cpu = statistics.median(each[name] for each in found)
            print(
                f"CPU: {name} {cpu:.0f} us, {median - 1:+.2%} of plain's ({least - 1:+.2%} to {most - 1:+.2%})",
                flush=True,
            )
    if options.json:
        options.json.write_text(json.dumps(told, indent=1))
    return 0


if __name__ == "__main__":
    os.environ["PYTHONHASHSEED"] = "0"  # of the servers: dicts of the same layout
    sys.exit(main(sys.argv[1:]))
