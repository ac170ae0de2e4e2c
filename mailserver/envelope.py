"""The envelope of a stored message, SMTP's sender and recipients, read from the headers that its last delivery added.

This site wrote the headers down to the topmost Received when it accepted the message. A stranger may have written those below, so
they are not read. A message without a Received has all its headers read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, Final

from twisted.internet.defer import Deferred, maybeDeferred

HEAD_OCTETS: Final = 64 * 1024
"""Octets at a message's beginning in which its envelope is searched: the headers above Received have a few hundred."""

MAX_ADDRESS: Final = 490
"""Octets of an address: more than RFC 5321 section 4.5.3.1 knows, since VERP and SRS put whole addresses into local parts; clients read the
lines of *ENV into 512."""

MAX_LOCAL_PART: Final = 240
"""Octets of a local part without a domain: with a domain of 255 octets it must fit the same lines."""

COMMENT_DEPTH: Final = 20
"""How deep comments in a header may nest: mail servers write one or two levels."""

STEP_OCTETS: Final = 4096
"""Octets that one read takes of a message's beginning: the first read is nearly always enough."""

_WHOLE: Final = re.compile(rb"\A\r?\n|\n\r?\n|(?:\A|\n)received[ \t]*:(?:[^\n]*\n[ \t])*[^\n]*\n[^ \t]", re.IGNORECASE)
"""The end of the headers that are read: a blank line, or the topmost Received."""

_BLANK: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(rb"\r?\n(?=[ \t])")
_COMMENT: Final = re.compile(rb"\([^()]*\)")
_FOR: Final = re.compile(rb"\sfor\s+(<[^<>]*>|[^\s;<>]+@[^\s;<>]+)", re.IGNORECASE)
_DOMAIN: Final = rb"@(?:(?!\.)[^\x00-\x20\x7f<>(),;:\\\"@\[\]]+|\[[^\x00-\x20\x7f<>(),;\\\"@\[\]]+\])"
_ADDRESS: Final = re.compile(rb"(?!\.)[^\x00-\x20\x7f<>(),;:\\\"@]+(?:%b)?" % _DOMAIN)
"""As clients can read it: no source route, one "@" at most."""

_QUOTED: Final = re.compile(rb"\"(?:[^\x00-\x1f\x7f\"\\]|\\[ -~])+\"(?:%b)?" % _DOMAIN)
"""A local part in quotes, which are its own: read where it is all that a header has, as our own deliveries write it."""

_PAIR: Final = re.compile(r"\\(.)")
_CELL: Final = re.compile(rb"\"(?:[^\"\\]|\\.)*\"[^,]*|[^,]+")

_LINE: Final = re.compile(rb"(?!\.)[^\x00-\x1f\x7f]{1,255}")
"""A login's name that may stand on a line of its own: foreign portals may accept any name."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message's sender and recipients. An address is bare octets that fit on a line of their own."""

    sender: bytes = b""
    """b"" is the null sender of bounces, or an unknown sender."""
    recipients: tuple[bytes, ...] = ()
    """The known ones; `*ENV` names the first. Some deliveries write only a local part."""
    account: bytes = b""
    """The maildrop's name for `*ENV`; b"" where it is not known."""
    user: bytes = b""
    """The user whose share of an account is open; b"" for the whole account."""

    def completed(self, login: bytes, host: bytes) -> Envelope:
        """Fill in what `*ENV` must name and is not known, from the login's name and the server's host name."""
        account = self.account or (login if _LINE.fullmatch(login) else b"-")
        recipient = self.recipients[0] if self.recipients else account
        if not has_domain(recipient):
            domain = account.rpartition(b"@")[2] if b"@" in account else host
            recipient = b"%b@%b" % (recipient, domain)
        return replace(self, account=account, user=self.user or b"-", recipients=(recipient,))


