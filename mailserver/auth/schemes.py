"""Password schemes: the forms in which Dovecot stores a secret, one row of `SCHEMES` each.

A row's reader parses the text behind ``{SCHEME}`` once, when the file is read, and answers a function that verifies a
password. The standard library does most schemes. The system's libcrypt does the crypts or, where it cannot, the libraries of
the extra ``hashes`` do; argon2-cffi of the same extra does Argon2.
"""

from __future__ import annotations

import binascii
import hmac
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache, partial
from hashlib import new as new_digest
from hashlib import pbkdf2_hmac
from typing import NamedTuple

from mailserver.auth import libcrypt
from mailserver.auth.crypts import WEAK_DES, read_crypt
from mailserver.auth.hmac_md5 import contexts, read_contexts
from mailserver.auth.scram_keys import DIGESTS, derive, read_keys
from mailserver.auth.secret import Read, SchemeError, Verify, rounds
from mailserver.modules import why_not

MAX_PASSWORD = 4096
"""Octets: no password is longer, and an attacker could make the server hash more. libpass has the same limit."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A stored secret, ready to verify passwords. `text` is the stored text after .b64 or .hex was decoded."""

    scheme: str
    text: bytes = field(repr=False)
    verify: Verify = field(repr=False)
    slow: bool
    cost: tuple[object, ...] = ()
    """Secrets with equal costs take equal time to verify."""
    weak: str = ""
    """A warning for the operator about a weak scheme; "" for others."""

    @property
    def clear(self) -> bytes | None:
        """The password itself, which APOP needs; None where the scheme does not store it."""
        return self.text if self.scheme in CLEAR else None


class Scheme(NamedTuple):
    """A row: the reader of the secret, and whether verifying is too slow for the reactor thread."""

    read: Callable[[bytes], Read]
    slow: bool = False


def plausible(password: bytes) -> bool:
    """Whether `password` can be one at all: crypt(3) would ignore everything after a NUL."""
    return len(password) <= MAX_PASSWORD and b"\0" not in password


def read_secret(stored: bytes) -> Secret:
    """Parse ``{SCHEME}text``, ``{SCHEME.b64}text``, ``{SCHEME.hex}text``, or a bare crypt hash. Errors: SchemeError."""
    if match := PWDFILE.fullmatch(stored):
        stored = PWDFILE_SCHEMES[match[2]] + match[1]
    match = PREFIX.fullmatch(stored)
    label, encoding, text = match.groups() if match else (b"CRYPT", None, stored)
    name = label.decode("ascii").upper()
    row = SCHEMES.get(name)
    if row is None:
        raise SchemeError(f"the scheme {name} is not supported")
    if encoding is not None:
        text = _decode(encoding.lower() == b"hex", text)
        if name in BINARY:
            text = binascii.b2a_base64(text, newline=False)
    try:
        verify, cost = row.read(text)
    except ImportError as error:
        raise SchemeError(f"the scheme {name} needs more: {why_not(error, 'hashes')}") from None
    except (ValueError, OverflowError):
        raise SchemeError(f"the secret is not in the form of the scheme {name}") from None
    return Secret(name, text, verify, row.slow, cost or (name,), WEAK_DES if "DES" in cost else "")


PWDFILE = re.compile(rb"([^{$].*)\[(13|34|56)\]", re.DOTALL)
"""libpam-pwdfile names the scheme by the number of octets behind the secret, as in ``secret[34]``."""

PWDFILE_SCHEMES = {b"13": b"{CRYPT}", b"34": b"{PLAIN-MD5}", b"56": b"{DIGEST-MD5}"}

PREFIX = re.compile(rb"\{([A-Za-z0-9-]{1,32})(?:\.(b64|base64|hex))?\}(.*)", re.IGNORECASE | re.DOTALL)


def _decode(is_hex: bool, text: bytes) -> bytes:
    try:
        return binascii.unhexlify(text) if is_hex else binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        raise SchemeError("its encoding (.hex or .b64) is broken") from None


