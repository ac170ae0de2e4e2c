"""APOP's stamp (RFC 1939 section 7), which the greeting contains and the client hashes with its secret."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import partial
from itertools import chain, starmap
from struct import Struct
from typing import Final

from mailserver.protocol.policy import Policy
from mailserver.protocol.wire import ok

_DEMON = re.compile(rb"(demon)\.", re.IGNORECASE)
"""In a greeting, even within a host name, this text makes fetchmail use Demon's SDPS."""

_NUMBER: Final = Struct("16s")

MAX_GREETING = 512
"""Octets of a status line with its CRLF (RFC 2449 section 4)."""

MAX_HOST = 255
"""Octets, as long as a host name can be; with the rest of the greeting it is well under RFC 2449's 512."""


def stamp_host(hostname: str) -> bytes:
    """The host name in a form for stamps: letters, digits, "-" and "."; mpop, for example, refuses others."""
    try:
        ascii_name = hostname.encode("idna")
    except UnicodeError:
        ascii_name = hostname.encode("ascii", "replace")
    host = re.sub(rb"[^A-Za-z0-9.-]", b"-", ascii_name)[:MAX_HOST] or b"localhost"
    return _DEMON.sub(rb"\1-", host)


def unpredictable() -> Iterator[int]:
    """Numbers of 128 bits that nobody can foretell. The system makes 64 at once: one call for each would cost twice as much."""
    blocks = iter(partial(os.urandom, 64 * _NUMBER.size), b"")
    return starmap(int.from_bytes, chain.from_iterable(map(_NUMBER.iter_unpack, blocks)))


def make_stamp(host: bytes, random: int) -> bytes:
    """A new stamp for this host (from `stamp_host`), unique and, as its random number is, unpredictable.

    The clock's digits make it unique even if the random generator fails; the random digits, in place of the process id in
    RFC 1939's example, make it unpredictable. It has the example's form, digits and one dot, by which scanners detect POP3.
    """
    return b"<%d.%d@%b>" % (random, time.time_ns(), host)


def greeting_octets(hostname: str, greeting: str) -> int:
    """The maximum length of the greeting of a server with this name, with its CRLF."""
    host = stamp_host(hostname)
    stamp = b"<%d.%d@%b>" % (2**128 - 1, time.time_ns(), host)
    return len(ok(Policy(hostname=host, greeting=greeting.encode("ascii", "replace")).greet(stamp)))
