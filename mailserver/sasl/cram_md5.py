"""SASL CRAM-MD5 (RFC 2195): the HMAC-MD5 of a challenge; fetchmail's favourite.

It does not authenticate the server, and an eavesdropper can guess passwords offline: over TLS it is as good as PLAIN,
without TLS it is better than PLAIN.
"""

from __future__ import annotations

from twisted.cred.credentials import IUsernameHashedPassword
from zope.interface import implementer

from mailserver.credentials import CramMd5
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, Done, IExchange, IMechanism, SaslContext, Step
from mailserver.saslprep import prepared


@implementer(IMechanism)
class CramMd5Mechanism:
    """A name and a digest."""

    name = b"CRAM-MD5"
    cleartext = False
    credentials = IUsernameHashedPassword
    asks = b""

    def fits(self, context: SaslContext) -> bool:
        """Wherever there is a nonce: a repeated challenge would let an eavesdropper replay the response."""
        return bool(context.nonce)

    def begin(self, context: SaslContext) -> IExchange:
        """Begin an exchange."""
        return _CramMd5(b"<%b@%b>" % (context.nonce, context.hostname))


@implementer(IExchange)
class _CramMd5:
    __slots__ = ("_challenge", "_challenged")

    def __init__(self, challenge: bytes) -> None:
        self._challenge = challenge
        self._challenged = False

    def step(self, response: bytes | None) -> Step:
        if response is None:
            self._challenged = True
            return Challenge(self._challenge)
        name, _, digest = response.rpartition(b" ")
        if not (self._challenged and name and len(digest) == 32):  # noqa: PLR2004 - MD5 in hexadecimal
            raise BadCommand(b"malformed CRAM-MD5 response")
        return Done(CramMd5(prepared(name), self._challenge, digest.lower()))

    def answer(self, value: object) -> Step:  # noqa: ARG002 - IExchange's signature
        raise RuntimeError("CRAM-MD5 asks nothing")
