"""Maildrops as they are after years: nasty messages, holes, messages that are gone though they are listed, flags, and many of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.corpus import SMALL
from tests.old.front import Front
from tests.old.person import Person
from tests.rawpop3 import RawPOP3

MESSAGES: Final = int(os.environ.get("MOVING_MESSAGES", "60"))
"""In the maildrop that all clients read; the issue's 10,000 take them a minute each."""

SERVED: Final = tuple(message for message in SMALL.values() if not message.startswith(b"."))
"""The corpus without what the other servers do not serve right: Dovecot and Courier do not stuff a dot that is the first octet of a
message, and their reply ends too early for some of these."""

NAMES: Final = (
    "{second}.V801I{serial}M{micro}.host",  # Postfix
    "{second}.H{micro}P17.host",  # Exim
    "{second}.M{micro}P17Q{serial}.host",  # maildrop
    "{second}.M{micro}P17.host,S={size}",
    "{second}.M{micro}P17.host,S={size},W={wire}",  # Dovecot
    "{second}.17_{serial}.host",
)


def body(number: int) -> bytes:
    """A short message that is none of the others."""
    return b"From: alice@example.org\nSubject: number %d\n\ntext %d\n" % (number, number)


def put(maildir: Path, messages: Sequence[bytes], since: int = 1_600_000_000) -> list[Path]:
    """Write them as various delivery agents and readers leave them; half of them have been read."""
    for folder in ("tmp", "new", "cur"):
        (maildir / folder).mkdir(parents=True, exist_ok=True)
    paths = []
    for serial, message in enumerate(messages):
        wire = len(message) + message.count(b"\n") - message.count(b"\r\n")
        values = {"second": since + serial, "serial": serial, "micro": serial % 1_000_000, "size": len(message)}
        name = NAMES[serial % len(NAMES)].format(wire=wire, **values)
        path = maildir / ("cur" if serial % 2 else "new") / (f"{name}:2,S" if serial % 2 else name)
        path.write_bytes(message)
        paths.append(path)
    return paths


def delete(front: Front, person: Person, every: int) -> None:
    """Delete each message of such a number by POP3: a user did."""
    with RawPOP3(front.pop3_port).login(person.name, person.password) as client:
        for number, _ in client.listing(b"UIDL"):
            if number % every == 0:
                client.ok(b"DELE %d" % number)
        client.quit()


def vanish(maildir: Path, every: int) -> None:
    """Remove files behind the back of the server, whose lists have them still."""
    files = sorted(path for folder in ("new", "cur") for path in (maildir / folder).iterdir())
    for path in files[every - 1 :: every]:
        path.unlink()


def count(maildir: Path) -> int:
    """The messages that are there."""
    return sum(1 for folder in ("new", "cur") for _ in (maildir / folder).iterdir())
