"""SIGKILL while the users of an account retrieve and delete their shares of it.

To each user his share is a maildrop like any other, whatever happens to those of the others in the same files.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from random import Random
from threading import Lock

import pytest

from tests.crash.model import Drop
from tests.crash.test_kills import kill, running
from tests.rawpop3 import RawPOP3
from tests.servers import Account, Site

KILLS = max(5, int(os.environ.get("CRASH_RUNS", "0")) // 10)
SEED = int(os.environ.get("CRASH_SEED", "1939"))
SDPS = {"sdps.accounts": {"vision0": "vision0.example.org", "vision1": "vision1.example.org"}}


class Guest(Account):
    """A user of an account: its password, its Maildir, and a name of his own."""

    def __init__(self, account: Account, user: str, lock: Lock) -> None:
        self.name = f"{user}@{account.name}"
        self.password = account.password
        self.maildir = account.maildir
        self._account = account
        self._lock = lock

    def deliver(self, message: bytes, folder: str = "new") -> Path:
        with self._lock:
            return self._account.deliver(message, folder)


@pytest.mark.parametrize("workers", [1, 2])
def test_no_kill_loses_mail_of_a_share_or_brings_it_back(workers: int) -> None:
    random, tally = Random(SEED + workers), Counter[str]()
    with Site() as site:
        accounts = [site.account(f"vision{number}") for number in range(2)]
        drops = []
        for account in accounts:
            lock = Lock()
            for user in ("john", "mary"):
                head = f"Return-Path: <env@example.org>\nDelivered-To: {user}@{account.name}.example.org\n".encode()
                drops.append(Drop(Guest(account, user, lock), tally, head))
        for _ in range(KILLS // workers):
            with running(site, workers, **SDPS) as server:
                for drop in drops:
                    drop.check(server.pop3_port)
                for _ in range(workers):
                    if server.process.poll() is None:
                        kill(server, drops, random, tally)
        with running(site, workers, **SDPS) as server:
            for drop in drops:
                drop.check(server.pop3_port)
            for account in accounts:
                with RawPOP3(server.pop3_port) as client:
                    client.login(account.name, account.password)
                    own = [drop.alive for drop in drops if drop.account.maildir == account.maildir]
                    seen = [uidl for _, uidl in client.listing(b"UIDL")]
                    assert sorted(seen) == sorted(uidl for alive in own for uidl in alive)
                    client.quit()
