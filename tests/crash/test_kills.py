"""SIGKILL at random moments of retrieving, deleting and quitting, while other programs deliver and rename.

``CRASH_RUNS`` says how many kills there are at most (18 by default), and ``CRASH_SEED`` what to repeat: a failure shows its own seed. How the
processes interleave is the kernel's choice, so a seed may need to be run more than once.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest

from tests.crash.clients import Doom, User
from tests.crash.model import Drop
from tests.servers import Server, Site

KILLS = 6
"""In a life: the next server finds what all the kills before have left."""

DROPS, USERS = 3, 4
"""More users than maildrops, so that some meet a lock."""

RUNS = int(os.environ.get("CRASH_RUNS", "18"))
SEED = int(os.environ.get("CRASH_SEED", "1939"))  # every third seed is one of two workers


@pytest.mark.parametrize("seed", range(SEED, SEED + -(-RUNS // KILLS)))
def test_no_kill_loses_mail_or_brings_it_back(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    random, tally = Random(seed), Counter[str]()
    workers = 1 + (seed % 3 == 0)
    with Site() as site:
        drops = [Drop(site.account(f"user{number}"), tally) for number in range(DROPS)]
        for _ in range(KILLS // workers):
            with running(site, workers) as server:
                for drop in drops:
                    drop.check(server.pop3_port)
                for _ in range(workers):  # the first may be a worker's; a server killed as a whole is not killed again
                    if server.process.poll() is None:
                        kill(server, drops, random, tally)
        with running(site, workers) as server:
            for drop in drops:
                drop.check(server.pop3_port)
    if "CRASH_RUNS" in os.environ:
        with capsys.disabled():
            figures = ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
            sys.stdout.write(f"\nseed {seed}, workers {workers}: {figures}\n")


def kill(server: Server, drops: list[Drop], random: Random, tally: Counter[str]) -> None:
    """Let the users work until one process of the server is killed."""
    before = len(server.told("worker.ended"))
    victim = random.choice([server.pid, *workers_of(server)])
    doom = Doom(victim, random, tally)
    users = [User(drops, doom, Random(random.getrandbits(64)), tally) for _ in range(USERS)]
    with ThreadPoolExecutor(USERS) as threads:
        working = [threads.submit(user.work, server.pop3_port) for user in users]
    doom.strike()
    for each in working:
        each.result()
    if victim == server.pid:
        server.kill()  # waits for its workers' end, too
    else:
        server.wait_for("worker.ended", before + 1)
        for drop in drops:
            drop.check(server.pop3_port)


def workers_of(server: Server) -> list[int]:
    """The processes that serve for it, once all do; none when it serves itself."""
    count = server.settings["workers"]
    if count == 1:
        return []
    ended = {event["pid"] for event in server.told("worker.ended")}
    server.wait_for("worker.serving", count + len(ended))
    return [event["pid"] for event in server.told("worker.serving") if event["pid"] not in ended]


@contextmanager
def running(site: Site, workers: int, **settings: Any) -> Iterator[Server]:
    """A server until its end, which comes by SIGKILL if it has not come yet; the end of its log is that of its workers."""
    server = Server(site, workers=workers, **settings)
    server.start()
    try:
        yield server
    finally:
        server.kill()
    assert not [event for event in server.events if "fault" in event.get("event", "")], server.log()
    assert not [secret for secret in site.secrets if secret in server.raw], "a secret is in the log"
