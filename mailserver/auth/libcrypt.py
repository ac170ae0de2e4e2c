"""The system's crypt(3), called by ctypes: it knows every form of hash that this machine's other programs write.

libxcrypt's is on every Debian and Fedora. It is C, and ctypes lets go of the interpreter while it works. Where there is none,
or an old one that does not know a form, the schemes fall back on libraries of Python's.
"""

from __future__ import annotations

import ctypes
import hmac
from functools import cache
from typing import Any, Final

SONAMES: Final = ("libcrypt.so.1", "libcrypt.so.2")
"""Debian's name of it, which is glibc's old one, and Fedora's."""

_DATA: Final = 256 * 1024
"""Octets: what one call may use. glibc's ``struct crypt_data`` has 131,232 of them, libxcrypt's 32,768."""

_GOOD: Final = frozenset({0, 3})
"""crypt_checksalt's "good" and "legacy"; beside these are "invalid", "disabled" and "too cheap"."""


@cache
def load() -> Any:
    """The library, or None; call it before root is given up."""
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
    """Whether the library can verify passwords against this hash, by its form alone: that takes no time."""
    library = library or load()
    if library is None or b"\0" in stored:
        return False
    try:
        return library.crypt_checksalt(stored) in _GOOD
    except AttributeError:  # glibc's own crypt, which never had a name for what it knows
        return not stored.startswith(b"$") or stored.startswith((b"$1$", b"$5$", b"$6$"))


def verify(stored: bytes, password: bytes) -> bool:
    """Whether it is the password of a hash that the library `knows`. Takes milliseconds, and more: not for the reactor."""
    result = load().crypt_r(password, stored, ctypes.create_string_buffer(_DATA))
    return result is not None and hmac.compare_digest(result, stored)
