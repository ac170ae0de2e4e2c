"""SASL SCRAM-SHA-1 and SCRAM-SHA-256, with and without -PLUS (RFC 5802, RFC 7677).

    client: GS2 header, name, nonce             server: nonce, salt, iterations
    client: channel binding, nonce, proof       server: its own proof, as one more challenge
    client: an empty response

The client learns that the server knows the password's keys; with -PLUS, both learn that no attacker sits between the two
ends of the TLS connection. POP3's ``+OK`` carries no server data, hence the last challenge (RFC 5034 section 4).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable
from typing import Final

from zope.interface import implementer

from mailserver.credentials import IVerifiedIdentity, Unproven, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Ask, Challenge, Done, IExchange, IMechanism, SaslContext, ScramKeys, Step, VerifierOf
from mailserver.reasons import BINDING
from mailserver.sasl.acting import acting, saslname
from mailserver.saslprep import prepared

_FIRST: Final = re.compile(
    rb"(?P<header>(?:(?P<flag>[ny])|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,\0]+))?,)"
    rb"(?P<bare>n=(?P<name>[^,\0]+),r=(?P<nonce>[!-+\x2d-~]+)(?:,[A-Za-z]=[^,\0]+)*)"
)
"""RFC 5802 section 7, client-first-message. ``m=`` at the start would request an extension, and none is defined."""

_FINAL: Final = re.compile(
    rb"(?P<bare>c=(?P<binding>[A-Za-z0-9+/=]+),r=(?P<nonce>[!-+\x2d-~]+)(?:,[A-Za-z]=[^,\0]+)*),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
"""client-final-message."""


@implementer(IMechanism)
class ScramMechanism:
    """One of the family: `digest` is hashlib's name of its hash."""

    cleartext = False
    credentials = IVerifiedIdentity

    def __init__(self, family: bytes, digest: str, *, plus: bool = False) -> None:
        self.name = family + b"-PLUS" if plus else family
        self.asks = family
        self.digest: Final = digest
        self.plus: Final = plus

    def fits(self, context: SaslContext) -> bool:
        """Wherever there is a nonce; with -PLUS, where TLS provides a channel binding."""
        return bool(context.nonce) and (not self.plus or bool(context.bindings))

    def begin(self, context: SaslContext) -> IExchange:
        """Begin an exchange."""
        return _Scram(self, context)


@implementer(IExchange)
class _Scram:
    __slots__ = (
        "_authzid",
        "_bare",
        "_binding",
        "_context",
        "_keys",
        "_mechanism",
        "_name",
        "_nonce",
        "_said",
        "_stage",
    )

    def __init__(self, mechanism: ScramMechanism, context: SaslContext) -> None:
        self._mechanism = mechanism
        self._context = context
        self._stage: Callable[[bytes], Step] = self._first

    def step(self, response: bytes | None) -> Step:
        return Challenge(b"") if response is None else self._stage(response)

    def answer(self, value: object) -> Step:
        if not isinstance(value, ScramKeys):
            raise TypeError("SCRAM asks for ScramKeys")
        self._keys = value
        self._said = b"r=%b,s=%b,i=%d" % (self._nonce, b2a_base64(value.salt, newline=False), value.iterations)
        self._stage = self._final
        return Challenge(self._said)

    def _first(self, response: bytes) -> Step:
        found = _FIRST.fullmatch(response)
        if not found or bool(found["binding"]) is not self._mechanism.plus:
            raise _malformed()
        if found["binding"] and found["binding"] not in self._context.bindings:
            raise BadCommand(b"unsupported channel binding type")
        self._name = prepared(saslname(found["name"]))
        if found["flag"] == b"y" and any(name.endswith(b"-PLUS") for name in self._context.offered):
            return Done(
                Unproven(self._name, "the client did not see -PLUS, which the server offers", why=BINDING)
            )  # an attacker has removed -PLUS from CAPA (RFC 5802 section 6)
        self._authzid = prepared(saslname(found["authzid"] or b""))
        self._binding = found["header"] + (self._context.bindings[found["binding"]] if found["binding"] else b"")
        self._bare = found["bare"]
        self._nonce = found["nonce"] + self._context.nonce
        return Ask(VerifierOf(self._name, self._mechanism.asks))

    def _final(self, response: bytes) -> Step:
        found = _FINAL.fullmatch(response)
        if not found:
            raise _malformed()
        message = b"%b,%b,%b" % (self._bare, self._said, found["bare"])
        right = self._proves(_decoded(found["proof"]), message)
        bound = hmac.compare_digest(_decoded(found["binding"]), self._binding)
        if not (right and bound and found["nonce"] == self._nonce):
            reason = BINDING.words if right and not bound else ""
            return Done(Unproven(self._name, reason, self._mechanism.asks, BINDING))
        self._stage = self._end
        signature = hmac.digest(self._keys.server_key, message, self._mechanism.digest)
        return Challenge(b"v=" + b2a_base64(signature, newline=False))

    def _proves(self, proof: bytes, message: bytes) -> bool:
        """Whether `proof` is the client key XOR the client signature (section 3)."""
        digest, stored = self._mechanism.digest, self._keys.stored_key
        signature = hmac.digest(stored, message, digest)
        if len(proof) != len(signature):
            return False
        key = (int.from_bytes(proof) ^ int.from_bytes(signature)).to_bytes(len(signature))
        return hmac.compare_digest(hashlib.new(digest, key).digest(), stored)

    def _end(self, response: bytes) -> Step:
        if response:
            raise _malformed()
        return acting(VerifiedIdentity(self._name, self._keys.user_id), self._authzid)


def _malformed() -> BadCommand:
    return BadCommand(b"malformed SCRAM message")


def _decoded(text: bytes) -> bytes:
    try:
        return a2b_base64(text, strict_mode=True)
    except Base64Error:
        raise _malformed() from None
