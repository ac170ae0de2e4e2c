"""What arrived by a mail server, told apart: the trace fields that each server on the way wrote, and the message below them."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from tests.interop.feeders import wire

DATE: Final = rb"\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}(?: \(\w+\))?"

POSTFIX: Final = (
    rb"Received: from \S+ \(\S+ \[127\.0\.0\.1\]\)\r\n"
    rb"\tby mx\.example\.org \(Postfix\) with \w+ id \w+(?:\r\n\tfor <[^>]*>)?;[\r\n\t ]+" + DATE + rb"\r\n"
)

EXIM: Final = (
    rb"Received: from \[127\.0\.0\.1\] \(helo=\S+\)\r\n"
    rb"\tby mx\.example\.org with \w+ \(Exim [\d.]+\)\r\n"
    rb"(?:\t\(envelope-from <[^>]*>\)\r\n)?"
    rb"\tid \S+\r\n"
    rb"(?:\tfor [^;]+)?;\r\n"
    rb"\t" + DATE + rb"\r\n"
)


class Arrival(NamedTuple):
    """A message in a maildrop."""

    return_path: bytes
    original_to: bytes
    delivered_to: bytes
    received: bytes
    """Our own field, unfolded."""
    rest: bytes
    """All below our own fields."""


def arrival(octets: bytes) -> Arrival:
    """What our server wrote on top, in the order in which it must stand there (RFC 5321 section 4.4)."""
    found = re.match(
        rb"Return-Path: <([^>\r\n]*)>\r\n(?:X-Original-To: (.*)\r\n)?(?:Delivered-To: (.*)\r\n)?Received: ((?:.|\r\n[ \t])*)\r\n",
        octets,
    )
    assert found, octets[:500]
    received = re.sub(rb"\r\n[ \t]+", b" ", found[4])
    assert re.search(rb"; " + DATE + rb"$", received), received
    return Arrival(found[1], found[2] or b"", found[3] or b"", received, octets[found.end() :])


def below(octets: bytes, *traces: bytes) -> bytes:
    """What is below our own fields and those of these servers, the last first."""
    rest = arrival(octets).rest
    for trace in traces:
        found = re.match(trace, rest)
        assert found, rest[:500]
        rest = rest[found.end() :]
    return rest


def is_below(message: bytes, octets: bytes, *traces: bytes) -> bool:
    """Whether this message came, octet for octet, with these fields on top.

    A server that finds no header field at the beginning may have ended the header by a blank line: it wrote fields of its own there.
    """
    expected, rest = wire(message), below(octets, *traces)
    return rest == expected or bool(traces and rest == b"\r\n" + expected)
