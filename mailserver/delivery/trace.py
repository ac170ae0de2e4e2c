"""The fields that a delivery writes on top of a message (RFC 5321 section 4.4), and what it takes off.

    Return-Path: <sender@example.net>
    X-Original-To: sales@example.org            where the sender of the transaction has told it, and it differs
    Delivered-To: alice@example.org
    Received: from mx.example.net ([192.0.2.1])
            (using TLSv1.3 TLS_AES_256_GCM_SHA384)
            by mail.example.org with LMTPS id 4f2a
            for <alice@example.org>; Fri, 27 Nov 2026 03:10:00 +0000

`envelope.EnvelopeHeaders` reads them, and nothing below: Received is the last, so that no field of the sender's can pass for ours. The
client says who it is and what the addresses are, so that nothing of it stands here but what such a thing can consist of.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address
from time import gmtime
from typing import Final

from mailserver.envelope import MAX_ADDRESS
from mailserver.incoming import Sender

UNKNOWN: Final = b"unknown"
"""A client that does not say who it is, or in a way that is no name: its address stands beside it."""

MAX_HOST: Final = 255
"""Octets of a domain (RFC 5321 section 4.5.3.1.2)."""

MAX_FIELD: Final = 4096
"""Octets of a Return-Path that is taken off: an address has some hundred, and a comment beside it is short."""

_HOST: Final = re.compile(rb"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?|\[[A-Za-z0-9.:]+\]")
_KEYWORD: Final = re.compile(rb"[A-Z0-9]{1,20}")
_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_TLS: Final = re.compile(r"[A-Za-z0-9 ._/-]{1,100}")
_UNSAFE: Final = re.compile(rb"[\x00-\x1f\x7f]")
_PLAIN: Final = re.compile(rb"[^\x00-\x20\x7f<>(),;:\\\"]+")
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def trace_fields(sender: Sender, hostname: str, now: float, recipient: bytes = b"", original: bytes = b"") -> bytes:
    """The fields of a copy, with CRLF. `now` are seconds of the epoch; without `recipient` nothing says for whom it is."""
    lines = [b"Return-Path: <%b>" % _safe(sender.path)]
    if recipient:
        if original and original != recipient:
            lines.append(b"X-Original-To: %b" % _safe(original))
        lines.append(b"Delivered-To: %b" % _safe(recipient))
    lines.append(b"Received: from %b" % _client(sender))
    if sender.tls and _TLS.fullmatch(sender.tls):
        lines.append(b"\t(using %b)" % sender.tls.encode("ascii"))
    by = hostname.encode("ascii", "replace") if hostname else UNKNOWN
    lines.append(b"\tby %b with %b%b" % (by, _keyword(sender.protocol), _id(sender.session)))
    reader = b"\tfor <%b>;" % recipient if _PLAIN.fullmatch(recipient) else b""
    if reader:
        lines.append(b"%b %b" % (reader, date(now)))
    else:
        lines[-1] += b";"
        lines.append(b"\t%b" % date(now))
    return b"\r\n".join(lines) + b"\r\n"


def date(now: float) -> bytes:
    """A time in the form of RFC 5322 section 3.3, in UTC; never in a language of the system's."""
    at = gmtime(now)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    text = f"{day}, {at.tm_mday} {month} {at.tm_year} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} +0000"
    return text.encode("ascii")


def _safe(address: bytes) -> bytes:
    """An address that ends no line, and that `*ENV` can name: no line of it may begin with a dot, but with a quote.

    The protocol has refused others; this is the second lock.
    """
    if address.startswith(b"."):
        local, at, domain = address.rpartition(b"@") if b"@" in address else (address, b"", b"")
        address = b'"%b"%b%b' % (local, at, domain)
    return _UNSAFE.sub(b"?", address)[: 2 * MAX_ADDRESS - 2]


def _client(sender: Sender) -> bytes:
    """The name that the client gave itself, and the address that it has."""
    host = sender.host if len(sender.host) <= MAX_HOST and _is_host(sender) else UNKNOWN
    try:
        peer = ip_address(sender.peer)
    except ValueError:
        return host  # a Unix socket has none
    literal = f"IPv6:{peer.compressed}" if isinstance(peer, IPv6Address) else str(peer)
    return b"%b ([%b])" % (host, literal.partition("%")[0].encode("ascii"))


def _is_host(sender: Sender) -> bool:
    if sender.host.isascii() or not sender.protocol.startswith(b"UTF8"):
        return _HOST.fullmatch(sender.host) is not None
    try:
        text = sender.host.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(label.replace("-", "").isalnum() for label in text.split("."))


def _keyword(protocol: bytes) -> bytes:
    return protocol if _KEYWORD.fullmatch(protocol) else b"LMTP"


def _id(session: str) -> bytes:
    return b" id " + session.encode("ascii") if _ID.fullmatch(session) else b""


class Beginning:
    """The beginning of a message on its way to the store, in any split.

    Return-Path fields at the very top are taken off (RFC 5321 section 4.4 lets the last server do so): a message has one, and a reader who
    looks for the last one of several must not find a stranger's. Those further down stand below our Received, and stay.

    A message whose first line begins with white space has no fields, and gets the empty line that says so, as Postfix gives it: such a line
    would continue our Received, and could claim a recipient.
    """

    __slots__ = ("_held", "_passed")

    _FIELD: Final = re.compile(rb"return-path[ \t]*:", re.IGNORECASE)
    _END: Final = re.compile(rb"\n(?=[^ \t])")
    _NAME: Final = b"return-path"

    def __init__(self) -> None:
        self._held = b""
        self._passed = False

    def feed(self, chunk: bytes) -> bytes:
        """The octets to store of the next chunk: none, while it is not decided."""
        if self._passed:
            return chunk
        held, begin = self._held + chunk, 0
        while self._FIELD.match(held, begin) and (end := self._END.search(held, begin)):
            begin = end.end()
        self._held = held[begin:]  # cut once: a chunk can have ten thousand of these fields
        is_open = self._FIELD.match(self._held) and len(self._held) <= MAX_FIELD
        return b"" if is_open or self._may_begin() else self.end(cut=False)

    def end(self, *, cut: bool = True) -> bytes:
        """The last octets: what is held, without a field that is the whole message."""
        held, self._held, self._passed = self._held, b"", True
        if cut and self._FIELD.match(held):
            return b""
        return b"\r\n" + held if held.startswith((b" ", b"\t")) else held

    def _may_begin(self) -> bool:
        """Whether what is held may become the field's name and colon."""
        name = self._held[: len(self._NAME)].lower()
        rest = self._held[len(self._NAME) :]
        return self._NAME.startswith(name) and not rest.strip(b" \t") and len(rest) < MAX_FIELD
