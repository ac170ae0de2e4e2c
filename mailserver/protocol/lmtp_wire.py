"""Replies of LMTP (RFC 5321 section 4.2, RFC 2034), and xtext (RFC 3461 section 4)."""

from __future__ import annotations

import re
from binascii import a2b_qp
from collections.abc import Sequence

from mailserver.errors import Refusal

_XTEXT = re.compile(rb"(?:[^+=]|\+[0-9A-F]{2})*")


def reply(codes: bytes, text: bytes) -> bytes:
    """Return a reply of one line; `codes` are the reply code and, but for 220 and 354, the enhanced status code."""
    return b"%b %b\r\n" % (codes, text)


def multiline(code: bytes, lines: Sequence[bytes]) -> bytes:
    """Return a reply of one line or more, without enhanced status codes (RFC 2034 section 3: LHLO's has none)."""
    *first, last = lines
    return b"".join([*(b"%b-%b\r\n" % (code, line) for line in first), b"%b %b\r\n" % (code, last)])


def refusal_reply(refusal: Refusal) -> bytes:
    """Return the reply that tells a refusal."""
    return reply(refusal.smtp, refusal.said)


def farewell(refusal: Refusal) -> bytes:
    """Return the reply with which the server closes on its own (RFC 5321 section 3.8), for whatever reason."""
    return reply(b"421 4" + refusal.smtp[5:], refusal.said)


def from_xtext(text: bytes) -> bytes:
    """Decode xtext. Errors: ValueError, also where it hides what must never reach a header or a log: a control character."""
    if not _XTEXT.fullmatch(text) or has_controls(text):
        raise ValueError("no xtext")
    # It is quoted-printable with another sign, and C has that: 60 times faster.
    decoded = a2b_qp(text.replace(b"+", b"="))
    if has_controls(decoded):
        raise ValueError("a control character in xtext")
    return decoded


_CONTROLS = bytes([*range(32), 127])


def has_controls(text: bytes) -> bool:
    """Whether there is a control character of ASCII in it."""
    return len(text.translate(None, _CONTROLS)) != len(text)
