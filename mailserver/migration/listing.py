"""A source's listing against what was moved before: what is left, by which key each message is known, and when it is to have arrived."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from mailserver.migration.contents import id_beside, id_of_contents, is_unique_id
from mailserver.migration.source import Original

_APART: Final = 1_000_000
"""Of a second: maildrops list by arrival, so messages of one moment get an order by as little as a Maildir's names tell apart."""


class Listed(NamedTuple):
    """A message that is left."""

    original: Original
    key: bytes
    """Its unique-id; b"": it has none that could be kept, or another message before it has the same."""
    received: float
    """Its arrival, by which it comes after what is before it at the source and has the same."""


class Listing:
    """The source's `messages`, and the digests of the keys that are `known` as moved."""

    def __init__(self, messages: Sequence[Original], known: Mapping[bytes, bytes]) -> None:
        self.messages = messages
        self.known = known
        self.left: list[Listed] = []
        """In the source's order, without those that are known."""
        self._alike: Counter[bytes] = Counter()
        keys = set()
        moments: Counter[float] = Counter()
        for each in messages:
            key = each.uidl if is_unique_id(each.uidl) and each.uidl not in keys else b""
            keys.add(key)
            moments[each.received] += 1
            if key not in known:
                self.left.append(Listed(each, key, each.received + (moments[each.received] - 1) / _APART))
        self._lost: defaultdict[bytes, list[bytes]] = defaultdict(list)
        """Keys, by their digests, that the source has no more; those made of contents are found again as messages are read."""
        for key, digest in known.items():
            if key not in keys and digest:
                self._lost[digest].append(key)

    @property
    def moved(self) -> int:
        """How many are known as moved."""
        return len(self.messages) - len(self.left)

    @property
    def wanted(self) -> Mapping[bytes, Original]:
        """What is left and has a key."""
        return {each.key: each.original for each in self.left if each.key}

    def named(self, listed: Listed, digest: bytes) -> tuple[bytes, bytes]:
        """The key, and the unique-id for the maildrop, of a message whose own cannot be used. Called once for each, in their order."""
        if listed.key:
            return listed.key, id_beside(listed.key, digest)
        key = id_of_contents(digest, self._alike[digest])
        self._alike[digest] += 1
        if key in self._lost.get(digest, ()):
            self._lost[digest].remove(key)
        return key, key

    def lost(self, digest: bytes) -> bytes:
        """The key by which a message with these contents was moved, and which the source has no more; b"": none. It is told once."""
        keys = self._lost.get(digest)
        return keys.pop(0) if keys else b""

    def reason(self, listed: Listed) -> str:
        """Why a message does not keep its unique-id."""
        if listed.key:
            return "another message here has its unique-id"
        if is_unique_id(listed.original.uidl):
            return "another message before it at the source has its unique-id"
        return "its unique-id is none (1 to 70 octets of 0x21 to 0x7E)"