def _plain(text: bytes) -> Read:
    if not text:
        raise ValueError
    return Read(partial(hmac.compare_digest, text))


def _digest(name: str, size: int, salted: bool) -> Callable[[bytes], Read]:
    """A reader of ``digest`` or ``digest + salt`` in base64; an unsalted one may be in hexadecimal, as in Dovecot."""

    def read(text: bytes) -> Read:
        is_hex = not salted and len(text) == 2 * size
        raw = binascii.unhexlify(text) if is_hex else binascii.a2b_base64(text, strict_mode=True)
        if len(raw) < size or (len(raw) > size) != salted:
            raise ValueError
        digest, salt = raw[:size], raw[size:]
        return Read(lambda password: hmac.compare_digest(digest, new_digest(name, password + salt).digest()))

    return read


def _pbkdf2(text: bytes) -> Read:
    """``$1$salt$rounds$hexadecimal``, with HMAC-SHA-1; the salt is not decoded, its characters are used."""
    empty, version, salt, rounds_text, hexadecimal = text.split(b"$")
    count, key = rounds(rounds_text), binascii.unhexlify(hexadecimal)
    if (empty, version, len(key)) != (b"", b"1", 20) or not salt:
        raise ValueError
    return Read(
        lambda password: hmac.compare_digest(key, pbkdf2_hmac("sha1", password, salt, count)), ("PBKDF2", count)
    )


def _scram(mechanism: bytes) -> Callable[[bytes], Read]:
    """A reader of ``iterations,salt,stored key,server key``, the last three in base64."""
    digest = DIGESTS[mechanism]

    def read(text: bytes) -> Read:
        keys = read_keys(text)
        if len(keys.stored_key) != new_digest(digest).digest_size:
            raise ValueError

        def verify(password: bytes) -> bool:
            return hmac.compare_digest(keys.stored_key, derive(password, keys.salt, keys.iterations, digest).stored_key)

        return Read(verify, (mechanism, keys.iterations))

    return read


def _md5(text: bytes) -> Read:
    """``{MD5}``: crypt's MD5 or a plain digest; as in Dovecot, the hash's form decides."""
    return read_crypt(text) if text.startswith(b"$") else _digest("md5", 16, salted=False)(text)


def _cram_md5(text: bytes) -> Read:
    stored = read_contexts(text)
    return Read(lambda password: hmac.compare_digest(stored, contexts(password)))


def _argon2(text: bytes) -> Read:
    from argon2.exceptions import VerifyMismatchError
    from argon2.low_level import Type, verify_secret

    match = ARGON2.fullmatch(text)
    if not match:
        raise ValueError
    kind = Type.ID if match["kind"] == b"id" else Type.I
    memory, passes, lanes = (rounds(match[key]) for key in ("memory", "passes", "lanes"))
    rounds(memory * passes)
    if memory < 8 * lanes:  # RFC 9106 section 3.1; the library would raise only at the login
        raise ValueError
    for part in (
        match["salt"],
        match["tag"],
    ):  # stray bits in the last character make Argon2's decoder fail at each login, which is no wrong password
        if binascii.b2a_base64(binascii.a2b_base64(part + b"=" * (-len(part) % 4)), newline=False).rstrip(b"=") != part:
            raise ValueError

    def verify(password: bytes) -> bool:
        try:
            return verify_secret(text, password, kind)
        except VerifyMismatchError:
            return False

    return Read(verify, ("Argon2", kind, memory, passes, lanes))


ARGON2 = re.compile(
    rb"\$argon2(?P<kind>id?)\$v=19\$m=(?P<memory>\d{1,8}),t=(?P<passes>\d{1,4}),p=(?P<lanes>\d{1,3})"
    rb"\$(?P<salt>[A-Za-z0-9+/]{11,64})\$(?P<tag>[A-Za-z0-9+/]{6,128})"
)

