"""APOP's stamp (RFC 1939 section 7): what the greeting holds, and the client mixes with its secret."""

from __future__ import annotations

import re
import time
from secrets import randbits

from mailserver.protocol.policy import Policy
from mailserver.protocol.wire import ok

_DEMON = re.compile(rb"(demon)\.", re.IGNORECASE)
"""In a greeting, be it a host's name, it makes fetchmail ask for envelopes in Demon's way (SDPS)."""

MAX_GREETING = 512
"""Octets of a first line, its CRLF counted (RFC 2449 section 4)."""

MAX_HOST = 255
"""Octets, as long as a host name can be; with the rest of the greeting it is well under RFC 2449's 512."""


def stamp_host(hostname: str) -> bytes:
    """The host name as a stamp can hold it: letters, digits, "-" and ".", since mpop, for one, refuses others."""
    try:
        ascii_name = hostname.encode("idna")
    except UnicodeError:
        ascii_name = hostname.encode("ascii", "replace")
    host = re.sub(rb"[^A-Za-z0-9.-]", b"-", ascii_name)[:MAX_HOST] or b"localhost"
    return _DEMON.sub(rb"\1-", host)


def make_stamp(host: bytes) -> bytes:
    """A new stamp for this host (from `stamp_host`): no other connection had it, and nobody can foretell it.

    The clock's digits make it unique even where a random generator fails; the random ones, where RFC 1939's example has the
    process, make it unpredictable. The form is that example's, digits and one dot: scanners know POP3 by it.
    """
    return b"<%d.%d@%b>" % (randbits(128), time.time_ns(), host)


def greeting_octets(hostname: str, greeting: str) -> int:
    """How long the greeting of a server of this name can be, its CRLF counted."""
    host = stamp_host(hostname)
    stamp = b"<%d.%d@%b>" % (2**128 - 1, time.time_ns(), host)
    return len(ok(Policy(hostname=host, greeting=greeting.encode("ascii", "replace")).greet(stamp)))
