"""Sessions that delete while other processes rename: no acknowledged deletion comes back, and no message is missed.

``CRASH_RUNS`` makes it long: so many times hundred deletions in each maildrop, with up to 50,000 messages.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.rawpop3 import RawPOP3
from tests.servers import Account, Server, Site

STORMS = 2
RUNS = int(os.environ.get("CRASH_RUNS", "0"))
SIZES = [5, 300, 5000, 50_000] if RUNS else [5, 300]


@pytest.mark.parametrize("size", SIZES)
def test_nothing_comes_back_and_nothing_is_missed_in_a_storm_of_renames(size: int) -> None:
    random, dead = Random(size), set[bytes]()
    wanted = 100 * RUNS or min(150, 3 * size)
    with Site() as site:
        account = site.account("bob")
        alive = deliver(account, size, 0)
        server = Server(site)
        server.start()
        try:
            with storm(account):
                while len(dead) < wanted:
                    gone = session(server.pop3_port, account, alive, dead, random)
                    dead |= gone
                    alive -= gone
                    alive |= deliver(account, size - len(alive), len(dead) + len(alive))
            session(server.pop3_port, account, alive, dead, random)
        finally:
            server.kill()
        assert not [event for event in server.events if "fault" in event.get("event", "")], server.log()


def session(port: int, account: Account, alive: set[bytes], dead: set[bytes], random: Random) -> set[bytes]:
    """Look, retrieve one, delete some and quit; what QUIT promised to be gone."""
    with RawPOP3(port) as client:
        client.login(account.name, account.password)
        uidls = [uidl for _, uidl in client.listing(b"UIDL")]
        assert not dead & set(uidls), "came back"
        assert not alive - set(uidls), "missed"
        numbers = random.sample(range(1, len(uidls) + 1), random.randint(1, -(-len(uidls) // 3)))
        assert uidls[numbers[0] - 1] in client.fetch(b"RETR %d" % numbers[0])
        for number in numbers:
            client.ok(b"DELE %d" % number)
        client.quit()
    return {uidls[number - 1] for number in numbers}


def deliver(account: Account, count: int, serial: int) -> set[bytes]:
    """The unique-ids of so many new messages, whose subjects they are; the names of half of them have no sizes."""
    names = [f"{1_700_000_000 + serial + at}.M1P1.storm" for at in range(count)]
    for at, name in enumerate(names):
        text = f"Subject: {name}\r\n\r\n"
        file = account.maildir / "tmp" / name
        file.write_text(text, newline="")
        file.chmod(0o666)
        file.rename(account.maildir / "new" / (f"{name},S={len(text)},W={len(text)}" if at % 2 else name))
    return {name.encode() for name in names}


@contextmanager
def storm(account: Account) -> Iterator[None]:
    """Processes that rename its messages meanwhile."""
    command = (sys.executable, "-m", "tests.crash.storm", account.maildir)
    storms = [subprocess.Popen((*command, str(seed)), cwd=Path(__file__).parents[2]) for seed in range(STORMS)]
    try:
        yield
    finally:
        for each in storms:
            each.kill()
            each.wait()
