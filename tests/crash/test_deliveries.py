"""The server ends at random moments while it receives, serves and deletes: what was answered 250 is there once, or was deleted.

``CRASH_RUNS`` and ``CRASH_SEED`` are those of `test_kills`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random
from threading import Lock
from typing import Any

import pytest

from tests.crash.clients import DELIVERED, Doom, User
from tests.crash.fed import Fed
from tests.crash.feeders import Feeder, Mail
from tests.crash.receiving import RECEIVING
from tests.crash.test_kills import running, workers_of
from tests.crash.test_shares import SDPS, Guest
from tests.servers import Server, Site

KILLS = 5
"""In a life: the next server finds what all the kills before have left."""

SHARED_KILLS = max(4, int(os.environ.get("CRASH_RUNS", "0")) // 10)

ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)
"""A stop in an orderly way is one more way not to lose mail in."""

PLACES = {"expunge": "", "keep 7 days": "mailserver-kept/*/*", "trash": ".Trash/cur/*"}
"""For each way to delete, where the messages are then."""

DROPS, USERS, FEEDERS = 3, 3, 3

RUNS = int(os.environ.get("CRASH_RUNS", "10"))
SEED = int(
    os.environ.get("CRASH_SEED", "2037")
)  # the first is of the defaults alone, the second of two workers, copies and keep


@pytest.mark.parametrize("seed", range(SEED, SEED + -(-RUNS // KILLS)))
def test_no_kill_loses_mail_that_was_answered_or_leaves_half_of_another(
    seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    random, tally = Random(seed), Counter[str]()
    workers = 1 + (seed % 2 == 0)
    deleting = list(PLACES)[seed % 3]
    settings = {**RECEIVING, "delivery": {"delete": deleting, "share": seed % 4 < 2}}
    with Site() as site:
        extras = ["userdb_quota_message_count=1000", *[""] * (DROPS - 1)]
        drops = [Fed(site.account(f"user{at}", extra=extra), tally) for at, extra in enumerate(extras)]
        queue: list[Mail] = []
        for _ in range(KILLS // workers):
            with running(site, workers, **settings) as server:
                check(server, drops)
                if deleting.startswith("keep"):
                    random.choice(drops).undelete()
                for _ in range(workers):  # the first may be a worker's; a server killed as a whole is not killed again
                    if server.process.poll() is None:
                        kill(server, drops, queue, random, tally)
        with running(site, workers, **settings) as server:
            check(server, drops)
        for drop in drops if PLACES[deleting] else ():
            drop.keeps(PLACES[deleting])
    assert tally["answered deliveries"] > KILLS
    assert tally["answered QUITs"] > KILLS
    assert deleting == "expunge" or tally["messages kept"] > KILLS
    if "CRASH_RUNS" in os.environ:
        with capsys.disabled():
            figures = ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
            sys.stdout.write(f"\nseed {seed}, workers {workers}, delete = {deleting}: {figures}\n")


@pytest.mark.parametrize("workers", [1, 2])
def test_no_kill_loses_mail_of_a_share_that_was_answered(workers: int) -> None:
    random, tally = Random(SEED + workers), Counter[str]()
    settings = {**RECEIVING, **SDPS}
    with Site() as site:
        accounts = [site.account(f"vision{number}") for number in range(2)]
        drops = [Fed(Guest(account, user, Lock()), tally) for account in accounts for user in ("john", "mary")]
        queue: list[Mail] = []
        for _ in range(SHARED_KILLS // workers):
            with running(site, workers, **settings) as server:
                check(server, drops)
                for _ in range(workers):
                    if server.process.poll() is None:
                        kill(server, drops, queue, random, tally)
        with running(site, workers, **settings) as server:
            check(server, drops)
    assert tally["answered deliveries"] > SHARED_KILLS


def kill(server: Server, drops: list[Fed], queue: list[Mail], random: Random, tally: Counter[str]) -> None:
    """Let the users and the feeders work until one process of the server is killed."""
    before = len(server.told("worker.ended"))
    victim = random.choice([server.pid, *workers_of(server)])
    by = random.choice(ENDS) if victim == server.pid else signal.SIGKILL
    doom = Doom(victim, random, tally, DELIVERED, by)
    users: list[Any] = [User(drops, doom, Random(random.getrandbits(64)), tally) for _ in range(USERS)]
    feeders = [Feeder(drops, queue, doom, Random(random.getrandbits(64)), tally) for _ in range(FEEDERS)]
    with ThreadPoolExecutor(USERS + FEEDERS) as threads:
        working = [threads.submit(to_the_end, doom, user.work, server.pop3_port) for user in users]
        working += [threads.submit(to_the_end, doom, feeder.work, server.ports["lmtp"]) for feeder in feeders]
    for each in working:
        each.result()
    if victim == server.pid:
        server.kill() if by == signal.SIGKILL else server.stop()  # waits for its workers' end, too
    else:
        server.wait_for("worker.ended", before + 1)
        check(server, drops)


def to_the_end(doom: Doom, work: Callable[[int], None], port: int) -> None:
    """Work; whoever ends, by whatever is wrong, ends the work of all."""
    try:
        work(port)
    finally:
        doom.strike()


def check(server: Server, drops: list[Fed]) -> None:
    """Each holds what it must."""
    for drop in drops:
        drop.check(server.pop3_port)
