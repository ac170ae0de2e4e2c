"""What a server says, for the operator's eyes: on one line, short, and without the secret that it was told."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from typing import Final

_SHOWN: Final = 200
"""Characters that are told."""
_SPECIAL: Final = re.compile(r'(["\\])')


def shown(said: bytes) -> str:
    """A server's words; what would move a terminal's cursor is a question mark."""
    text = said.decode("utf-8", "backslashreplace")[:_SHOWN]
    return "".join(each if each.isprintable() else "?" for each in text).strip()


def told(said: bytes, secret: str) -> str:
    """What it says to a login, unless it repeats the secret."""
    echoes = any(each in said for each in (secret.encode(), quoted(secret), *_encoded(secret)))
    return "(its words are not shown, since they have the secret)" if echoes else shown(said)


def quoted(text: str) -> bytes:
    """What is in a quoted string of IMAP. Other characters than ASCII in it are UTF-8, as clients send them."""
    return _SPECIAL.sub(r"\\\1", text).encode()


def _encoded(secret: str) -> Iterator[bytes]:
    """What is in BASE64 of any octets with the secret in it, by the three places that it may have there."""
    for before in range(3):
        octets = bytes(before) + secret.encode()
        yield b64encode(octets[: len(octets) // 3 * 3])[4 if before else 0 :] or b64encode(octets)
