"""The fields in which the servers of mboxes keep their own facts, among the headers of the messages: X-UID, X-UIDL, Status and others."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

_HIDDEN: Final = frozenset(
    {b"content-length", b"status", b"x-imap", b"x-imapbase", b"x-keywords", b"x-status", b"x-uid"}
)
"""What Dovecot never shows, and UW's server neither but for the first: they are the server's, and false outside of its mbox.

All servers show X-UIDL."""

_FIELD: Final = re.compile(rb"[^\n]*(?:\n[ \t][^\n]*)*\n?")
_NAME: Final = re.compile(rb"([!-9;-~]+)[ \t]*:[ \t]*")
_PSEUDO: Final = re.compile(rb"X-IMAP:[ \t]*[1-9]\d* +\d", re.IGNORECASE)

BASE: Final = re.compile(rb"[ \t]*([0-9]{1,10}) +([0-9]{1,10})(?![0-9])")
"""What X-IMAP and X-IMAPbase say: UIDVALIDITY, and the last UID."""

UID: Final = re.compile(rb"[ \t]*([0-9]{1,10})(?![0-9])\s*")
"""What X-UID says."""

HIGHEST: Final = 0xFFFFFFFF
"""UID and UIDVALIDITY (RFC 3501)."""


class Field(NamedTuple):
    """A field of a header."""

    name: bytes
    """In small letters; b"": it is no field."""
    whole: bytes
    """Its lines, with their ends."""

    @property
    def value(self) -> bytes:
        """What stands in its first line after the colon."""
        line = self.whole.partition(b"\n")[0]
        start = _NAME.match(line)
        return b"" if start is None else line[start.end() :].rstrip(b"\r \t")

    @property
    def rest(self) -> bytes:
        """All that stands after the colon, as it is."""
        return self.whole.partition(b":")[2]


def read_fields(header: bytes) -> list[Field]:
    """The fields of a header, as the octets before its blank line have them."""
    found = []
    for each in _FIELD.finditer(header):
        if each[0]:
            start = _NAME.match(each[0])
            found.append(Field(b"" if start is None else start[1].lower(), each[0]))
    return found


def shown(header: bytes) -> bytes:
    """The header without the fields that are the server's own."""
    return b"".join(each.whole for each in read_fields(header) if each.name not in _HIDDEN)


def is_seen(fields: list[Field]) -> bool:
    """Whether its reader has seen the message."""
    return any(b"R" in each.value for each in fields if each.name == b"status")


def is_pseudo(fields: list[Field]) -> bool:
    """Whether it is the first message of an mbox that UW's server began: "FOLDER INTERNAL DATA", which nobody is shown."""
    return any(each.name == b"x-imap" and _PSEUDO.match(each.whole) for each in fields)
