"""SCRAM's stored keys (RFC 5802 section 3), which a server stores instead of a password."""

from __future__ import annotations

import hmac
from binascii import a2b_base64
from hashlib import new as new_digest
from hashlib import pbkdf2_hmac
from pathlib import Path
from secrets import token_bytes

from mailserver.exchange import ScramKeys

ITERATIONS = 4096
"""For a clear-text secret: RFC 5802's minimum, Dovecot's default, and what most clients expect."""

MAX_ITERATIONS = 10_000_000
"""A typing error in a passwd-file must not occupy a thread for an hour; ten million iterations already take seconds."""

DIGESTS = {b"SCRAM-SHA-1": "sha1", b"SCRAM-SHA-256": "sha256"}
"""The hash of each mechanism (RFC 5802, RFC 7677)."""


def derive(password: bytes, salt: bytes, iterations: int, digest: str) -> ScramKeys:
    """The keys of `password` as given: the caller applies SASLprep. Takes milliseconds: not for the reactor thread."""
    salted = pbkdf2_hmac(digest, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    stored_key = new_digest(digest, client_key, usedforsecurity=True).digest()
    return ScramKeys(salt, iterations, stored_key, hmac.digest(salted, b"Server Key", digest))


def read_keys(text: bytes) -> ScramKeys:
    """The keys in Dovecot's form, ``iterations,salt,stored key,server key``. Errors: ValueError."""
    iterations, *parts = text.split(b",")
    salt, stored_key, server_key = (a2b_base64(part, strict_mode=True) for part in parts)
    keys = ScramKeys(salt, int(iterations), stored_key, server_key)
    if not salt or not 1 <= keys.iterations <= MAX_ITERATIONS or len(stored_key) != len(server_key):
        raise ValueError
    return keys


class ScramSalts:
    """The salts of users without a stored one: users with a clear-text secret, and users who do not exist.

    Any client can see a salt, before any proof. So a user's salt must be the same every time, in each worker process and
    after a restart; otherwise the users with a stored salt would stand out. It is a keyed hash of the name. The key is
    derived from systemd's machine-id, which is constant on this machine and unknown outside; without a machine-id the key
    is random and lasts as long as the process.
    """

    def __init__(self, machine_id: str = "/etc/machine-id") -> None:
        try:
            seed = Path(machine_id).read_bytes()
        except OSError:
            seed = b""
        self._key = hmac.digest(seed or token_bytes(32), b"mailserver SCRAM salts", "sha256")

    def salt(self, name: bytes, mechanism: bytes) -> bytes:
        """A salt of 16 octets, as Dovecot's are."""
        return hmac.digest(self._key, mechanism + b" " + name, "sha256")[:16]

    def fake(self, name: bytes, mechanism: bytes, iterations: int) -> ScramKeys:
        """Keys that look like stored ones and fit no password; made in the same time as stored keys are read."""
        digest = DIGESTS[mechanism]
        stored, server = (hmac.digest(self._key, each + mechanism + b" " + name, digest) for each in (b"1", b"2"))
        return ScramKeys(self.salt(name, mechanism), iterations, stored, server)
