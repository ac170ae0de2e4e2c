"""SASL GSSAPI (RFC 4752): Kerberos V5, with the GSS-API contexts that the oracle keeps.

    client: tokens until the context is established       server: the context's own, if it has one
    server: its security layers, wrapped                  client: its choice and the authorization identity, wrapped

The server offers no security layer: TLS does that work, and no POP3 client needs one.
"""

from __future__ import annotations

from typing import Final

from zope.interface import implementer

from mailserver.credentials import IKerberosIdentity, KerberosIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import (
    Ask,
    Challenge,
    Done,
    GssProgress,
    GssToken,
    GssUnwrap,
    GssWrap,
    IExchange,
    IMechanism,
    SaslContext,
    Step,
)

NO_LAYER: Final = b"\1\0\0\0"
"""RFC 4752 section 3.3: the bit for "no security layer", and a buffer size of 0. The client's choice has the same form."""

END_POINT: Final = b"tls-server-end-point"
"""The channel binding (RFC 5929 section 4) that Windows and libsasl2 use with Kerberos; it does not disturb other clients."""


@implementer(IMechanism)
class GssapiMechanism:
    """A Kerberos ticket, and the name of a maildrop."""

    name = b"GSSAPI"
    cleartext = False
    credentials = IKerberosIdentity
    asks = b"GSSAPI"

    def fits(self, context: SaslContext) -> bool:  # noqa: ARG002 - IMechanism's signature
        """Everywhere."""
        return True

    def begin(self, context: SaslContext) -> IExchange:
        """Begin an exchange."""
        binding = context.bindings.get(END_POINT)
        return _Gssapi(b"" if binding is None else b"%b:%b" % (END_POINT, binding))


@implementer(IExchange)
class _Gssapi:
    __slots__ = ("_bindings", "_context", "_offered", "_principal")

    def __init__(self, bindings: bytes) -> None:
        self._bindings = bindings
        self._context: object = None
        self._principal: str | None = None  # the client's, once the context is established
        self._offered = False  # whether the security layers were sent to the client

    def step(self, response: bytes | None) -> Step:
        if response is None:
            return Challenge(b"")
        if self._principal is None:
            return Ask(GssToken(response, self._context, self._bindings))
        if self._offered:
            return Ask(GssUnwrap(response, self._context))
        if response:
            raise BadCommand(b"malformed GSSAPI response")  # the answer to our last token must be empty
        return self._offer()

    def answer(self, value: object) -> Step:
        match value:
            case GssProgress(context, token, principal):
                self._context, self._principal = context, principal
                return self._offer() if principal is not None and not token else Challenge(token)
            case bytes() if self._offered:
                return self._chosen(value)
            case bytes():
                self._offered = True
                return Challenge(value)
        raise TypeError(f"GSSAPI did not ask for {type(value).__name__}")

    def _offer(self) -> Step:
        return Ask(GssWrap(NO_LAYER, self._context))

    def _chosen(self, message: bytes) -> Step:
        """Read the client's choice and the authorization identity, which is empty for the principal's own maildrop."""
        if self._principal is None or not message.startswith(NO_LAYER):
            raise BadCommand(b"no security layer was offered but none")
        identity = message[len(NO_LAYER) :].removesuffix(b"\0")  # fetchmail up to 6.3 sends its string's NUL as well
        return Done(KerberosIdentity(self._principal, identity))
