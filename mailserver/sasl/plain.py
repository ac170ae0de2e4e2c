"""SASL PLAIN (RFC 4616)."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from mailserver.credentials import Password
from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, IExchange, IMechanism, SaslContext, Step
from mailserver.sasl.acting import acting
from mailserver.saslprep import prepared


def typed(name: bytes, password: bytes) -> Password:
    """Credentials of a typed name and password: RFC 4616 requires SASLprep, but a stored password may be as it was typed."""
    second = prepared(password)
    return Password(prepared(name), password, second if second != password else b"")


@implementer(IMechanism)
class PlainMechanism:
    """Authorization identity, name and password in one message."""

    name = b"PLAIN"
    cleartext = True
    credentials = IUsernamePassword
    asks = b""

    def fits(self, context: SaslContext) -> bool:  # noqa: ARG002 - PLAIN needs nothing of it
        """Everywhere."""
        return True

    def begin(self, context: SaslContext) -> IExchange:  # noqa: ARG002 - PLAIN needs nothing of it
        """Begin an exchange."""
        return _Plain()


@implementer(IExchange)
class _Plain:
    __slots__ = ()

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        match response.split(b"\0"):
            case [authzid, name, password] if name and password:
                return acting(typed(name, password), prepared(authzid))
        raise BadCommand(b"malformed PLAIN response")

    def answer(self, value: object) -> Step:  # noqa: ARG002 - IExchange's signature
        raise RuntimeError("PLAIN asks nothing")
