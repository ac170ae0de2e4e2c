"""The networks of users' earlier logins: a login from one of them is not held back by strangers' failures."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

KNOWN_USERS: Final = 50_000
"""Remembered users, about 350 octets each; the one with the oldest login goes first. Only a right secret adds one."""

KNOWN_NETWORKS: Final = 16
"""Networks for one secret: the user's home, office and mobile networks, or those of an account's users."""


class Visitor(NamedTuple):
    """A login attempt, by user and network."""

    where: str
    """The client's network."""
    user: str
    secret: str
    """The name whose secret is verified: the user's, or the account's."""


class Regulars:
    """The networks of earlier logins."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[tuple[str, str], ...]] = OrderedDict()  # by secret; the latest come last

    def __contains__(self, visitor: Visitor) -> bool:
        """Whether the user has logged in from this network."""
        return visitor[:2] in self._known.get(visitor.secret, ())

    @property
    def secrets(self) -> list[str]:
        """The names of those who have logged in, the latest last."""
        return list(self._known)

    def visitors(self, secret: str) -> list[Visitor]:
        """The networks of a name, and their users, the latest last."""
        return [Visitor(where, user, secret) for where, user in self._known.get(secret, ())]

    def welcome(self, visitor: Visitor) -> None:
        """Remember a login."""
        pair = visitor[:2]
        others = tuple(each for each in self._known.pop(visitor.secret, ()) if each != pair)
        self._known[visitor.secret] = (*others[-(KNOWN_NETWORKS - 1) :], pair)
        if len(self._known) > KNOWN_USERS:
            self._known.popitem(last=False)
