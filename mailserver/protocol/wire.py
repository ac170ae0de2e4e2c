"""Octets on the wire: lines in, replies and byte-stuffed messages out (RFC 1939 section 3)."""

from __future__ import annotations

import re
import sys
from binascii import Error as Base64Error
from binascii import a2b_base64

from mailserver.errors import BadCommand, LineTooLong, Refusal, WrongProtocol
from mailserver.protocol import texts
from mailserver.protocol.stuffing import Stuffing, load
from mailserver.wireform import Canonical

COMMAND_LIMIT = 255
"""Octets of a command line with its CRLF (RFC 2449 section 4)."""

SASL_LIMIT = 64 * 1024
"""Octets of an AUTH line or a SASL response: Kerberos tickets with PACs and OAuth tokens are long (RFC 5034 section 4)."""

TLS_HELLO = b"\x16\x03"
"""How a TLS client begins that took a plain port for a TLS one: it would wait for an answer to an unfinished line."""

TERMINATION = b".\r\n"
"""The line that ends a multi-line response (RFC 1939 section 3)."""

_DOT_LINES = re.compile(rb"\n\.")
"""Measured on 256 KiB of mail: 0.13 ms to stuff, where bytes.replace takes 0.46 ms, for it searches twice."""


FAST = load("mailserver.protocol._stuffing")
"""The stuffing in C; None where it was not built."""

FAST_LEAST = 8 * 1024
"""Octets from which it is used, in 8 us for 11 of Python; for 4,000, calling it costs what it saves."""


def ok(text: bytes = b"") -> bytes:
    """Return a positive status line."""
    return b"+OK %b\r\n" % text if text else b"+OK\r\n"


def err(refusal: Refusal) -> bytes:
    """Return a negative status line: ``-ERR [CODE] text``."""
    return b"-ERR %b\r\n" % refusal.line


def from_base64(line: bytes) -> bytes:
    """Decode a client's SASL response, to the letter. Errors: BadCommand (RFC 5034 section 4)."""
    try:
        return a2b_base64(line, strict_mode=True)
    except Base64Error:
        raise BadCommand(texts.NOT_BASE64) from None


class LineBuffer:
    """Input that waits to be read as lines. It remembers how far it searched, so octets are looked at once."""

    __slots__ = ("_data", "_mark", "_start", "unread")

    def __init__(self) -> None:
        self._data = b""
        self._start = 0  # of the line that is read next
        self._mark = 0  # no line end stands between _start and here
        self.unread = 0
        """The number of octets from _start on: an attribute, because each segment and each command asks for it."""

    def feed(self, data: bytes) -> None:
        """Add what arrived."""
        if self.unread:
            self._mark -= self._start
            self._data = self._data[self._start :] + data
        else:
            self._data = data
            self._mark = 0
        self._start = 0
        self.unread = len(self._data)

    def clear(self) -> None:
        """Forget everything that was not read."""
        self._data = b""
        self._start = self._mark = self.unread = 0

    def begins(self, prefix: bytes) -> bool:
        """Whether the next line begins with `prefix`, given in upper case, in any case."""
        return self._data[self._start : self._start + len(prefix)].upper() == prefix

    def line(self, limit: int) -> bytes | None:
        """Take the next line, without its CRLF or bare LF; None when it is not whole yet.

        Raises LineTooLong, and takes nothing, when it has more than `limit` octets with its end, whole or not.
        """
        start = self._start
        end = self._data.find(b"\n", self._mark)
        if end < 0:
            if self.unread >= limit:
                raise LineTooLong
            self._mark = len(self._data)
            return None
        if end - start >= limit:
            raise LineTooLong
        self._start = self._mark = end + 1
        self.unread -= end + 1 - start
        line = self._data[start:end]
        return line[:-1] if line.endswith(b"\r") else line


def stranger_limit(buffer: LineBuffer) -> int:
    """The octets that the next line may have before the login: AUTH's may be long. Errors: WrongProtocol, for a TLS client."""
    if buffer.begins(TLS_HELLO):
        raise WrongProtocol("TLS")
    return SASL_LIMIT if buffer.begins(b"AUTH ") else COMMAND_LIMIT


class Stuffer(Canonical):
    """Stored octets to a multi-line response: the canonical message, with leading dots doubled.

    A chunk's edge may fall anywhere, between CR and LF or before a dot. `octets` are those that LIST counts: without the stuffing
    and the termination line.
    """

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """Return what is sent of the next chunk."""
        if FAST is not None and len(data) >= FAST_LEAST and not self._held and b"\r" not in data:
            return self._feed_lines(FAST, data)
        stuffed = _DOT_LINES.sub(b"\n..", data)  # before the line ends: a quarter less time, measured
        if self.line_ended and data.startswith(b"."):
            stuffed = b"." + stuffed
        lines = super().feed(stuffed)
        self.octets -= len(stuffed) - len(data)
        return lines

    def _feed_lines(self, stuffing: Stuffing, data: bytes) -> bytes:
        """The same for a large chunk in which all line ends are LFs, as of most stored mail."""
        made, dots = stuffing(data, line_begins=self.line_ended)
        self.octets += len(made) - dots
        self.line_ended = data.endswith(b"\n")
        return made

    def end(self) -> bytes:
        """Return what is still to be sent: the end of the canonical message, and the termination line."""
        return super().end() + TERMINATION


class TopCut:
    """Cuts a message in wire form after its headers, the blank line and `lines` lines of its body (RFC 1939, TOP)."""

    __slots__ = ("_in_body", "_lines", "_tail", "done")

    def __init__(self, lines: int) -> None:
        self.done = False
        """Whether all that TOP asks for has passed; a message may end before."""
        self._lines = min(lines, sys.maxsize)  # `split` takes no more, and clients ask for "all" by any number
        self._in_body = False
        self._tail = b"\r\n"  # the last octets of the headers; a message may begin with the blank line

    def feed(self, data: bytes) -> bytes:
        """Return as much of the next chunk as TOP sends. A CRLF is never split by `Stuffer`, so LF alone is looked for."""
        headers = 0
        if not self._in_body:
            seen = self._tail + data
            blank = seen.find(b"\r\n\r\n")
            if blank < 0:
                self._tail = seen[-3:]
                return data
            self._in_body = True
            headers = blank + 4 - len(self._tail)
        return data[:headers] + self._body(data[headers:])

    def _body(self, data: bytes) -> bytes:
        lines = data.split(b"\n", self._lines) if self._lines else [data]
        self._lines -= len(lines) - 1
        self.done = self._lines == 0
        return data[: len(data) - len(lines[-1])] if self.done else data
