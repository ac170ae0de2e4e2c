"""SASL EXTERNAL (RFC 4422 appendix A): the proof is the client's certificate, which TLS has verified."""

from __future__ import annotations

from zope.interface import implementer

from mailserver.credentials import IVerifiedIdentity, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, IExchange, IMechanism, SaslContext, Step
from mailserver.sasl.acting import acting
from mailserver.saslprep import prepared


@implementer(IMechanism)
class ExternalMechanism:
    """The authorization identity alone: it chooses one of the certificate's names."""

    name = b"EXTERNAL"
    cleartext = False
    credentials = IVerifiedIdentity
    asks = b""

    def fits(self, context: SaslContext) -> bool:
        """Where a certificate was verified."""
        return bool(context.identities)

    def begin(self, context: SaslContext) -> IExchange:
        """Begin an exchange."""
        return _External(context.identities)


@implementer(IExchange)
class _External:
    __slots__ = ("_identities",)

    def __init__(self, identities: tuple[bytes, ...]) -> None:
        self._identities = identities

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if b"\0" in response:
            raise BadCommand(b"malformed EXTERNAL response")
        authzid = prepared(response)
        identity = authzid if authzid in self._identities else self._identities[0]
        return acting(VerifiedIdentity(identity), authzid)

    def answer(self, value: object) -> Step:  # noqa: ARG002 - IExchange's signature
        raise RuntimeError("EXTERNAL asks nothing")
