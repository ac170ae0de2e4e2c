"""Four users' homes, and a message for all of them, for the tests of what a deposit leaves when it does not come to its end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from mailserver.incoming import Usage
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize, opening
from mailserver.store.maildir.making import Making
from mailserver.store.maildir.spool import Place, Spool
from tests.store.maildir.crash import clock

HEAD, REST = b"Subject: new\r\n\r\n", b"the second chunk\r\n"
MESSAGE = HEAD + REST
OLD = b"Subject: old\r\n\r\nold\r\n"
QUOTA = Quota(octets=1000, messages=2)

USERS = {"alice": None, "bob": QUOTA, "carol": None, "dave": QUOTA}
"""alice has a Maildir; bob's has a quota and its count; carol's must be made; dave's must be made, and counted."""

HAVING = frozenset({"alice", "bob"})
"""Those who have one, with an old message."""


def fill(homes: Path) -> None:
    """Make them as they are before the deposit."""
    shutil.rmtree(homes, ignore_errors=True)
    for user in USERS:
        (homes / user).mkdir(parents=True)
    for user in sorted(HAVING):
        for name in ("tmp", "new", "cur"):
            (homes / user / "Maildir" / name).mkdir(parents=True)
        (homes / user / "Maildir/new/1700000000.M1P1.old").write_bytes(OLD)
    usage(homes, "bob")


def deposit(homes: Path, users: Sequence[str] = tuple(USERS), serial: int = 1) -> dict[str, Exception | None]:
    """Deliver, in a process that has delivered nothing yet; the outcome of each user."""
    places = [Place(root(homes, user), os.fsencode(homes / user) + b"/", USERS[user]) for user in users]
    names = [b"17%08d.M%dP1.new,S=%d,W=%d" % (serial, at, len(MESSAGE), len(MESSAGE)) for at, _ in enumerate(users)]
    spool = Spool(places, b"17%08d.M9P1.tmp" % serial, Making())
    spool.write(HEAD)
    return dict(zip(users, spool.deliver(REST, names, b"new/"), strict=True))


def root(homes: Path, user: str) -> bytes:
    return os.fsencode(homes / user / "Maildir") + b"/"


def login(homes: Path, user: str) -> list[bytes]:
    """The messages that a new session serves."""
    maildir = root(homes, user)
    opened = opening.thoroughly(maildir, os.fsencode(homes / user) + b"/", "crash", None, clock)
    os.close(opened.lock)
    return [Path(os.fsdecode(maildir + name)).read_bytes() for name in opened.found.names]


def visible(homes: Path, user: str) -> list[bytes]:
    """The messages as they lie there, without a login."""
    return [
        path.read_bytes() for name in ("new", "cur") for path in sorted((homes / user / "Maildir" / name).glob("*"))
    ]


def spooled(homes: Path) -> list[str]:
    """What lies in tmp/."""
    return [str(path) for path in homes.glob("*/Maildir/tmp/*")]


def usage(homes: Path, user: str) -> Usage:
    """By the count that is kept, where there is a quota."""
    return maildirsize.usage(root(homes, user), USERS[user])


def counted(homes: Path, user: str) -> Usage:
    """The truth."""
    found = visible(homes, user)
    return Usage(len(found), sum(map(len, found)))
