"""HMAC-MD5 from the two contexts that Dovecot stores for CRAM-MD5 in place of the password.

HMAC first hashes one block that is made of the key, for its outer and for its inner hash (RFC 2104 section 4 recommends to
store these states). Dovecot's ``{CRAM-MD5}`` is the state of MD5 after each of the two blocks. No library can continue a hash
from such a state, so this module has RFC 1321's compression: a tenth of a millisecond a block, a few blocks a login.
"""

from __future__ import annotations

import binascii
import math
import struct
from hashlib import md5
from typing import Final

BLOCK: Final = 64
CONTEXTS: Final = 32
"""Octets of the two states: the outer first."""

_INITIAL: Final = struct.pack("<4I", 0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_MASK: Final = 0xFFFFFFFF
_SINES: Final = tuple(int(abs(math.sin(step + 1)) * 2**32) for step in range(64))
_SHIFTS: Final = (7, 12, 17, 22) * 4 + (5, 9, 14, 20) * 4 + (4, 11, 16, 23) * 4 + (6, 10, 15, 21) * 4
_WORDS: Final = tuple(
    list(range(16))
    + [(5 * step + 1) % 16 for step in range(16, 32)]
    + [(3 * step + 5) % 16 for step in range(32, 48)]
    + [7 * step % 16 for step in range(48, 64)]
)


def contexts(key: bytes) -> bytes:
    """The two MD5 states of a key."""
    if len(key) > BLOCK:
        key = md5(key, usedforsecurity=False).digest()
    padded = key.ljust(BLOCK, b"\0")
    outer, inner = (_compressed(_INITIAL, bytes(octet ^ pad for octet in padded)) for pad in (0x5C, 0x36))
    return outer + inner


def read_contexts(text: bytes) -> bytes:
    """The two states from their stored form, hexadecimal or base64. Errors: ValueError."""
    is_hex = len(text) == 2 * CONTEXTS
    found = binascii.unhexlify(text) if is_hex else binascii.a2b_base64(text, strict_mode=True)
    if len(found) != CONTEXTS:
        raise ValueError
    return found


def hmac_md5(states: bytes, message: bytes) -> bytes:
    """The HMAC-MD5 of `message` under the key whose `contexts` these are."""
    outer, inner = states[:16], states[16:]
    return _hashed(outer, _hashed(inner, message))


def _hashed(state: bytes, message: bytes) -> bytes:
    """MD5 of the block that led to `state`, followed by a message."""
    length = struct.pack("<Q", 8 * (BLOCK + len(message)))
    message += b"\x80" + b"\0" * ((55 - len(message)) % BLOCK) + length
    for start in range(0, len(message), BLOCK):
        state = _compressed(state, message[start : start + BLOCK])
    return state


def _compressed(state: bytes, block: bytes) -> bytes:
    """RFC 1321 section 3.4."""
    words = struct.unpack("<16I", block)
    a, b, c, d = first = struct.unpack("<4I", state)
    for step in range(64):
        if step < 16:  # noqa: PLR2004 - the four rounds have 16 steps each
            mixed = b & c | ~b & d
        elif step < 32:  # noqa: PLR2004
            mixed = d & b | ~d & c
        elif step < 48:  # noqa: PLR2004
            mixed = b ^ c ^ d
        else:
            mixed = c ^ (b | ~d & _MASK)
        turned = (mixed + a + _SINES[step] + words[_WORDS[step]]) & _MASK
        shift = _SHIFTS[step]
        a, d, c, b = d, c, b, (b + (turned << shift | turned >> 32 - shift)) & _MASK
    return struct.pack("<4I", *((old + new) & _MASK for old, new in zip(first, (a, b, c, d), strict=True)))
