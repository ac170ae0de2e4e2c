"""A memory of verified passwords, so that the next poll of the same user costs no slow hash."""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b

LIFETIME_SECONDS = 3600
"""Longer than any client's interval between two polls. A long time is safe, since an entry is never out of date."""

MAX_ENTRIES = 10_000
"""About 2 MB."""


class VerifiedPasswords:
    """A bounded memory of right passwords; it stores no password, and no hash that is useful after the process.

    An entry is a hash, under a random key of this process, of the name, the password and the stored secret: when the secret
    changes, the old entry never matches again. The least recently used entry goes first.
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
        """Whether `password` was verified against this same secret not too long ago."""
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
        """Note that `password` was verified."""
        self._until[self._token(name, password, secret)] = self._seconds() + self._lifetime
        if len(self._until) > self._size:
            self._until.popitem(last=False)

    def clear(self) -> None:
        """Forget all entries."""
        self._until.clear()

    def _token(self, name: bytes, password: bytes, secret: bytes) -> bytes:
        lengths = b"%d %d " % (len(name), len(password))  # so that no two triples give the same octets
        return blake2b(lengths + name + password + secret, key=self._key, digest_size=32).digest()