SCHEMES = {
    "PLAIN": Scheme(_plain),
    "CLEAR": Scheme(_plain),
    "CLEARTEXT": Scheme(_plain),
    "PLAIN-MD5": Scheme(_digest("md5", 16, salted=False)),
    "LDAP-MD5": Scheme(_digest("md5", 16, salted=False)),
    "SMD5": Scheme(_digest("md5", 16, salted=True)),
    "SHA": Scheme(_digest("sha1", 20, salted=False)),
    "SHA1": Scheme(_digest("sha1", 20, salted=False)),
    "SSHA": Scheme(_digest("sha1", 20, salted=True)),
    "SHA256": Scheme(_digest("sha256", 32, salted=False)),
    "SSHA256": Scheme(_digest("sha256", 32, salted=True)),
    "SHA512": Scheme(_digest("sha512", 64, salted=False)),
    "SSHA512": Scheme(_digest("sha512", 64, salted=True)),
    "PBKDF2": Scheme(_pbkdf2, slow=True),
    "SCRAM-SHA-1": Scheme(_scram(b"SCRAM-SHA-1"), slow=True),
    "SCRAM-SHA-256": Scheme(_scram(b"SCRAM-SHA-256"), slow=True),
    "CRYPT": Scheme(read_crypt, slow=True),
    "MD5-CRYPT": Scheme(_md5, slow=True),
    "MD5": Scheme(_md5, slow=True),
    "SHA256-CRYPT": Scheme(read_crypt, slow=True),
    "SHA512-CRYPT": Scheme(read_crypt, slow=True),
    "BLF-CRYPT": Scheme(read_crypt, slow=True),
    "DES-CRYPT": Scheme(read_crypt, slow=True),
    "CRAM-MD5": Scheme(_cram_md5, slow=True),
    "ARGON2I": Scheme(_argon2, slow=True),
    "ARGON2ID": Scheme(_argon2, slow=True),
}

CLEAR = frozenset({"PLAIN", "CLEAR", "CLEARTEXT"})
"""Schemes that store the password itself."""

SAMPLES = (
    b"{PLAIN}x",
    b"{PBKDF2}$1$salt$1$0a3e3e6ac51adce4a4ad8bf2c47b6e4e9b4f9d9c",
    b"{SCRAM-SHA-256}1,c2FsdA==,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    b"$1$ab$e2KlfqG5YBMTjSz7XF.Eu1",
    b"$5$rounds=1000$ab$lMxgB9r4O0h7N8Fc22csLTwDjQhj47dburbojE4s.sD",
    b"$6$rounds=1000$ab$PjG1Vkf5LHNL84dByLtuSYjVz6Hy575FC7tz8wX4DtJ2WMsZQu0/miZCNEiAa8uwa8QG5xPQJgcyUioQ0Ac/G/",
    b"$2b$04$X0pWikb8bIyi4dpslEfpbemVHgZ31n9QCZLBHKF0kO2lP76agLs.C",
    b"{ARGON2I}$argon2i$v=19$m=8,t=1,p=1$OR8FwNFfy4o$xuXm3t2TLoc",
    b"{ARGON2ID}$argon2id$v=19$m=8,t=1,p=1$oFueEAytL3I$SQNPSu+hHZM",
)
"""Cheap secrets of the password "x": one for each scheme that imports a library."""


@cache
def prepare() -> None:
    """Load every library that a scheme may need, by using it: the user that serves may not be able to load it later.

    A missing library is no error here: reading the passwd-file notes the users who need it.
    """
    libcrypt.load()
    for sample in SAMPLES:
        with suppress(SchemeError):
            read_secret(sample).verify(b"x")


BINARY = frozenset({"CRAM-MD5", *(name for name, row in SCHEMES.items() if not row.slow)}) - CLEAR
"""Schemes whose secret is binary: in base64, unless ``{SCHEME.hex}`` or ``{SCHEME.b64}`` says how it is encoded."""
