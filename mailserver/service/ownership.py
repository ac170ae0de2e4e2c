"""Whose a Unix socket's file is: the options ``user=`` and ``group=`` of a ``unix:`` endpoint, which Twisted's do not have.

With ``unix:/run/mailserver/lmtp:mode=660:group=postfix`` the group's programs may connect, and nobody else: a server that root
starts would make the file root's.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from mailserver.config.kinds import parts_of


class Ownership(NamedTuple):
    """Numbers of a user and a group; -1: as it is."""

    uid: int = -1
    gid: int = -1

    def give(self, path: bytes) -> None:
        """Give the file to them. Errors: OSError; only root may give a file to anybody."""
        if self != (-1, -1):
            os.chown(path, *self, follow_symlinks=False)


def owned(endpoint: str) -> tuple[str, Ownership]:
    """A ``unix:`` endpoint without these options, and what they say. Errors: ValueError, for the operator."""
    rest: list[str] = []
    found: dict[str, int] = {}
    for part in parts_of(endpoint):
        name, is_option, value = part.partition("=")
        if not is_option or name not in _NUMBERS:
            rest.append(part)
        elif name in found:
            raise ValueError(f"its {name} is given twice")
        else:
            found[name] = _number(name, value)
    return ":".join(rest), Ownership(found.get("user", -1), found.get("group", -1))


def _number(name: str, value: str) -> int:
    try:
        return _NUMBERS[name](value)
    except KeyError:
        raise ValueError(f'there is no {name} "{value}" on this machine') from None


_NUMBERS: Final[Mapping[str, Callable[[str], int]]] = {
    "user": lambda name: pwd.getpwnam(name).pw_uid,
    "group": lambda name: grp.getgrnam(name).gr_gid,
}
