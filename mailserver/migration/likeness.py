"""Whether two servers have the same message: by its header, as far as servers leave that alone."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Final

ENOUGH: Final = 256 * 1024
"""Octets of a message's beginning that a reader need not go beyond in search of the header's end."""

_COMPARED: Final = 64 * 1024
"""Octets of a header that count: more than mail has, and with CRLF ends and a server's own fields still within `ENOUGH`."""

_OWN_LINE: Final = re.compile(rb"\A(?:>?From [^\n]*\n)")
_OWN_FIELDS: Final = re.compile(
    rb"^(?:Status|X-Status|X-UID|X-UIDL|X-IMAP|X-IMAPbase|X-Keywords|Content-Length)[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*",
    re.IGNORECASE | re.MULTILINE,
)
"""What servers of mbox files write into a message, and may show, change or hide."""


def likeness(message: bytes) -> bytes:
    """A digest of the header at the beginning of these octets, whatever their line ends.

    Equal for one message on two servers, also where one of them is an mbox, whose From_ line and fields it leaves out.
    """
    text = message.replace(b"\r\n", b"\n") + b"\n\n"
    header = text[: text.index(b"\n\n") + 1] if text[:1] != b"\n" else b""
    return sha256(_OWN_FIELDS.sub(b"", _OWN_LINE.sub(b"", header))[:_COMPARED]).digest()