@dataclass(frozen=True, slots=True)
class EnvelopeHeaders:
    """The headers in which this site's deliveries write the envelope. The first that a message has counts, and its topmost line."""

    sender: Sequence[str] = ("Return-Path",)
    recipient: Sequence[str] = ("X-Original-To", "Delivered-To", "X-Envelope-To", "Envelope-To", "Received")
    """Of Received the ``for`` clause is read."""

    @property
    def fingerprint(self) -> bytes:
        """Differs for each choice of headers."""
        text = "\n".join([*map(str.lower, self.sender), "", *map(str.lower, self.recipient)])
        return blake2b(text.encode("utf-8"), digest_size=16).digest()

    def read(self, head: bytes) -> Envelope:
        """The envelope in the beginning of a message."""
        fields = dict(reversed(list(_own_fields(head))))
        if b"received" in fields:
            fields[b"received"] = _received_for(fields[b"received"])
        return Envelope(self._sender(fields, head), self._recipients(fields))

    def _sender(self, fields: Mapping[bytes, bytes], head: bytes) -> bytes:
        for name in self.sender:
            content = fields.get(name.lower().encode())
            if content is not None:
                return next(_addresses(content), b"")
        if head.startswith(b"From "):  # of an mbox
            return next(_addresses(head[5:].partition(b"\n")[0].partition(b" ")[0]), b"")
        return b""

    def _recipients(self, fields: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
        for name in self.recipient:
            recipients = tuple(_addresses(fields.get(name.lower().encode(), b"")))
            if recipients:
                return recipients
        return ()


def read_envelope(opened: Any, headers: EnvelopeHeaders) -> Deferred[Envelope]:
    """The envelope of an `IBody`, or of a Deferred one, which is closed. Errors: the body's."""
    return Deferred.fromCoroutine(_read_envelope(opened, headers))


async def _read_envelope(opened: Any, headers: EnvelopeHeaders) -> Envelope:
    body = await opened if isinstance(opened, Deferred) else opened
    head = b""
    try:
        while chunk := await maybeDeferred(body.read, STEP_OCTETS):
            head += chunk
            if is_whole(head):
                break
    finally:
        body.close()
    return headers.read(head)


def is_whole(head: bytes) -> bool:
    """Whether this beginning of a message has all the headers that are read, or as many octets as are searched."""
    return len(head) >= HEAD_OCTETS or _WHOLE.search(head) is not None


def has_domain(address: bytes) -> bool:
    """Whether it is more than a local part, which may have an "@" in its quotes."""
    return b"@" in address and not address.endswith(b'"')


def local_part(address: bytes) -> str:
    """What stands before the "@", or all of it; without its quotes."""
    if address.startswith(b'"'):
        quoted = address.rpartition(b"@")[0] if has_domain(address) else address
        return _PAIR.sub(r"\1", quoted[1:-1].decode("utf-8", "backslashreplace"))
    return address.partition(b"@")[0].decode("utf-8", "backslashreplace")


def divided(recipients: bytes) -> tuple[bytes, ...]:
    """Addresses of an envelope that were joined by commas, which quotes may hold, too."""
    if b'"' in recipients:
        return tuple(_CELL.findall(recipients))
    return tuple(recipients.split(b",")) if recipients else ()


def _own_fields(head: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names in lower case, and contents, of the headers down to the topmost Received."""
    blank = _BLANK.search(head)
    if blank is not None:
        head = head[: blank.start()]
    for line in _FOLD.sub(b"", head).split(b"\n"):
        name, colon, content = line.partition(b":")
        if not colon and not line.startswith(b"From "):
            return  # a body that no blank line divides from the headers
        name = name.strip(b" \t").lower()
        yield name, content.strip()
        if name == b"received":
            return


def _received_for(content: bytes) -> bytes:
    """The ``for`` clause of a Received header (RFC 5321 section 4.4). It is the last: what the client said stands before."""
    found: list[bytes] = _FOR.findall(_bare(content))
    return found[-1] if found else b""


def _bare(content: bytes) -> bytes:
    """Without comments, the innermost first. Nothing is left where they nest too deep: each depth takes a pass."""
    for _ in range(COMMENT_DEPTH):
        bare = _COMMENT.sub(b"", content)
        if bare == content:
            return bare
        content = bare
    return b""


def _addresses(content: bytes) -> Iterator[bytes]:
    alone = content.strip(b" \t\r")
    alone = alone[1:-1] if alone.startswith(b"<") and alone.endswith(b">") else alone
    if alone.startswith(b'"') and _QUOTED.fullmatch(alone):
        if len(alone) <= (MAX_ADDRESS if has_domain(alone) else MAX_LOCAL_PART):
            yield alone
        return
    for each in _bare(content).split(b","):
        address = each.strip(b" \t\r")
        if address.startswith(b"<") and address.endswith(b">"):
            address = address[1:-1].strip(b" \t")
        if len(address) <= (MAX_ADDRESS if b"@" in address else MAX_LOCAL_PART) and _ADDRESS.fullmatch(address):
            yield address
