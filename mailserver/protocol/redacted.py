"""A client's lines in words that hold no secret: what is shown is what is known to be none, and nothing else.

A password may stand anywhere: behind PASS, in a SASL response, in a line that a client takes for one of them, alone in a line, because
the client is a step ahead, or behind a name, because a line's end was lost. So before the login no argument is shown but a name that the operator has
given himself, and after it only numbers.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

HIDDEN: Final = "***"
"""In the place of what is not shown. It has always the same length, which a password's would tell."""

RESPONSE: Final = "(a SASL response, not shown)"
NO_COMMAND: Final = "(a line that is no command, not shown)"
TOO_LONG: Final = "(a line that is too long, not shown)"

_NUMBERS: Final = re.compile(r"[0-9]{1,10}(?: [0-9]{1,10})?")
_DIGEST: Final = re.compile(r"(.*) [0-9a-fA-F]{32}")
"""APOP's arguments: a name, and an MD5 in hexadecimal digits."""

_MECHANISMS: Final = frozenset(
    {
        *(b"PLAIN", b"LOGIN", b"CRAM-MD5", b"DIGEST-MD5", b"EXTERNAL", b"ANONYMOUS", b"OAUTHBEARER", b"XOAUTH2"),
        *(b"SCRAM-SHA-1", b"SCRAM-SHA-1-PLUS", b"SCRAM-SHA-256", b"SCRAM-SHA-256-PLUS", b"SCRAM-SHA-512"),
        *(b"GSSAPI", b"GSS-SPNEGO", b"KERBEROS_V4", b"NTLM", b"MSN"),
    }
)
"""What clients ask for, whether it is served or not."""

_ADDRESSES: Final = frozenset({b"MAIL", b"RCPT", b"LHLO", b"BDAT"})
"""Commands of LMTP whose arguments are shown: it has no login."""


def pop3_line(line: bytes, verbs: Collection[bytes], names: Collection[str], *, stranger: bool) -> str:
    """A line of POP3, before the login where it is a `stranger`'s.

    `verbs` are all that any state knows, and `names` those that may be shown, without capitals.
    """
    verb, space, rest = line.partition(b" ")
    name = verb.upper()
    if name not in verbs:
        return NO_COMMAND
    shown = verb.decode("ascii")
    if not space:
        return shown
    text = rest.decode("utf-8", "replace")
    if not stranger:
        arguments = text if _NUMBERS.fullmatch(text) and name != b"PASS" else HIDDEN
    elif name == b"USER":
        arguments = _name(text, names)
    elif name == b"APOP":
        proof = _DIGEST.fullmatch(text.strip(" "))
        arguments = HIDDEN if proof is None else f"{_name(proof[1], names)} {HIDDEN}"
    elif name == b"AUTH":
        arguments = _mechanism(rest)
    else:
        arguments = HIDDEN
    return f"{shown} {arguments}"


def lmtp_line(line: bytes, verbs: Collection[bytes]) -> str:
    """A line of LMTP."""
    verb, space, rest = line.partition(b" ")
    if verb.upper() not in verbs:
        return NO_COMMAND
    shown = verb.decode("ascii")
    if not space:
        return shown
    return f"{shown} {printable(rest) if verb.upper() in _ADDRESSES else HIDDEN}"


def printable(octets: bytes) -> str:
    """Text that steers no terminal."""
    text = octets.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode("ascii") for each in text)


def _name(text: str, known: Collection[str]) -> str:
    name = text.strip(" ")
    return name if name.casefold() in known else HIDDEN


def _mechanism(rest: bytes) -> str:
    name, *more = rest.split(b" ", 1)
    if name.upper() not in _MECHANISMS:
        return HIDDEN
    return f"{name.decode('ascii')} {HIDDEN}" if more else name.decode("ascii")
