"""The formats of crypt(3)'s hashes: how each looks, and what verifies it.

The system's libcrypt verifies them. For a format that it does not know, libpass and bcrypt of the extra ``hashes`` do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

from mailserver.auth import libcrypt
from mailserver.auth.secret import Read, SchemeError, Verify, rounds

_LETTERS = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def _libpass(name: str) -> Callable[[bytes], Verify]:
    """A reader for libpass's handler of this name."""

    def read(text: bytes) -> Verify:
        handler: Any = getattr(import_module("passlib.hash"), name)
        handler.from_string(text)
        return lambda password: bool(handler.verify(password, text))

    return read


def _bcrypt(text: bytes) -> Verify:
    from bcrypt import checkpw

    # bcrypt ignores octets past the 72nd, in Dovecot as well; the library would raise an error for them.
    return lambda password: checkpw(password[:72], text)


class Crypt(NamedTuple):
    """A format of crypt(3)'s hashes: how it looks, and how a Python library reads it where libcrypt cannot."""

    name: str
    form: re.Pattern[bytes]
    rounds: Callable[[re.Match[bytes]], int] = lambda _: 1
    read: Callable[[bytes], Verify] | None = None


def read_crypt(text: bytes) -> Read:
    """Read a crypt hash by its own format, whichever crypt scheme labels it, as Dovecot does. Errors: SchemeError."""
    for crypt in CRYPTS:
        match = crypt.form.fullmatch(text)
        if match:
            cost = crypt.name, rounds(crypt.rounds(match))
            if libcrypt.knows(text):
                return Read(partial(libcrypt.verify, text), cost)
            if crypt.read is None:
                raise SchemeError(f"{crypt.name} needs a system libcrypt that knows it")
            return Read(crypt.read(text), cost)
    raise SchemeError(f"it is none of the supported crypt formats: {', '.join(crypt.name for crypt in CRYPTS)}")


_SALT = rb"[^$:;*!\\\x00-\x20\x7f-\xff]"
"""The characters that crypt(3) accepts in a salt: more than it generates."""

CRYPTS = (
    Crypt("MD5 ($1$)", re.compile(rb"\$1\$" + _SALT + rb"{0,8}\$[./0-9A-Za-z]{22}"), read=_libpass("md5_crypt")),
    Crypt(
        "SHA-256 ($5$)",
        re.compile(rb"\$5\$(?:rounds=(\d{1,9})\$)?" + _SALT + rb"{0,16}\$[./0-9A-Za-z]{43}"),
        lambda match: int(match[1] or 5000),
        _libpass("sha256_crypt"),
    ),
    Crypt(
        "SHA-512 ($6$)",
        re.compile(rb"\$6\$(?:rounds=(\d{1,9})\$)?" + _SALT + rb"{0,16}\$[./0-9A-Za-z]{86}"),
        lambda match: int(match[1] or 5000),
        _libpass("sha512_crypt"),
    ),
    Crypt(
        "bcrypt ($2y$)",
        # The last letter of a salt carries two bits; with any other letter no password matches, and the library raises.
        re.compile(rb"\$2[aby]\$(0[4-9]|[123]\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}"),
        lambda match: 1 << int(match[1]),
        _bcrypt,
    ),
    Crypt(
        "yescrypt ($y$)",  # its third letter is the logarithm of the memory; up to 2 GiB is more than anybody needs
        re.compile(rb"\$g?y\$[./0-9A-Za-z]([./0-9A-F])[./0-9A-Za-z]{1,12}\$[./0-9A-Za-z]{0,86}\$[./0-9A-Za-z]{43}"),
        lambda match: 1 << _LETTERS.index(match[1]),
    ),
    Crypt(
        "scrypt ($7$)",
        re.compile(rb"\$7\$([./0-9A-J])[./0-9A-Za-z]{10,97}\$[./0-9A-Za-z]{43}"),
        lambda match: 1 << _LETTERS.index(match[1]),
    ),
    Crypt("DES", re.compile(rb"[./0-9A-Za-z]{13}")),
)

WEAK_DES = "the hash is DES, which uses only eight characters of a password and is quickly guessed: set a new password"
