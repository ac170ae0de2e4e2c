"""Sets the keys that encrypt the session tickets of a TLS context, by OpenSSL's SSL_CTX_ctrl.

That is a public function of OpenSSL, but neither pyOpenSSL nor cryptography has a name for it. Where cryptography uses the system's
OpenSSL, the linker knows the name. The wheels on PyPI contain an OpenSSL without names. There cryptography's own functions that do
nothing but jump to SSL_CTX_ctrl with a number of their own show where it is: three of them must consist of just the octets that are
expected, and must agree. Wherever anything differs, the keys cannot be set, and OpenSSL chooses them for each context, as always.
"""

from __future__ import annotations

import ctypes
import struct
from functools import cache
from typing import Any, Final

from cryptography.hazmat.bindings import _rust
from cryptography.hazmat.bindings._rust import _openssl
from OpenSSL import SSL

KEY_OCTETS: Final = 80
"""A name of 16 octets for the key, 32 for HMAC-SHA-256 and 32 for AES-256-CBC; the size has been this since OpenSSL 1.1.0."""

_GET_KEYS: Final = 58
_SET_KEYS: Final = 59
"""SSL_CTRL_GET_TLSEXT_TICKET_KEYS and SSL_CTRL_SET_TLSEXT_TICKET_KEYS of OpenSSL's ssl.h, where no release has changed a number."""

_JUMPS: Final = {"SSL_CTX_set_mode": 33, "SSL_CTX_set_session_cache_mode": 44, "SSL_CTX_clear_mode": 78}
"""What ssl.h defines as SSL_CTX_ctrl(context, NUMBER, argument, NULL)."""

_BEFORE_NUMBER: Final = bytes.fromhex("4889f2 31c9 be")
_BEFORE_TARGET: Final = b"\xe9"
"""In x86-64: mov rdx, rsi (the argument); xor ecx, ecx (NULL); mov esi, NUMBER; and jmp, with the distance from its own end."""
_JUMP_OCTETS: Final = len(_BEFORE_NUMBER) + 4 + len(_BEFORE_TARGET) + 4

_PROTOTYPE: Final = ctypes.CFUNCTYPE(ctypes.c_long, ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_char_p)


def can_set_ticket_keys() -> bool:
    """Whether `set_ticket_keys` works here. Ask first before root is given up: it may open cryptography's file."""
    return _control() is not None


def set_ticket_keys(context: SSL.Context, keys: bytes) -> None:
    """Encrypt and decrypt the tickets of `context` with these KEY_OCTETS; only after `can_set_ticket_keys` said so."""
    control = _control()
    if control is None or len(keys) != KEY_OCTETS or control(_pointer(context), _SET_KEYS, KEY_OCTETS, keys) != 1:
        raise RuntimeError("OpenSSL takes no keys for session tickets")


@cache
def _control() -> Any:
    """SSL_CTX_ctrl, tried on a context; None: it cannot be found."""
    address = _named() or _jumped_to(_code)
    if address is None:
        return None
    control = _PROTOTYPE(address)
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    found = ctypes.create_string_buffer(KEY_OCTETS)
    if control(_pointer(context), _GET_KEYS, 0, None) != KEY_OCTETS:
        return None  # OpenSSL answers its size where it is given no place
    keys = bytes(range(KEY_OCTETS))
    taken = control(_pointer(context), _SET_KEYS, KEY_OCTETS, keys)
    given = control(_pointer(context), _GET_KEYS, KEY_OCTETS, ctypes.cast(found, ctypes.c_char_p))
    return control if (taken, given, found.raw) == (1, 1, keys) else None


def _named() -> int | None:
    """The function's address, where the linker knows it."""
    try:
        return ctypes.cast(ctypes.CDLL(_rust.__file__).SSL_CTX_ctrl, ctypes.c_void_p).value
    except (AttributeError, OSError):
        return None


def _jumped_to(code: Any) -> int | None:
    """The address to which all of `_JUMPS` jump; None if one of them is not as expected. `code` answers address and octets of one."""
    targets = set()
    for name, number in _JUMPS.items():
        begin, octets = code(name)
        expected = _BEFORE_NUMBER + struct.pack("<i", number) + _BEFORE_TARGET
        if octets[: len(expected)] != expected:
            return None
        (distance,) = struct.unpack("<i", octets[len(expected) :])
        targets.add(begin + _JUMP_OCTETS + distance)
    return targets.pop() if len(targets) == 1 else None


def _code(name: str) -> tuple[int, bytes]:
    """Where a function of cryptography's begins in memory, and the octets there."""
    function = getattr(_openssl.lib, name)
    if not isinstance(function, type(_openssl.lib.SSL_CTX_new)):
        return 0, b""
    begin = _openssl.ffi.addressof(_openssl.lib, name)
    octets = bytes(_openssl.ffi.buffer(_openssl.ffi.cast("char *", begin), _JUMP_OCTETS))
    return int(_openssl.ffi.cast("uintptr_t", begin)), octets


def _pointer(context: SSL.Context) -> int:
    return int(_openssl.ffi.cast("uintptr_t", context._context))  # noqa: SLF001 - pyOpenSSL's name since its beginning
