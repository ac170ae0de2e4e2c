"""Stored secrets of new passwords: one maker for each scheme that is worth a new secret. `schemes` verifies what is made here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from hashlib import new as new_digest
from secrets import token_bytes
from typing import Final

from mailserver.auth import libcrypt
from mailserver.auth.hmac_md5 import contexts
from mailserver.auth.schemes import plausible
from mailserver.auth.scram_keys import DIGESTS, derive
from mailserver.auth.secret import SchemeError
from mailserver.modules import why_not
from mailserver.saslprep import prepared

DEFAULT: Final = "BLF-CRYPT"
"""It runs in C and leaves the interpreter to the mail meanwhile, needs no extra, and Dovecot verifies it, too."""

BCRYPT_COST: Final = 10
"""2**10 rounds, some 50 ms: OWASP's least. More would let one guesser keep a core busy."""

SHA_ROUNDS: Final = 100_000
"""Of SHA512-CRYPT and SHA256-CRYPT: the time of bcrypt's cost."""

SCRAM_ITERATIONS: Final = 10_000
"""Each client computes them, too, and some are telephones; RFC 7677 wants 4,096 at least, and says to use more."""


def make_secret(scheme: str, password: bytes) -> bytes:
    """``{SCHEME}text`` for a new password, with a new salt. It takes up to a second.

    Errors: SchemeError, for a scheme that is not made, needs an extra, or cannot hold this password.
    """
    name = scheme.upper()
    maker = MAKERS.get(name)
    if maker is None:
        raise SchemeError(f"secrets of the scheme {name} are not made here; there are {', '.join(MAKERS)}")
    if not password or not plausible(password) or b"\n" in password or b"\r" in password:
        raise SchemeError("a password has 1 to 4096 octets, and no NUL and no line end")
    return b"{%b}%b" % (name.encode("ascii"), maker(password))


def _crypt(prefix: bytes, count: int) -> Callable[[bytes], bytes]:
    """A maker by the system's crypt(3): `prefix` with the salt's digits behind it."""
    return lambda password: _hashed(prefix + _digits(count), password)


def _digits(count: int) -> bytes:
    return bytes(_DIGITS[each & 63] for each in token_bytes(count))


_DIGITS: Final = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
"""Of crypt's base 64."""


def _hashed(setting: bytes, password: bytes) -> bytes:
    made = libcrypt.hashed(setting, password)
    if made is None:
        raise SchemeError("this machine's libcrypt does not make this scheme; choose another")
    return made


def _bcrypt(password: bytes) -> bytes:
    if len(password) > 72:  # noqa: PLR2004 - bcrypt's own limit
        raise SchemeError("bcrypt ignores what is behind 72 octets; choose another scheme, or a shorter password")
    # The last of the 22 digits holds two bits only: others would be another spelling of the same salt.
    last = bytes([_DIGITS[token_bytes(1)[0] & 48]])
    return _hashed(b"$2y$%02d$" % BCRYPT_COST + _digits(21) + last, password)


def _argon2id(password: bytes) -> bytes:
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise SchemeError(f"the scheme ARGON2ID needs more: {why_not(error, 'hashes')}") from None
    return PasswordHasher().hash(password).encode("ascii")


def _scram(mechanism: bytes) -> Callable[[bytes], bytes]:
    """A maker of the keys; clients prepare the password as it is prepared here (RFC 5802 section 2.2)."""

    def make(password: bytes) -> bytes:
        keys = derive(prepared(password), token_bytes(16), SCRAM_ITERATIONS, DIGESTS[mechanism])
        parts = (b64encode(each) for each in (keys.salt, keys.stored_key, keys.server_key))
        return b",".join([b"%d" % keys.iterations, *parts])

    return make


def _salted(digest: str) -> Callable[[bytes], bytes]:
    def make(password: bytes) -> bytes:
        salt = token_bytes(16)
        return b64encode(new_digest(digest, password + salt).digest() + salt)

    return make


MAKERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "BLF-CRYPT": _bcrypt,
    "ARGON2ID": _argon2id,
    "SHA512-CRYPT": _crypt(b"$6$rounds=%d$" % SHA_ROUNDS, 16),
    "SHA256-CRYPT": _crypt(b"$5$rounds=%d$" % SHA_ROUNDS, 16),
    "SCRAM-SHA-256": _scram(b"SCRAM-SHA-256"),
    "SCRAM-SHA-1": _scram(b"SCRAM-SHA-1"),
    "SSHA512": _salted("sha512"),
    "SSHA256": _salted("sha256"),
    "CRAM-MD5": lambda password: contexts(password).hex().encode("ascii"),
    "PLAIN": lambda password: password,
}
"""The makers, the best first. Those that are missing have no salt, or a hash that is broken or too fast for a new secret."""
