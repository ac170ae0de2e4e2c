"""The system's crypt(3), called by ctypes: it knows every hash format that other programs of this machine write.

Every Debian and Fedora has libxcrypt. It is C code, and ctypes releases the interpreter lock while it runs. Where libcrypt is
missing, or too old to know a format, the schemes fall back on Python libraries.
"""

from __future__ import annotations

import ctypes
import hmac
from functools import cache
from typing import Any, Final

SONAMES: Final = ("libcrypt.so.1", "libcrypt.so.2")
"""Debian's name for it, which is glibc's old one, and Fedora's."""

_DATA: Final = 256 * 1024
"""Octets of working memory for one call: glibc's ``struct crypt_data`` has 131,232, libxcrypt's 32,768."""

_GOOD: Final = frozenset({0, 3})
"""crypt_checksalt's "good" and "legacy"; its other answers are "invalid", "disabled" and "too cheap"."""


@cache
def load() -> Any:
    """The library, or None. Call this before the process gives up root, since only root may be able to load it."""
    for name in SONAMES:
        try:
            library = ctypes.CDLL(name)
            library.crypt_r.restype = ctypes.c_char_p
            library.crypt_r.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p]
        except (OSError, AttributeError):
            continue
        return library
    return None


def knows(stored: bytes, library: Any = None) -> bool:
    """Whether the library can verify passwords against this hash; looks only at its format, which takes no time."""
    library = library or load()
    if library is None or b"\0" in stored:
        return False
    try:
        return library.crypt_checksalt(stored) in _GOOD
    except AttributeError:  # glibc's own crypt has no function for this question
        return not stored.startswith(b"$") or stored.startswith((b"$1$", b"$5$", b"$6$"))


def verify(stored: bytes, password: bytes) -> bool:
    """Whether `password` matches a hash that the library `knows`. Takes milliseconds or more: not for the reactor thread."""
    result = hashed(stored, password)
    return result is not None and hmac.compare_digest(result, stored)


def hashed(setting: bytes, password: bytes) -> bytes | None:
    """The hash of a password by a setting, or by another hash of it; None where the library is missing or cannot."""
    library = load()
    made: bytes | None = (
        None if library is None else library.crypt_r(password, setting, ctypes.create_string_buffer(_DATA))
    )
    return None if made is None or made.startswith(b"*") else made
