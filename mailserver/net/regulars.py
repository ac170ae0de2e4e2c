"""The networks that users log in from: whoever comes from one of his own is not taken for a stranger who guesses."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

KNOWN_USERS: Final = 50_000
"""Users remembered, some 350 octets each; those who did not log in for longest go first. Only a right secret comes in."""

KNOWN_NETWORKS: Final = 16
"""For one secret: of its user his home, his office, and places where his telephone has been; or of each user of an account."""


class Visitor(NamedTuple):
    """Who asks to be let in."""

    where: str
    """The network that he comes from."""
    user: str
    secret: str
    """Whose secret he gives as `user`'s: an account has one for its users."""


class Regulars:
    """Who has logged in from where."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[tuple[str, str], ...]] = OrderedDict()  # by secret; the latest come last

    def __contains__(self, visitor: Visitor) -> bool:
        """Whether the user has logged in from this network."""
        return visitor[:2] in self._known.get(visitor.secret, ())

    def welcome(self, visitor: Visitor) -> None:
        """Remember a login."""
        pair = visitor[:2]
        others = tuple(each for each in self._known.pop(visitor.secret, ()) if each != pair)
        self._known[visitor.secret] = (*others[-(KNOWN_NETWORKS - 1) :], pair)
        if len(self._known) > KNOWN_USERS:
            self._known.popitem(last=False)
