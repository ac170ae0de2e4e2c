"""Who may see the pages: programs and people with the token, or whoever is on this machine where there is none."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import re
import stat
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from mailserver.errors import Unusable

SHORTEST_TOKEN: Final = 16
"""Characters: 96 bits in base64, which nobody guesses over a network."""

LONGEST_TOKEN: Final = 1024

_MAKE_ONE: Final = "make one: (umask 077; head -c 24 /dev/urandom | base64 >FILE)"

_HOST: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^:]*)(:\d{1,5})?", re.ASCII)
"""A Host field: a name, an IPv4 address or an IPv6 address in brackets, and perhaps a port."""


def read_token(path: str) -> bytes:
    """The token in a file, without the space around it. Errors: Unusable, which never quotes it."""
    try:
        with Path(path).open("rb") as file:
            status = os.fstat(file.fileno())
            token = file.read(LONGEST_TOKEN + 2).strip()
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}: the user that serves must be able to read it") from None
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        raise Unusable(
            f"{path}: it holds a secret, and everybody may read it: give it to the user that serves, and chmod 600"
        )
    if not SHORTEST_TOKEN <= len(token) <= LONGEST_TOKEN or not re.fullmatch(rb"[!-~]+", token):
        raise Unusable(
            f"{path}: a token has at least {SHORTEST_TOKEN} visible ASCII characters, and no spaces: {_MAKE_ONE}"
        )
    return token


def shows(authorization: bytes, token: bytes) -> bool:
    """Whether a header Authorization has the token: as Bearer's, or as Basic's password, which a browser asks for."""
    scheme, _, given = authorization.partition(b" ")
    match scheme.lower():
        case b"bearer":
            said = given.strip()
        case b"basic":
            try:
                said = base64.b64decode(given.strip(), validate=True).partition(b":")[2]
            except binascii.Error:
                return False
        case _:
            return False
    return hmac.compare_digest(said, token)


def names_an_address(host: str) -> bool:
    """Whether a client asks this machine by an address, or as localhost.

    A browser sends the name of the page that it came for: one that is somebody else's, and points here, is an attack on pages
    that need no token (DNS rebinding).
    """
    found = _HOST.fullmatch(host)
    name = found[1].strip("[]").lower() if found else "?"
    try:
        return name in ("", "localhost") or bool(ip_address(name))
    except ValueError:
        return False
