"""SASL LOGIN (draft-murchison-sasl-login): obsolete, but some scanners and old mail clients have no other mechanism."""

from __future__ import annotations

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

from mailserver.errors import BadCommand
from mailserver.exchange import Challenge, Done, IExchange, IMechanism, SaslContext, Step
from mailserver.sasl.plain import typed


@implementer(IMechanism)
class LoginMechanism:
    """A name and a password, each in the response to a challenge."""

    name = b"LOGIN"
    cleartext = True
    credentials = IUsernamePassword
    asks = b""

    def fits(self, context: SaslContext) -> bool:  # noqa: ARG002 - LOGIN needs nothing of it
        """Everywhere."""
        return True

    def begin(self, context: SaslContext) -> IExchange:  # noqa: ARG002 - LOGIN needs nothing of it
        """Begin an exchange."""
        return _Login()


@implementer(IExchange)
class _Login:
    __slots__ = ("_name",)

    def __init__(self) -> None:
        self._name: bytes | None = None

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"Username:")
        if not response:
            raise BadCommand(b"malformed LOGIN response")
        if self._name is None:
            self._name = response
            return Challenge(b"Password:")
        return Done(typed(self._name, response))

    def answer(self, value: object) -> Step:  # noqa: ARG002 - IExchange's signature
        raise RuntimeError("LOGIN asks nothing")
