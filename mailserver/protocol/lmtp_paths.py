"""Paths and parameters of MAIL and RCPT (RFC 5321 section 4.1.2, RFC 6531 section 3.3).

What names somebody is read as widely as mail servers do: a local part may have dots in any place (senders at some Japanese
providers have), a label of a domain an underscore. It may be UTF-8 also where MAIL has not asked for SMTPUTF8: Exim's transport for Unix sockets
never asks, and nothing is passed on from here to where it would matter. A path that could be read in two ways is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from mailserver.protocol.lmtp_texts import BAD_ORIGINAL, TWICE
from mailserver.protocol.lmtp_wire import from_xtext, has_controls
from mailserver.smtp_errors import BadAddress, BadParameter, BadSyntax

PATH_LIMIT: Final = 512
"""Octets of a path: twice what RFC 5321 section 4.5.3.1.3 asks for, because VERP and SRS put whole addresses into local parts. Local
parts above that RFC's 64 octets are common for the same reason.
"""

DOMAIN_LIMIT: Final = 255
"""Octets of a domain: more cannot be looked up (RFC 5321 section 4.5.3.1.2)."""

ORIGINAL_LIMIT: Final = 500
"""Octets of ORCPT's address in xtext (RFC 3461 section 4.2)."""

_ATEXT: Final = rb"[\w!#$%&'*+/=?^`{|}~\x80-\xff-]"
_LABEL: Final = rb"[\w\x80-\xff-]+"
_DOMAIN: Final = rb"%b(?:\.%b)*" % (_LABEL, _LABEL)
_ROUTE: Final = rb"@%b(?:,@%b)*:" % (_DOMAIN, _DOMAIN)
_LITERAL: Final = rb"\[[\w.:-]+\]"
"""Those that are in use, of IPv4 and IPv6: with the other characters that RFC 5321 has, no header could name the address."""
_PATH: Final = re.compile(
    rb" *<(?:%b)?(?:((?:%b|\.)+)|\"((?:[^\"\\]|\\[\x20-\x7e])*)\")(?:@(%b|%b))?>(?: +|$)"
    % (_ROUTE, _ATEXT, _DOMAIN, _LITERAL)
)
"""Local part, the same in quotes, domain. No octet can be read in two ways, so that a line takes time by its length, and not by its
square. Possessive quantifiers would say so, but before Python 3.11.5 those of groups match what they should not.
"""
_NULL: Final = re.compile(rb" *<>(?: +|$)")
_DOT_STRING: Final = re.compile(rb"%b+(?:\.%b+)*" % (_ATEXT, _ATEXT))
_QUOTED_PAIR: Final = re.compile(rb"\\(.)")
_TO_QUOTE: Final = re.compile(rb'(["\\])')


def reverse_path(text: bytes) -> tuple[bytes, bytes]:
    """Return the reverse-path of what follows ``FROM:``, bare, and its parameters. b"": the null path. Errors: BadAddress."""
    found = _NULL.match(text)
    if found:
        return b"", text[found.end() :]
    path, rest = forward_path(text)
    if b"@" not in path:
        raise BadAddress
    return path, rest


def forward_path(text: bytes) -> tuple[bytes, bytes]:
    """Return the path of what follows ``TO:``, bare, and its parameters. It may be a local part alone. Errors: BadAddress.

    Without a source route (RFC 5321 appendix C), and quoted only where it must be, for quoted and plain are equivalent.
    """
    found = _PATH.match(text)
    if found is None:
        raise BadAddress
    plain, quoted, domain = found.groups()
    local = _unquoted(quoted) if plain is None else plain
    path = local if domain is None else b"%b@%b" % (local, domain)
    if len(path) > PATH_LIMIT or (domain is not None and len(domain) > DOMAIN_LIMIT):
        raise BadAddress
    try:
        path.decode("utf-8")
    except UnicodeDecodeError:
        raise BadAddress from None
    return path, text[found.end() :]


def _unquoted(quoted: bytes) -> bytes:
    local = _QUOTED_PAIR.sub(rb"\1", quoted)
    return local if _DOT_STRING.fullmatch(local) else b'"%b"' % _TO_QUOTE.sub(rb"\\\1", local)


def parameters(text: bytes, known: Sequence[bytes]) -> Mapping[bytes, bytes | None]:
    """Return the parameters with their values, None for one without. Errors: BadParameter where one is not `known`, BadSyntax."""
    found: dict[bytes, bytes | None] = {}
    for word in text.split():
        name, is_, value = word.partition(b"=")
        name = name.upper()
        if name not in known:
            raise BadParameter
        if name in found:
            raise BadSyntax(TWICE)
        found[name] = value if is_ else None
    return found


def original_address(value: bytes | None) -> bytes:
    """Return the address that ORCPT gives (RFC 3461 section 4.2, RFC 6533 section 3). Errors: BadSyntax."""
    kind, has_type, address = (value or b"").partition(b";")
    if len(address) > ORIGINAL_LIMIT:
        raise BadSyntax(BAD_ORIGINAL)
    try:
        decoded = from_xtext(address)
        if kind.lower() == b"utf-8":
            decoded = _CHARACTER.sub(_character, decoded)
        decoded.decode("utf-8")
    except ValueError:
        raise BadSyntax(BAD_ORIGINAL) from None
    if not (kind and has_type and decoded) or has_controls(decoded):
        raise BadSyntax(BAD_ORIGINAL)
    return decoded


_CHARACTER: Final = re.compile(rb"\\x\{([0-9A-Fa-f]{2,6})\}")


def _character(found: re.Match[bytes]) -> bytes:
    return chr(int(found[1], 16)).encode("utf-8")
