"""The accounts of a run and the mail in them."""

from __future__ import annotations

import os
import pwd
import random
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from bench.root import ROOT

USER = os.environ.get("BENCH_USER", "vmail") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
"""Serves and owns the maildrops; root makes it where there is none."""


class Maildrops(NamedTuple):
    """Accounts that are alike. `name` has a `%d` where there are several."""

    users: int
    name: str
    messages: int
    octets: int
    wire: bool = False
    """Whether the files are in wire form: lines end with CRLF, and none begins with a dot."""

    def accounts(self) -> list[str]:
        """Their names."""
        return [self.name % user for user in range(self.users)] if "%d" in self.name else [self.name]


GROWN = 1.1
"""How much mail may have been delivered to a maildrop before it is made anew."""

IDLE = 400
"""Idle sessions, of an account each: a maildrop admits one."""

MAILDROPS = {
    "small": Maildrops(100, "user%d", 20, 4000),
    "bulk": Maildrops(12, "bulk%d", 2, 10_000_000),  # more accounts than connections: a maildrop admits one session
    "wire": Maildrops(12, "wire%d", 2, 10_000_000, wire=True),
    "many": Maildrops(6, "many%d", 20_000, 2000),
    "idle": Maildrops(IDLE, "idle%d", 20, 500),
}


SETTLED_SECONDS = 10
"""Older than any server's idea of young."""

CROWD = Maildrops(10_000, "crowd%d", 1, 300)
"""Those of a crowd of idle clients."""


def growing(server: str, messages: int) -> Maildrops:
    """A server's own maildrop, to which mail is delivered: another server that opens it would move the mail."""
    return Maildrops(1, f"growing-{messages}-{server}", messages, 300)


def maildir(account: str) -> Path:
    """Where an account's mail is."""
    return ROOT / "mail" / account / "Maildir"


def write_users(maildrops: Iterable[Maildrops]) -> None:
    """Write the passwd-file."""
    owner = pwd.getpwnam(USER)
    names = [name for each in maildrops for name in each.accounts()]
    lines = [f"{name}:{{PLAIN}}secret:{owner.pw_uid}:{owner.pw_gid}::{maildir(name).parent}\n" for name in names]
    (ROOT / "users").write_text("".join(lines))


def fill(maildrops: Maildrops) -> None:
    """Make those that are not there yet; the same mail in every run."""
    chance = random.Random(1)  # noqa: S311 - nothing to guess
    letters = "abcdefghijklmnopqrstuvwxyz     ."
    lines = ["".join(chance.choice(letters) for _ in range(72)) + "\n" for _ in range(500)]
    able = [line for line in lines if not (maildrops.wire and line.startswith("."))]
    for account in maildrops.accounts():
        folder = maildir(account)
        if maildrops.messages <= messages(folder) <= maildrops.messages * GROWN:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        for sub in ("new", "cur", "tmp"):
            (folder / sub).mkdir(parents=True)
        for number in range(maildrops.messages):
            head = f"From: a@example.org\nTo: {account}@example.org\nSubject: message {number}\n\n"
            text = head + "".join(chance.choices(able, k=max(1, (maildrops.octets - len(head)) // 73)))
            path = folder / "new" / f"{1_700_000_000 + number}.M{number}P1.host"
            path.write_text(text, newline="\r\n" if maildrops.wire else "\n")
            _give(path)
        for path in (folder.parent, folder, *folder.iterdir()):
            _give(path)


def messages(folder: Path) -> int:
    """How many a Maildir has."""
    return sum(len(os.listdir(folder / sub)) for sub in ("new", "cur") if (folder / sub).exists())


def deliver(account: str, count: int) -> None:
    """Bring an account new mail, as a delivery agent does."""
    folder = maildir(account)
    for number in range(count):
        name = f"{time.time_ns() // 10**9}.M{time.time_ns() // 1000 % 10**6}P{number}.host"
        (folder / "tmp" / name).write_text(f"Subject: new {number}\n\nhello\n")
        _give(folder / "tmp" / name)
        (folder / "tmp" / name).rename(folder / "new" / name)


def settle(account: str) -> None:
    """Make the times of the directories as old as they are when a user comes back: an index does not trust a young one."""
    past = time.time() - SETTLED_SECONDS
    for sub in ("new", "cur"):
        os.utime(maildir(account) / sub, (past, past))


def forget(account: str) -> None:
    """Remove the indexes of all servers, so that the next login is the first."""
    for pattern in ("mailserver-*", "dovecot*"):
        for file in maildir(account).glob(pattern):
            file.unlink()


def _give(path: Path) -> None:
    owner = pwd.getpwnam(USER)
    os.chown(path, owner.pw_uid, owner.pw_gid)
