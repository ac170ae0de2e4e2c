"""How a client that trusts nobody reads LMTP: written from RFC 5321, 2033 and 2034 alone, without a line of the server's."""

from __future__ import annotations

import re
from collections.abc import Iterator

REPLY_LINE = re.compile(rb"([2-5][0-5][0-9])([ -])(?:([245]\.[0-9]{1,3}\.[0-9]{1,3}) )?([\x20-\x7e]+)")


class Framing(AssertionError):
    """The server's answer is not what a client can read."""


def replies(stream: bytes) -> Iterator[bytes]:
    """The codes of all replies (RFC 5321 section 4.2), each with its enhanced status code if it has one."""
    rest = stream
    while rest:
        code, enhanced, rest = take_reply(rest)
        yield b"%b %b" % (code, enhanced) if enhanced else code


def take_reply(stream: bytes) -> tuple[bytes, bytes, bytes]:
    """The code of the first reply, its enhanced status code, and what is left."""
    codes = set()
    while True:
        line, end, stream = stream.partition(b"\r\n")
        found = REPLY_LINE.fullmatch(line)
        if not end or found is None or len(line) + 2 > 512:
            raise Framing(line[:600])
        code, more, enhanced, _ = found.groups()
        if enhanced and enhanced[0] != code[0]:
            raise Framing(line)
        codes.add(code)
        if len(codes) > 1:
            raise Framing(f"the codes of one reply differ: {codes}")
        if more == b" ":
            # RFC 2034 section 4: all of class 2, 4 and 5, but for the greeting and the answer to LHLO.
            if not enhanced and code not in (b"220", b"250", b"354"):
                raise Framing(line)
            return code, enhanced or b"", stream


def stuff(message: bytes) -> bytes:
    """The text that a client sends behind DATA for a message whose lines end with CRLF (RFC 5321 section 4.5.2)."""
    lines = message.split(b"\r\n")
    assert lines.pop() == b"", "the last line has an end, too"
    return b"".join(b"%b%b\r\n" % (b"." if line.startswith(b".") else b"", line) for line in lines) + b".\r\n"


def unstuff(stream: bytes) -> tuple[bytes, bytes]:
    """The message in a text, and what stands behind its end. Octet for octet, as a table would have it."""
    message = bytearray()
    at = 0
    while True:
        end = stream.find(b"\r\n", at)
        if end < 0:
            raise Framing("the text does not end")
        line, at = stream[at:end], end + 2
        if line == b".":
            return bytes(message), stream[at:]
        message += (line[1:] if line[:1] == b"." else line) + b"\r\n"
