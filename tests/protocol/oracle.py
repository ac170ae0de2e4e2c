"""How a client that trusts nobody reads POP3: written from RFC 1939 and 2449 alone, without a line of the server's."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, settings

thorough = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""For properties: several hundred examples, however busy the machine is."""

STATUS = re.compile(
    rb"(?:\+OK|-ERR)(?: (?P<code>\[[A-Z]+(?:[-/][A-Z]+)*\] )?(?P<text>[\x21-\x5a\x5c-\x7e][\x20-\x7e]*))?"
)
CHALLENGE = re.compile(rb"\+ (?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
MULTILINE_ALWAYS = {b"CAPA", b"RETR", b"TOP", b"*ENV"}
MULTILINE_WITHOUT_ARGUMENT = {b"LIST", b"UIDL", b"AUTH"}


class Framing(AssertionError):
    """The server's answer is not what a client can read."""


def take_line(stream: bytes) -> tuple[bytes, bytes]:
    line, end, rest = stream.partition(b"\r\n")
    if not end:
        raise Framing(f"no CRLF in {stream[:100]!r}")
    return line, rest


def take_status(stream: bytes) -> tuple[bytes, bytes]:
    """The status line or challenge at the head of a stream, and the rest (RFC 2449 sections 3 and 4)."""
    line, rest = take_line(stream)
    if CHALLENGE.fullmatch(line):
        return line, rest
    if not STATUS.fullmatch(line) or len(line) + 2 > 512:
        raise Framing(f"no status line: {line[:600]!r}")
    return line, rest


def unstuff(stream: bytes) -> tuple[bytes, bytes]:
    """The content of a multi-line response, and what follows its termination line (RFC 1939 section 3)."""
    content = []
    while True:
        line, stream = take_line(stream)
        if line == b".":
            return b"".join(content), stream
        content.append((line[1:] if line[:1] == b"." else line) + b"\r\n")


def multiline(command: bytes) -> bool:
    """Whether +OK to this command begins a multi-line response."""
    words = command.upper().split()
    verb = command.upper().partition(b" ")[0]
    return verb in MULTILINE_ALWAYS or (verb in MULTILINE_WITHOUT_ARGUMENT and len(words) == 1)


def read_reply(command: bytes, stream: bytes) -> tuple[bytes, bytes, bytes]:
    """The status line of the answer to a command, its multi-line content, and the rest of the stream."""
    status, rest = take_status(stream)
    if not status.startswith(b"+OK") or not multiline(command):
        return status, b"", rest
    content, rest = unstuff(rest)
    return status, content, rest
