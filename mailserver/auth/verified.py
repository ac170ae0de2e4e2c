"""Remembers that a password was right, so that the next poll of the same user costs no hash."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

LIFETIME_SECONDS = 3600
"""Longer than any client's interval between two polls. An entry cannot be out of date, so it is no danger either."""

MAX_ENTRIES = 10_000
"""Some 2 MB."""


class VerifiedPasswords:
    """A bounded memory of right passwords; it holds no password, and no hash that outlives the process.

    What it keeps is a hash, under a random key of this process, of the name, the password and the stored secret: when the
    secret changes, no question hits what it remembered. The least recently used goes first.
    """

    def __init__(
        self, seconds: Callable[[], float], lifetime: float = LIFETIME_SECONDS, size: int = MAX_ENTRIES
    ) -> None:
        self._seconds = seconds
        self._lifetime = lifetime
        self._size = size
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def knows(self, name: bytes, password: bytes, secret: bytes) -> bool:
        """Whether `password` was found right for this very secret, not too long ago."""
        token = self._token(name, password, secret)
        until = self._until.get(token)
        if until is None:
            return False
        if until <= self._seconds():
            del self._until[token]
            return False
        self._until.move_to_end(token)
        return True

    def remember(self, name: bytes, password: bytes, secret: bytes) -> None:
        """`password` was verified."""
        self._until[self._token(name, password, secret)] = self._seconds() + self._lifetime
        if len(self._until) > self._size:
            self._until.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._until.clear()

    def _token(self, name: bytes, password: bytes, secret: bytes) -> bytes:
        lengths = b"%d %d " % (len(name), len(password))  # so that no two triples read the same
        return blake2b(lengths + name + password + secret, key=self._key, digest_size=32).digest()
