"""SASL OAUTHBEARER (RFC 7628) and its forerunner XOAUTH2: an OAuth 2.0 token in place of a password.

A stolen token works for the thief, so it needs TLS as a password does. The server answers an invalid token with a challenge
that contains the error in JSON; any response to that challenge gets ``-ERR``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from zope.interface import implementer

from mailserver.credentials import BearerToken, IBearerToken, Unproven, VerifiedIdentity
from mailserver.errors import BadCommand, LoginRefused
from mailserver.exchange import Ask, Challenge, Done, IExchange, IMechanism, SaslContext, Step
from mailserver.reasons import TOKEN
from mailserver.sasl.acting import acting, saslname
from mailserver.saslprep import prepared

_PAIRS: Final = rb"(?P<pairs>(?:[A-Za-z]+=[\t\r\n -~]*\x01)*)\x01"
"""RFC 7628 section 3.1: a value consists of printable octets, spaces and line ends."""

_BEARER: Final = re.compile(rb"[Bb][Ee][Aa][Rr][Ee][Rr] +([A-Za-z0-9._~+/-]+=*)")
"""RFC 6750 section 2.1."""


@implementer(IMechanism)
class OAuthMechanism:
    """One of the two: they differ in how the user's name is written before the token, and in the JSON of a failure."""

    cleartext = True
    credentials = IBearerToken
    asks = b""

    def __init__(self, name: bytes, user: bytes, read_user: Callable[[bytes], bytes], failure: bytes) -> None:
        self.name = name
        self.response: Final = re.compile(user + _PAIRS)
        self.read_user: Final = read_user
        self.failure: Final = failure

    def fits(self, context: SaslContext) -> bool:  # noqa: ARG002 - IMechanism's signature
        """Everywhere."""
        return True

    def begin(self, context: SaslContext) -> IExchange:  # noqa: ARG002 - IMechanism's signature
        """Begin an exchange."""
        return _OAuth(self)


_NO_TOKEN: Final = LoginRefused(TOKEN, said="no bearer token was given")


@implementer(IExchange)
class _OAuth:
    __slots__ = ("_authzid", "_mechanism", "_refused")

    def __init__(self, mechanism: OAuthMechanism) -> None:
        self._mechanism = mechanism
        self._authzid = b""
        self._refused: str | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if self._refused is not None:
            return Done(Unproven(self._authzid, self._refused, why=TOKEN))
        found = self._mechanism.response.fullmatch(response)
        if not found:
            raise BadCommand(b"malformed %b response" % self._mechanism.name)
        self._authzid = self._mechanism.read_user(found["user"] or b"")
        pairs = dict(pair.split(b"=", 1) for pair in found["pairs"].split(b"\x01")[:-1])
        bearer = _BEARER.fullmatch(pairs.get(b"auth", b""))
        if bearer is None:
            return self.answer(_NO_TOKEN)  # a client sends no token to learn what the server accepts
        return Ask(BearerToken(bearer[1], self._authzid))

    def answer(self, value: object) -> Step:
        match value:
            case bytes():
                return acting(VerifiedIdentity(value), self._authzid)
            case None | LoginRefused():
                self._refused = TOKEN.words if value is None else value.reason
                return Challenge(self._mechanism.failure)
        raise TypeError("OAuth asks for the name of a token's owner")


OAUTHBEARER: Final = OAuthMechanism(
    b"OAUTHBEARER",
    rb"[ny],(?:a=(?P<user>[^,\x00\x01]+))?,\x01",
    lambda text: prepared(saslname(text)),
    b'{"status":"invalid_token"}',
)
XOAUTH2: Final = OAuthMechanism(
    b"XOAUTH2",
    rb"user=(?P<user>[^\x00\x01]*)\x01",
    prepared,
    b'{"status":"401","schemes":"bearer","scope":""}',
)
