#!/usr/bin/env python3
"""Measure how many messages LMTP servers take, side by side, on one disk, each message durable before it is answered.

    bench/deliveries.py [--seconds 3] [--rounds 3] [--connections 1,10,100] [--recipients 1,10] [--json FILE] [--without NAME,...]

Three servers: `dovecot` (Debian's dovecot-lmtpd in a private instance, with mail_fsync = always and processes in reserve),
`mailserver`, and `mailserver-2`, which is the same with two workers. Each connection sends one message of 4 KB after the other, with
pipelined commands, as Postfix does; each message is for one user, or several, who are not those of the other connections. A delivery is
a message of one user. What was delivered is counted in the maildrops, and removed between two measures.

CPU is that of all of a server's processes; `kernel` and `disk` are the same for all. Machines are shared and noisy: quote the ratios
of one run, never a figure alone. Without root or dovecot-lmtpd there is no Dovecot.
"""

from __future__ import annotations

import argparse
import json
import os
import selectors
import shutil
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import tools
from bench.machine import versions
from bench.receivers import COMMANDS, USERS, Server
from bench.root import alone

LINE: Final = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\r\n"
MESSAGE: Final = b"From: bench@example.org\r\nSubject: a delivery\r\n\r\n" + LINE * 56
"""4 KB."""


class Figures(NamedTuple):
    """What one measure found."""

    rate: float
    """Deliveries a second."""
    cpu: float
    """Microseconds of a delivery."""


class Sender:
    """A connection that sends one message after the other."""

    def __init__(self, server: Server, users: Sequence[str]) -> None:
        self.socket = server.connected()
        self.envelope = b"MAIL FROM:<bench@example.org>\r\n"
        self.envelope += b"".join(b"RCPT TO:<%b>\r\n" % user.encode() for user in users) + b"DATA\r\n"
        self.recipients = len(users)
        self.left = 0
        """Replies that come before it acts again."""
        self.sending = False
        self.delivered = 0
        for replies, sent in ((1, b"LHLO bench.example.org\r\n"), (0, b"")):
            self._replies(replies)
            self.socket.sendall(sent)
        while (line := self._line())[3:4] == b"-":
            pass
        if not line.startswith(b"250"):
            raise SystemExit(f"{server.name} refused: {line!r}")

    def _replies(self, count: int) -> None:
        for _ in range(count):
            self._line()

    def _line(self) -> bytes:
        line = b""
        while not line.endswith(b"\r\n"):
            line += self.socket.recv(1)
        return line

    def begin(self) -> None:
        """Send an envelope."""
        self.sending = False
        self.left = 2 + self.recipients
        self.socket.sendall(self.envelope)

    def ready(self, *, more: bool) -> bool:
        """Read replies, and answer the last one; False when the message was answered and no more are wanted."""
        replies = self.socket.recv(65536)
        if not replies or any(line[:1] not in b"23" for line in replies.splitlines()):
            raise SystemExit(f"the server refused: {replies[:500]!r}")
        self.left -= replies.count(b"\n")
        if self.left:
            return True
        if not self.sending:
            self.sending, self.left = True, self.recipients
            self.socket.sendall(MESSAGE + b".\r\n")
            return True
        self.delivered += self.recipients
        if more:
            self.begin()
        return more

    def close(self) -> None:
        """Go."""
        self.socket.close()


def measure(server: Server, connections: int, recipients: int, seconds: float) -> Figures:
    """Deliver for so long."""
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for number in range(connections):
            users = [f"user{(number * recipients + each) % USERS}" for each in range(recipients)]
            sender = Sender(server, users)
            stack.callback(sender.close)
            selector.register(sender.socket, selectors.EVENT_READ, sender)
        _run(selector, 0.3)  # directories are made, processes are there
        there = sum(1 for _ in server.messages())
        cpu, began = server.account.cpu_seconds(), time.monotonic()
        delivered = _run(selector, seconds)
        elapsed, used = time.monotonic() - began, server.account.cpu_seconds() - cpu
    found = sum(1 for _ in server.messages()) - there
    if found != delivered:
        raise SystemExit(f"{server.name} answered {delivered} deliveries, and {found} are there")
    for path in server.messages():
        path.unlink()
    return Figures(delivered / elapsed, used / delivered * 1e6)


def _run(selector: selectors.BaseSelector, seconds: float) -> int:
    """Send for so long, and answer how many deliveries there were."""
    senders: list[Sender] = [key.data for key in selector.get_map().values()]
    before = sum(sender.delivered for sender in senders)
    for sender in senders:
        sender.begin()
    busy, until = len(senders), time.monotonic() + seconds
    while busy:
        for key, _ in selector.select():
            busy -= not key.data.ready(more=time.monotonic() < until)
    return sum(sender.delivered for sender in senders) - before


def table(found: dict[str, dict[str, Figures]]) -> str:
    """The figures as the page has them; ratios are to Dovecot."""
    lines = ["| connections, recipients | server | deliveries/s | | CPU of one | |", "|---|---|---|---|---|---|"]
    for case, servers in found.items():
        base = servers.get("dovecot")
        for name, each in servers.items():
            rate = f"{each.rate / base.rate:.1f}" if base else ""
            cpu = f"{each.cpu / base.cpu:.2f}" if base else ""
            lines.append(f"| {case} | {name} | {each.rate:,.0f} | {rate} | {each.cpu:,.0f} us | {cpu} |")
    return "\n".join(lines)


def run(
    names: Sequence[str], connections: Sequence[int], recipients: Sequence[int], seconds: float, rounds: int
) -> dict[str, dict[str, Figures]]:
    """The medians of all rounds, by case and server."""
    found: dict[str, dict[str, list[Figures]]] = {}
    with ExitStack() as stack:
        servers = []
        for name in names:
            servers.append(Server(name, max(connections)))
            stack.callback(servers[-1].close)
        for _ in range(rounds):
            for count in connections:
                for each in recipients:
                    for server in servers:
                        case = found.setdefault(f"{count}, {each}", {})
                        case.setdefault(server.name, []).append(measure(server, count, each, seconds))
    return {case: {name: _median(all_) for name, all_ in servers.items()} for case, servers in found.items()}


def _median(figures: Sequence[Figures]) -> Figures:
    return Figures(*(statistics.median(column) for column in zip(*figures, strict=True)))


def usable() -> list[str]:
    """The servers that this machine and this user can run."""
    dovecot = os.geteuid() == 0 and shutil.which("dovecot") and Path("/usr/lib/dovecot/lmtp").exists()
    return [name for name in COMMANDS if name != "dovecot" or dovecot]


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = {"type": lambda text: [int(each) for each in text.split(",")]}
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default=[1, 10, 100], **numbers)
    parser.add_argument("--recipients", default=[1, 10], **numbers)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without", type=lambda text: text.split(","), default=[])
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    options = parse(arguments)
    with alone():
        tools.make()
        names = [name for name in usable() if name not in options.without]
        print("; ".join(f"{name}: {told}" for name, told in versions().items()), flush=True)
        found = run(names, options.connections, options.recipients, options.seconds, options.rounds)
        print(table(found))
        if options.json:
            options.json.write_text(
                json.dumps({case: {n: f._asdict() for n, f in each.items()} for case, each in found.items()})
            )


if __name__ == "__main__":
    main(sys.argv[1:])
