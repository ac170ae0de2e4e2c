"""The types that a SASL exchange, the connection and the oracle pass to one another.

An exchange is pure: it takes responses and the oracle's answers, and gives challenges, requests and finally credentials. Its
`SaslContext` holds all that it may know of the connection; requests that need a stored secret or a ticket go to
`interfaces.IOracle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from zope.interface import Attribute, Interface

from mailserver.credentials import Credentials
from mailserver.interfaces import UserId


@dataclass(frozen=True, slots=True)
class SaslContext:
    """The connection's data for a new SASL exchange."""

    hostname: bytes
    tls: bool
    nonce: bytes = b""
    """Random letters and digits, new for each exchange; b"" where there are none."""
    bindings: Mapping[bytes, bytes] = field(default_factory=dict)
    """TLS channel bindings by their registered names (RFC 5056), such as ``tls-exporter``; computed when looked up."""
    identities: tuple[bytes, ...] = ()
    """The users that the client's verified certificate names; the first is the default."""
    offered: frozenset[bytes] = frozenset()
    """The mechanisms that CAPA shows to this client."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server challenge, before base64."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """The exchange needs the oracle's answer to `request` to go on."""

    request: object


@dataclass(frozen=True, slots=True)
class Done:
    """The exchange is over: these credentials go to the portal."""

    credentials: Credentials


Step = Challenge | Ask | Done


class IExchange(Interface):
    """One pure SASL exchange. A wrong response raises a Refusal."""

    def step(response: bytes | None) -> Step:
        """Take the client's response; None when AUTH came without an initial response (RFC 5034 section 4)."""

    def answer(value: object) -> Step:
        """Take the oracle's answer to the last `Ask`."""


class IMechanism(Interface):
    """A SASL mechanism (RFC 4422), which makes exchanges."""

    name: bytes = Attribute("The name in CAPA's SASL line.")
    cleartext: bool = Attribute("Whether it reveals the password: refused where passwords must not cross the line.")
    credentials: type[Interface] = Attribute(
        "The interface of the credentials in its `Done`, or in its `Ask`; announced if a checker accepts it."
    )
    asks: bytes = Attribute('The name that `IOracle.mechanisms` must contain for it; b"": `credentials` alone decides.')

    def fits(context: SaslContext) -> bool:
        """Whether it works over this connection; whether cleartext is allowed is decided elsewhere."""

    def begin(context: SaslContext) -> IExchange:
        """A new exchange; only where it `fits`."""


@dataclass(frozen=True, slots=True)
class VerifierOf:
    """A request to the oracle: the keys that `mechanism` needs, derived from `username`'s stored secret."""

    username: bytes
    mechanism: bytes
    realm: bytes = b""
    typed: bytes = b""
    """The name in the client's digest, where `username` is another spelling of it."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """The stored key, which verifies a client's proof, and the server key, which makes the server's (RFC 5802 section 3).

    Neither reveals the password.
    """

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    user_id: UserId | None = field(default=None, repr=False, compare=False)
    """The user, if the oracle has read it with the keys; the exchange passes it on in its `VerifiedIdentity`."""


class DigestKey(bytes):
    """What DIGEST-MD5 needs, an MD5 (RFC 2831): the octets are all of it; `user_id` is as that of `ScramKeys`."""

    user_id: UserId | None

    def __new__(cls, md5: bytes, user_id: UserId | None) -> Self:
        """Make one of the octets."""
        made = super().__new__(cls, md5)
        made.user_id = user_id
        return made


@dataclass(frozen=True, slots=True)
class GssToken:
    """A request to the oracle: do a step of a GSS-API context. The answer is `GssProgress`."""

    token: bytes = field(repr=False)
    context: object = None
    """The context of the last `GssProgress`; None begins a new one."""
    bindings: bytes = b""
    """Channel bindings (RFC 5056), with their prefix; b"": none."""


@dataclass(frozen=True, slots=True)
class GssProgress:
    """The result of a GSS-API step."""

    context: object
    token: bytes = field(repr=False)
    """The token for the client; b"" when there is none."""
    principal: str | None = None
    """The client's principal, with its realm, once the context is established."""


@dataclass(frozen=True, slots=True)
class GssWrap:
    """A request to the oracle: a token that contains `message`, unencrypted (RFC 2743, GSS_Wrap)."""

    message: bytes
    context: object


@dataclass(frozen=True, slots=True)
class GssUnwrap:
    """A request to the oracle: the message in a token (RFC 2743, GSS_Unwrap)."""

    token: bytes = field(repr=False)
    context: object
