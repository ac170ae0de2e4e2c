"""Another server's file of text, read whole."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from mailserver.migration.users.converted import Unconvertible

MAX_OCTETS: Final = 1 << 28
"""A passwd-file or a userdb of a million users is a third of it."""


def read_text(path: str, odd: str = "it is no such file: it is too big, or no text") -> str:
    """Octets that are not UTF-8 are in it as surrogates; "-" is standard input. Errors: Unconvertible."""
    try:
        if path == "-":
            data = sys.stdin.buffer.read(MAX_OCTETS + 1)
        else:
            with Path(path).open("rb") as file:
                data = file.read(MAX_OCTETS + 1)
    except OSError as error:
        raise Unconvertible(f"{named(path)}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_OCTETS or b"\0" in data:
        raise Unconvertible(f"{named(path)}: {odd}")
    return data.decode("utf-8", "surrogateescape")


def named(path: str) -> str:
    """The file, as people read it."""
    return "standard input" if path == "-" else path
