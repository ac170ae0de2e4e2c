#!/usr/bin/env python3
"""Measure how long the mail of many users takes from one server to another, side by side.

    bench/moving.py [--users 100] [--messages 1000] [--octets 4000] [--parallel 2] [--rounds 1] [--imapsync PATH] [--without NAME,...]

The old server is Debian's Dovecot (dovecot-imapd, dovecot-pop3d) with Maildirs, on this machine's loopback. The same mail goes to a fresh place by
`mailserver` (``mailserver migrate mail``: unique-ids by POP3, flags and dates by IMAP), `doveadm` (``doveadm backup`` from IMAP into a Maildir,
which takes no unique-ids of POP3 along), and `imapsync`, if its program is given (Debian has none: https://imapsync.lamiral.info, IMAP to a second Dovecot).
Each moves so many users at once. What arrived is counted.

CPU is that of the mover with the server that it writes through, if any, and that of the old server; both for one message. Machines are
shared and noisy: quote the ratios of one run, never a figure alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import movers, tools
from bench.machine import versions
from bench.movers import MOVERS, Dovecot, Imapsync, Place, names
from bench.root import alone

LINE: Final = b"The quick brown fox jumps over the lazy dog, and the dog lets it pass.\n"


class Figures(NamedTuple):
    """What one move found."""

    rate: float
    """Messages a second."""
    cpu: float
    """Microseconds of a message, of the mover."""
    served: float
    """Those of the old server."""


class Load(NamedTuple):
    """What is moved."""

    users: int
    messages: int
    """Of each user."""
    octets: int
    """Of a message, on average."""
    parallel: int
    """How many users at once."""


def fill(place: Place, load: Load) -> None:
    """Put mail there; half of it is read."""
    chance = random.Random(1)  # noqa: S311 - nothing to guess
    for user in names(load.users):
        maildir = place.root / "mail" / user / "Maildir"
        for folder in ("tmp", "new", "cur"):
            (maildir / folder).mkdir(parents=True)
        for number in range(load.messages):
            head = b"From: bench@example.org\nMessage-ID: <%d.%b@example.org>\nSubject: %d\n\n"
            text = head % (number, user.encode(), number) + LINE * (chance.randrange(2 * load.octets) // len(LINE))
            name = f"{1_600_000_000 + number}.M{number}P1.host"
            (maildir / "cur" / f"{name}:2,{'S' if number % 2 else ''}").write_bytes(text)
    place.own()


def measure(name: str, old: Dovecot, load: Load) -> Figures:
    """Move everything once, to a fresh place."""
    mover = MOVERS[name](name, old, names(load.users), load.parallel)
    try:
        served, began = old.account.cpu_seconds(), time.monotonic()
        used = mover.cpu_seconds()
        mover.move()
        elapsed = time.monotonic() - began
        used, served = mover.cpu_seconds() - used, old.account.cpu_seconds() - served
        total, found = load.users * load.messages, sum(1 for _ in mover.place.messages())
        if found != total:
            raise SystemExit(f"{name} moved {found} of {total} messages")
    finally:
        mover.close()
    return Figures(total / elapsed, used / total * 1e6, served / total * 1e6)


def run(wanted: Sequence[str], load: Load, rounds: int) -> dict[str, Figures]:
    """The medians of all rounds, in which all take turns."""
    people = names(load.users)
    found: dict[str, list[Figures]] = {name: [] for name in wanted}
    with ExitStack() as stack:
        place = Place("old", people)
        stack.callback(movers.remove, place)
        fill(place, load)
        old = Dovecot(place)
        stack.callback(old.close)
        movers.index(old, people)
        for _ in range(rounds):
            for name in wanted:
                found[name].append(measure(name, old, load))
                print(f"{name}: {found[name][-1].rate:,.0f} messages/s", flush=True)
    return {name: Figures(*map(statistics.median, zip(*all_, strict=True))) for name, all_ in found.items()}


def table(found: dict[str, Figures]) -> str:
    """The figures as the page has them; ratios are to doveadm."""
    lines = ["| mover | messages/s | | CPU of a message | | of the old server |", "|---|---|---|---|---|---|"]
    base = found.get("doveadm")
    for name, each in found.items():
        rate = f"{each.rate / base.rate:.2f}" if base else ""
        cpu = f"{each.cpu / base.cpu:.2f}" if base else ""
        lines.append(f"| {name} | {each.rate:,.0f} | {rate} | {each.cpu:,.0f} us | {cpu} | {each.served:,.0f} us |")
    return "\n".join(lines)


def parse(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"users": 100, "messages": 1000, "octets": 4000, "parallel": 2, "rounds": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--imapsync", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without", type=lambda text: text.split(","), default=[])
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> None:
    """Measure, and print the table."""
    options = parse(arguments)
    Imapsync.program = options.imapsync
    wanted = [name for name in MOVERS if name not in options.without and (name != "imapsync" or options.imapsync)]
    with alone():
        tools.make()
        print("; ".join(f"{name}: {told}" for name, told in versions().items()), flush=True)
        load = Load(options.users, options.messages, options.octets, options.parallel)
        found = run(wanted, load, options.rounds)
        print(table(found))
        if options.json:
            options.json.write_text(json.dumps({name: each._asdict() for name, each in found.items()}))


if __name__ == "__main__":
    main(sys.argv[1:])
