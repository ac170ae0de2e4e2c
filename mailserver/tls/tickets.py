"""The secret behind the keys of session tickets, and how it changes: all processes that know it make and take the same tickets.

Whoever has the secret can decrypt what it protected, so it lives for a day. The next one is a hash of it, which all processes compute
for themselves, and the old one is forgotten: what was recorded the day before stays secret. Where a file keeps the secret, chance makes
each (`ticket_file`), so that one that was stolen is of no use later, either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from secrets import token_bytes
from typing import Final, Protocol, Self

from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mailserver.tls.context_control import KEY_OCTETS

LIFETIME: Final = 86_400
"""Seconds of a secret: each change costs each client a full handshake, and sessions last 2 hours."""

SECRET_OCTETS: Final = 32
"""As many as the longest of the keys that are made of them."""

_MOST_STEPS: Final = 3650
"""Ten years of secrets in a row: no process is so old, but a clock may leap."""


@dataclass(frozen=True, slots=True)
class TicketSecret:
    """A secret, and the time of day from which it is good, for a LIFETIME."""

    octets: bytes = field(repr=False)
    since: int

    @classmethod
    def fresh(cls, now: float) -> Self:
        """A secret of chance."""
        return cls(token_bytes(SECRET_OCTETS), int(now))

    def at(self, now: float) -> TicketSecret:
        """The secret of that time: this one, or one that follows from it. There is no way back, whatever the clock says."""
        octets, steps = self.octets, max(0, min(_MOST_STEPS, int(now - self.since) // LIFETIME))
        for _ in range(steps):
            octets = _derived(octets, b"mailserver: the next secret of tickets", SECRET_OCTETS)
        return TicketSecret(octets, self.since + steps * LIFETIME)

    def keys(self, served: Iterable[bytes]) -> bytes:
        """The keys for OpenSSL. Others where `served` differs: the certificates, and whatever else no session may outlive."""
        digest = Hash(SHA256())
        for each in served:
            digest.update(b"%d:" % len(each) + each)
        return _derived(self.octets, b"mailserver: keys of tickets" + digest.finalize(), KEY_OCTETS)


def _derived(secret: bytes, what_for: bytes, octets: int) -> bytes:
    return HKDF(SHA256(), octets, salt=None, info=what_for).derive(secret)


class TicketSource(Protocol):
    """Where a process has the secret from."""

    def current(self) -> TicketSecret:
        """The secret of now. May block. Errors: CertificateError."""


class MemoryTickets:
    """A secret that is in memory alone; workers have theirs from their parent."""

    def __init__(self, secret: TicketSecret | None = None, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._secret = TicketSecret.fresh(now()) if secret is None else secret

    def current(self) -> TicketSecret:
        """The secret of now; older ones are forgotten."""
        self._secret = self._secret.at(self._now())
        return self._secret

    def passed(self) -> tuple[str, int]:
        """The secret of now, for a worker's settings."""
        secret = self.current()
        return secret.octets.hex(), secret.since

    @classmethod
    def adopted(cls, octets: str, since: int) -> Self:
        """What the parent has `passed`."""
        return cls(TicketSecret(bytes.fromhex(octets), since))
