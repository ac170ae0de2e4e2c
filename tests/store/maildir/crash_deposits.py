"""A program that kills itself at every step of a deposit.

``python -m tests.store.maildir.crash_deposits DIRECTORY`` prints one JSON line per kill, as `tests.store.maildir.crash` does.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize
from tests.store.maildir.crash import dying
from tests.store.maildir.spools import Drops

USERS = "alice", "bob"
QUOTA = Quota(octets=10_000, messages=100)
OLD, NEW = b"Subject: old\r\n\r\n", b"Subject: new\r\n\r\n" + b"and long\r\n" * 99
FRESH, KNOWN, LARGE = "a fresh maildrop", "a known maildrop", "a large message"


def main(directory: str) -> None:
    for case in (FRESH, KNOWN, LARGE):
        step = 1
        while died := crash(Path(directory), step, case, torn=False):
            if died == "write":
                crash(Path(directory), step, case, torn=True)
            step += 1


def crash(directory: Path, step: int, case: str, *, torn: bool) -> str:
    """One kill; returns the name of the call it fell on, "" when the work was over before."""
    for user in USERS:
        shutil.rmtree(directory / user, ignore_errors=True)
    drops = Drops(directory, *USERS)
    if case != FRESH:
        assert drops.deliver(OLD, *USERS, quota=QUOTA) == [None, None]
    said = directory / "answered"
    said.unlink(missing_ok=True)
    died = dying(partial(deliver, drops, said, large=case == LARGE), step, torn=torn)
    found = {user: [message.decode() for message in drops.stored(user)] for user in USERS}
    tmp = len(drops.tmp(*USERS))
    outcomes = Drops(directory).deliver(OLD, *USERS, quota=QUOTA)
    sys.stdout.write(json.dumps({
        "died": died, "step": step, "torn": torn, "case": case, "found": found, "answered": said.exists(), "tmp": tmp,
        "next": outcomes == [None, None],
        "counted": {user: usage(drops, user) for user in USERS},
    }) + "\n")  # fmt: skip
    return died


def deliver(drops: Drops, said: Path, arm: Callable[[], None], *, large: bool) -> None:
    arm()
    assert drops.deliver(NEW, *USERS, quota=QUOTA, before=[NEW, NEW] if large else []) == [None, None]
    said.touch()


def usage(drops: Drops, user: str) -> tuple[int, int]:
    """The octets by `maildirsize`, and those that are there."""
    root = os.fsencode(drops.root(user)) + b"/"
    return maildirsize.usage(root, QUOTA).octets, maildirsize.count(root)[0].octets


if __name__ == "__main__":
    main(sys.argv[1])
