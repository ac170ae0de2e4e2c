"""What the clients did, for the assertions of tests."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

SECRETS: Final = {b"PASS": 0, b"APOP": 1, b"AUTH": 1}
"""Commands with a secret, and how many words of their arguments are none."""

HIDDEN: Final = "*"
"""What stands for a secret, and for whatever could be one."""

_VERB: Final = re.compile(rb"\*?[A-Za-z]{1,12}")


@dataclass
class ClientSession:
    """One connection of a client. The server writes in it while the session lasts."""

    tls: bool = False
    """Whether it is inside TLS by now."""
    user: str | None = None
    """Who has logged in; None: nobody."""
    commands: list[str] = field(default_factory=list)
    """The command lines in their order, without secrets. What a client answers in a SASL exchange is none."""
    retrieved: list[int] = field(default_factory=list)
    """The message-numbers that RETR has sent whole, in their order."""
    deleted: list[int] = field(default_factory=list)
    """The message-numbers that QUIT has removed; DELE alone removes nothing."""
    ended: str = ""
    """What ended it, such as "QUIT", "client's close" and "connection lost"; "" while it lasts."""

    @property
    def verbs(self) -> list[str]:
        """The commands without their arguments, in capitals."""
        return [each.partition(" ")[0].upper() for each in self.commands]


def shown(line: bytes, *, known: bool) -> str:
    """A command line without what may be a secret; all but the verb may be one in a command that is not `known`."""
    verb, space, rest = line.partition(b" ")
    if not _VERB.fullmatch(verb):
        return HIDDEN
    open_words = SECRETS.get(verb.upper()) if known else 0
    if open_words is not None:
        words = rest.split()
        rest = b" ".join([*words[:open_words], HIDDEN.encode()] if len(words) > open_words else words)
    return (verb + space + rest).decode("utf-8", "backslashreplace")
