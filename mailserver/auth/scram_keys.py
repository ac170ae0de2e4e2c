"""SCRAM's stored keys (RFC 5802 section 3): what a server keeps instead of a password."""

from __future__ import annotations

import hmac
from binascii import a2b_base64
from hashlib import new as new_digest
from hashlib import pbkdf2_hmac
from pathlib import Path
from secrets import token_bytes

from mailserver.exchange import ScramKeys

ITERATIONS = 4096
"""Where nothing stored says otherwise: RFC 5802's least, Dovecot's default, and what most clients expect."""

MAX_ITERATIONS = 10_000_000
"""A slip of the pen in a file must not occupy a thread for an hour; ten million are seconds already."""

DIGESTS = {b"SCRAM-SHA-1": "sha1", b"SCRAM-SHA-256": "sha256"}
"""The hash of each mechanism (RFC 5802, RFC 7677)."""


def derive(password: bytes, salt: bytes, iterations: int, digest: str) -> ScramKeys:
    """The keys of `password`, verbatim: whether SASLprep applies is the caller's. Takes milliseconds: not for the reactor."""
    salted = pbkdf2_hmac(digest, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", digest)
    stored_key = new_digest(digest, client_key, usedforsecurity=True).digest()
    return ScramKeys(salt, iterations, stored_key, hmac.digest(salted, b"Server Key", digest))


def read_keys(text: bytes) -> ScramKeys:
    """The keys of Dovecot's ``iterations,salt,stored key,server key``; ValueError if it is not that."""
    iterations, *parts = text.split(b",")
    salt, stored_key, server_key = (a2b_base64(part, strict_mode=True) for part in parts)
    keys = ScramKeys(salt, int(iterations), stored_key, server_key)
    if not salt or not 1 <= keys.iterations <= MAX_ITERATIONS or len(stored_key) != len(server_key):
        raise ValueError
    return keys


class ScramSalts:
    """The salts of users who have none stored: those of a clear secret, and those who do not exist.

    A salt is seen by anybody who asks, before any proof. So it must be the same every time, in each worker and after a
    restart, or the users who have a stored one would stand out: it is a keyed hash of the name. The key is made of what is
    constant on this machine and unknown outside, systemd's machine-id; where there is none it lasts as long as the process.
    """

    def __init__(self, machine_id: str = "/etc/machine-id") -> None:
        try:
            seed = Path(machine_id).read_bytes()
        except OSError:
            seed = b""
        self._key = hmac.digest(seed or token_bytes(32), b"mailserver SCRAM salts", "sha256")

    def salt(self, name: bytes, mechanism: bytes) -> bytes:
        """16 octets, as Dovecot's salts."""
        return hmac.digest(self._key, mechanism + b" " + name, "sha256")[:16]

    def fake(self, name: bytes, mechanism: bytes, iterations: int) -> ScramKeys:
        """Keys that look like stored ones and fit no password; as quick to be had as those."""
        digest = DIGESTS[mechanism]
        stored, server = (hmac.digest(self._key, each + mechanism + b" " + name, digest) for each in (b"1", b"2"))
        return ScramKeys(self.salt(name, mechanism), iterations, stored, server)
