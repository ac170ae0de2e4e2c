"""What a SASL exchange, the oracle that it asks and the connection that carries both say to one another.

An exchange is pure: it takes responses and answers, and gives challenges, questions and at last credentials. What it may
know of the world stands in its `SaslContext`; whatever needs a stored secret or a ticket goes to `interfaces.IOracle`.
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
    """What the connection gives to a new SASL exchange."""

    hostname: bytes
    tls: bool
    nonce: bytes = b""
    """Octets that nobody can foresee, new for each exchange, of letters and digits; b"" where there are none."""
    bindings: Mapping[bytes, bytes] = field(default_factory=dict)
    """TLS channel bindings by their registered names (RFC 5056), ``tls-exporter`` and the like; made when looked up."""
    identities: tuple[bytes, ...] = ()
    """Whom the client's certificate names, once TLS has verified it; the first is who he is by default."""
    offered: frozenset[bytes] = frozenset()
    """The mechanisms that this client could have read in CAPA."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """A server challenge, before base64."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ask:
    """The exchange needs the oracle's answer to `request` before it goes on."""

    request: object


@dataclass(frozen=True, slots=True)
class Done:
    """The exchange is over: these credentials go to the portal."""

    credentials: Credentials


Step = Challenge | Ask | Done


class IExchange(Interface):
    """One pure SASL exchange. A response that does not fit raises a Refusal."""

    def step(response: bytes | None) -> Step:
        """Take the client's response; None when AUTH came without an initial response (RFC 5034 section 4)."""

    def answer(value: object) -> Step:
        """Take the oracle's answer to the last `Ask`."""


class IMechanism(Interface):
    """A SASL mechanism (RFC 4422), as announced and begun."""

    name: bytes = Attribute("As in CAPA's SASL line.")
    cleartext: bool = Attribute("Whether it shows the password: refused where passwords may not cross the line.")
    credentials: type[Interface] = Attribute(
        "The credentials interface it ends in, or asks about; announced if a checker takes it."
    )
    asks: bytes = Attribute('What `IOracle.mechanisms` must have for it; b"" where its credentials say enough.')

    def fits(context: SaslContext) -> bool:
        """Whether it can be used over this connection; cleartext or not is looked at elsewhere."""

    def begin(context: SaslContext) -> IExchange:
        """A new exchange, where it `fits`."""


@dataclass(frozen=True, slots=True)
class VerifierOf:
    """A request to the oracle: what `mechanism` needs of `username`'s stored secret."""

    username: bytes
    mechanism: bytes
    realm: bytes = b""
    typed: bytes = b""
    """The name as the client has it in its digest, where `username` is another spelling of it."""


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What proves a password, and what proves to the client that the server knew it (RFC 5802 section 3).

    Neither is the password.
    """

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)
    user_id: UserId | None = field(default=None, repr=False, compare=False)
    """The user, if the oracle has read him with the keys; the exchange hands him on in its `VerifiedIdentity`."""


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
    """A request to the oracle: take a GSS-API context a step further. It is answered by `GssProgress`."""

    token: bytes = field(repr=False)
    context: object = None
    """What the last `GssProgress` gave; None begins a context."""
    bindings: bytes = b""
    """Channel bindings (RFC 5056), with their prefix; b"": none."""


@dataclass(frozen=True, slots=True)
class GssProgress:
    """How far a GSS-API context has come."""

    context: object
    token: bytes = field(repr=False)
    """For the client; b"" when there is none."""
    principal: str | None = None
    """The client's, with its realm, once the context is established."""


@dataclass(frozen=True, slots=True)
class GssWrap:
    """A request to the oracle: the token that carries `message`, unencrypted (RFC 2743, GSS_Wrap)."""

    message: bytes
    context: object


@dataclass(frozen=True, slots=True)
class GssUnwrap:
    """A request to the oracle: the message that a token carries (RFC 2743, GSS_Unwrap)."""

    token: bytes = field(repr=False)
    context: object
