"""What a request asks for, of whom: its target and its header Host (RFC 9112 section 3.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

_ABSOLUTE: Final = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE | re.DOTALL)


class BadTarget(Exception):
    """It cannot be told. The text is for the client."""


class Target(NamedTuple):
    """What is asked for."""

    host: str
    """The name or address, and perhaps the port, by which the client has asked; "": it has said none."""
    path: str


def read_target(target: bytes, hosts: Sequence[bytes], *, old: bool) -> Target:
    """What a request asks for by its target and its fields Host; an `old` one, of HTTP/1.0, need have none. Errors: BadTarget.

    A proxy may send the whole URI (absolute form). Then the host in it counts, and that of the field does not (section 3.2.2).
    """
    if len(hosts) > 1 or not (hosts or old):
        raise BadTarget("a request has one Host")
    host = hosts[0] if hosts else b""
    if absolute := _ABSOLUTE.fullmatch(target):
        host, target = absolute.groups()
        if not host:
            raise BadTarget("a URI has a host")
    path = target.partition(b"?")[0] or b"/"
    return Target(host.decode("latin-1"), path.decode("latin-1"))
