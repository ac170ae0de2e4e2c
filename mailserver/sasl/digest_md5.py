"""SASL DIGEST-MD5 (RFC 2831), for old clients that have nothing better; RFC 6331 made it historic.

Only authentication (``qop=auth``) is offered: TLS does the rest. The server's own proof is one more challenge, which the
client answers with an empty response.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from hashlib import md5
from typing import Final

from zope.interface import implementer

from mailserver.credentials import IVerifiedIdentity, Unproven, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Ask, Challenge, DigestKey, Done, IExchange, IMechanism, SaslContext, Step, VerifierOf
from mailserver.reasons import BINDING
from mailserver.sasl.acting import acting
from mailserver.saslprep import prepared

_DIRECTIVE: Final = re.compile(
    rb'[ \t\r\n,]*([A-Za-z-]+)[ \t\r\n]*=[ \t\r\n]*(?:"((?:[^"\\]|\\.)*)"|([^\x00- "(),/:;<=>?@\[\\\]{}\x7f-\xff]+))'
    rb"[ \t\r\n]*(?=,|\Z)",
    re.DOTALL,
)
"""Section 7.1: a name, and a quoted string or a token."""

_REQUIRED: Final = frozenset({b"username", b"nonce", b"cnonce", b"nc", b"digest-uri", b"response"})


@implementer(IMechanism)
class DigestMd5Mechanism:
    """A name, and a digest from each side; `service` is the first part of the URI that the digests cover."""

    name = b"DIGEST-MD5"
    cleartext = False
    credentials = IVerifiedIdentity
    asks = b"DIGEST-MD5"

    def __init__(self, service: bytes = b"pop") -> None:
        self.service: Final = service

    def fits(self, context: SaslContext) -> bool:
        """Wherever there is a nonce."""
        return bool(context.nonce)

    def begin(self, context: SaslContext) -> IExchange:
        """Begin an exchange."""
        return _DigestMd5(self.service, context.hostname, context.nonce)


@implementer(IExchange)
class _DigestMd5:
    __slots__ = ("_given", "_name", "_nonce", "_realm", "_service", "_stage", "_user_id")

    def __init__(self, service: bytes, realm: bytes, nonce: bytes) -> None:
        self._service = service
        self._realm = realm
        self._nonce = nonce
        self._stage: Callable[[bytes | None], Step] = self._challenge

    def step(self, response: bytes | None) -> Step:
        return self._stage(response)

    def _challenge(self, response: bytes | None) -> Step:
        if response:
            raise _malformed()  # subsequent authentication (section 2.2) would need state of the first one
        self._stage = self._respond
        # curl reads the algorithm unquoted, and in lower case only.
        return Challenge(
            b'realm="%b",nonce="%b",qop="auth",charset=utf-8,algorithm=md5-sess' % (self._realm, self._nonce)
        )

    def _respond(self, response: bytes | None) -> Step:
        given = self._given = _directives(response or b"")
        if not given.keys() >= _REQUIRED or not given[b"cnonce"] or given.get(b"qop", b"auth") != b"auth":
            raise _malformed()
        self._name = prepared(_utf8(given, b"username"))
        expected = (self._nonce, b"00000001", self._realm)
        said = (given[b"nonce"], given[b"nc"], given.get(b"realm", b""))
        if said != expected or not given[b"digest-uri"].lower().startswith(self._service + b"/"):
            return Done(Unproven(self._name, "the digest was made for another exchange or service", why=BINDING))
        return Ask(VerifierOf(self._name, b"DIGEST-MD5", self._realm))

    def answer(self, value: object) -> Step:
        if not isinstance(value, bytes):
            raise TypeError("DIGEST-MD5 asks for a key")
        given = self._given
        parts = [value, given[b"nonce"], given[b"cnonce"], *filter(None, [given.get(b"authzid")])]
        key = _hex(b":".join(parts))
        if not hmac.compare_digest(_digest(key, given, b"AUTHENTICATE"), given[b"response"]):
            return Done(Unproven(self._name, mechanism=b"DIGEST-MD5"))
        self._user_id = value.user_id if isinstance(value, DigestKey) else None
        self._stage = self._end
        return Challenge(b"rspauth=" + _digest(key, given, b""))

    def _end(self, response: bytes | None) -> Step:
        if response:
            raise _malformed()
        return acting(VerifiedIdentity(self._name, self._user_id), prepared(_utf8(self._given, b"authzid")))


def _malformed() -> BadCommand:
    return BadCommand(b"malformed DIGEST-MD5 response")


def _directives(text: bytes) -> Mapping[bytes, bytes]:
    """The directives by name, in lower case; a name that occurs twice is an error."""
    found: dict[bytes, bytes] = {}
    at = 0
    while match := _DIRECTIVE.match(text, at):
        name, quoted, token = match[1].lower(), match[2], match[3]
        if name in found:
            raise _malformed()
        found[name] = token or re.sub(rb"\\(.)", rb"\1", quoted, flags=re.DOTALL)
        at = match.end()
    if text[at:].strip(b" \t\r\n,"):
        raise _malformed()
    return found


def _utf8(given: Mapping[bytes, bytes], name: bytes) -> bytes:
    """A directive's text in UTF-8: without ``charset`` it is ISO 8859-1 (section 2.1.2)."""
    octets = given.get(name, b"")
    return octets if b"charset" in given else octets.decode("latin-1").encode("utf-8")


def _digest(key: bytes, given: Mapping[bytes, bytes], method: bytes) -> bytes:
    """The response-value of section 2.1.2.1; the client's has a method, the server's has b""."""
    a2 = _hex(b"%b:%b" % (method, given[b"digest-uri"]))
    return _hex(b":".join((key, given[b"nonce"], given[b"nc"], given[b"cnonce"], b"auth", a2)))


def _hex(octets: bytes) -> bytes:
    return md5(octets, usedforsecurity=False).hexdigest().encode("ascii")
