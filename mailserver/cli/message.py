"""A message on standard input, as LMTP sends it: without an mbox's first line, with CRLFs, and with leading dots doubled.

`protocol.wire.Stuffer` does the same for a server. It cannot be used here, because what it imports takes longer to load than
a message to deliver.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Final

from mailserver.wireform import Canonical

CHUNK: Final = 64 * 1024
"""Octets that are read at a time: as many as a pipe of Linux holds."""

TERMINATION: Final = b".\r\n"
"""The line that ends the text (RFC 5321 section 4.1.1.4)."""

_FROM: Final = re.compile(rb'From[ \t]+("(?:\\.|[^"\\])*"[^\s]*|[^\s"]\S*)?')
"""The line before each message of an mbox: "From ", the sender, and the date."""

_LOCAL: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]+)*"
)
"""A local part that needs no quotes (RFC 5321 section 4.1.2, RFC 6531 section 3.3)."""

_QUOTED: Final = re.compile(r'"(?:[^"\\]|\\.)+"')
"""One that has them already."""


class Unreadable(Exception):
    """Standard input cannot be read to its end, so that nothing may be delivered. The text is the system's."""


class Message:
    """What standard input, or another descriptor, holds; its beginning is read at once. Errors: Unreadable."""

    def __init__(self, read: Callable[[int], bytes] = lambda limit: os.read(0, limit)) -> None:
        self._read = read
        head = self._begin()
        self.sender: bytes | None = None
        """The address in an mbox's first line, without brackets; b"" is that of a bounce, None: there is no such line."""
        if head.startswith(b"From ") and b"\n" in head:
            line, _, head = head.partition(b"\n")
            found = _FROM.match(line)
            self.sender = (found and found[1]) or b""
        self._head = head or self._chunk()
        self.empty = not self._head
        """Whether there is no message."""

    def stuffed(self) -> Iterator[bytes]:
        """The text for DATA, with its last line. Errors: Unreadable, and then the last line was not sent."""
        canonical = Canonical()
        chunk, self._head = self._head, b""
        while chunk:
            dotted = b".%b" % chunk if chunk.startswith(b".") and canonical.line_ended else chunk
            yield canonical.feed(dotted.replace(b"\n.", b"\n.."))
            chunk = self._chunk()
        yield canonical.end() + TERMINATION

    def _begin(self) -> bytes:
        """As much as may be one read: of most messages all, so that no server waits for whoever writes slowly."""
        head = b""
        while len(head) < CHUNK and (more := self._chunk()):
            head += more
        return head

    def _chunk(self) -> bytes:
        try:
            return self._read(CHUNK)
        except OSError as error:
            raise Unreadable(error.strerror or "it cannot be read") from None


def path(address: str, host: str = "") -> bytes:
    """An address as a path: in angle brackets, its local part in quotes where it needs them, at `host` if it has no domain.

    Errors: ValueError for one with control characters, which could end the line and begin another command.
    """
    bare = address[1:-1] if address.startswith("<") and address.endswith(">") else address
    if any(character < " " or character == "\x7f" for character in bare):
        raise ValueError("an address has control characters")
    local, at, domain = bare.rpartition("@")
    if not (at and domain) or set(domain) & set('"<> '):  # which would end the path, and begin a parameter
        local, domain = bare, ""
    if local and not (_LOCAL.fullmatch(local) or _QUOTED.fullmatch(local)):
        local = '"' + re.sub(r'(["\\])', r"\\\1", local) + '"'
    domain = domain or (host if local else "")
    return os.fsencode(f"<{local}@{domain}>" if domain else f"<{local}>")


def xtext(text: str) -> bytes:
    """What RFC 3461 section 4 makes of any octets in a parameter."""
    return re.sub(rb"[^!-~]|[+=]", lambda match: b"+%02X" % match[0][0], os.fsencode(text))
