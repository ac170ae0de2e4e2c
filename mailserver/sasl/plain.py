"""SASL PLAIN (RFC 4616)."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from mailserver.credentials import Password
from mailserver.errors import AuthenticationFailed, BadCommand
from mailserver.interfaces import Challenge, Done, IExchange, IMechanism, SaslContext, Step


@implementer(IMechanism)
class PlainMechanism:
    """Authorization identity, name and password in one message."""

    name = b"PLAIN"
    cleartext = True
    credentials = IUsernamePassword

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
                if authzid not in (b"", name):
                    raise AuthenticationFailed  # nobody here may act for another (RFC 4616 section 2)
                return Done(Password(name, password))
        raise BadCommand(b"malformed PLAIN response")

    def answer(self, value: object) -> Step:  # noqa: ARG002 - IExchange's signature
        raise RuntimeError("PLAIN asks nothing")
