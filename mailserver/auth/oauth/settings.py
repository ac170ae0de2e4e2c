"""The file of an ``oauth2:`` checker: where tokens come from, for whom they are good, and how they are verified.

A file of its own, because it holds the secret that introspection needs: only the serving user should read it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal, get_args
from urllib.parse import urlsplit

from mailserver.errors import Unusable
from mailserver.toml import above, read
from mailserver.toml_text import Key

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "HS256",
    "HS384",
    "HS512",
    "Ed25519",
]
"""What may be allowed. "none" is not among them; each needs a key of its own kind, so no public key serves as HS secret."""


class OAuthFileError(Unusable):
    """What is wrong with the file, in words for its operator; no secret is among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OAuthSettings:
    """The settings of the file. Tokens are verified by `keys`, by `introspection`, or by either."""

    username: str = "sub"
    """The claim that names the user."""
    issuer: str = ""
    """The issuer (``iss``) whose tokens are taken; "" takes any, which only introspection may leave so."""
    audience: str = ""
    """What must be among the token's audiences (``aud``): a token for another service must not open a maildrop."""
    scope: str = ""
    """What must be among its scopes; "" asks for none."""
    keys: str = ""
    """A file with a JWK Set (RFC 7517): the issuer's public keys, with which JWTs are verified here."""
    algorithms: tuple[Algorithm, ...] = ("RS256", "ES256")
    """The signatures that JWTs may have."""
    introspection: str = ""
    """The URL of RFC 7662: the issuer is asked about each token."""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    timeout_seconds: float = above(0, default=5.0)
    """How long introspection may take."""
    cache_seconds: float = above(0, default=60.0)
    """How long an answer of it holds: a token that is revoked meanwhile still opens maildrops."""


def read_settings(path: str) -> OAuthSettings:
    """The settings of a file. Errors: OAuthFileError."""
    try:
        return read(path, OAuthSettings, _contradictions)
    except Unusable as error:
        raise OAuthFileError(str(error)) from None


def _contradictions(settings: OAuthSettings) -> Iterator[tuple[Key, str]]:
    if not (settings.keys or settings.introspection):
        yield (), "nothing could verify a token: give keys, or introspection, or both"
    if settings.keys and not (settings.issuer and settings.audience):
        yield ("keys",), "keys need an issuer and an audience: else a token for any other service would do"
    if settings.introspection and not is_private(settings.introspection):
        yield ("introspection",), "introspection must be an https: URL: tokens and the secret go there"
    if not settings.algorithms:
        yield ("algorithms",), f"algorithms must be a list out of {', '.join(get_args(Algorithm))}"


def is_private(url: str) -> bool:
    """Whether nobody can listen on the way: TLS, or this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return bool(parts.hostname)
    try:
        return parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def owner(settings: OAuthSettings, claims: Mapping[str, object], now: float) -> bytes | None:
    """The user whom verified claims name, if they are for this service and this time; else None."""
    name, audience, scope = (claims.get(claim) for claim in (settings.username, "aud", "scope"))
    audiences = audience if isinstance(audience, list) else [audience]
    scopes = scope.split() if isinstance(scope, str) else scope
    good = (
        settings.issuer in ("", claims.get("iss"))
        and (not settings.audience or settings.audience in audiences)
        and (not settings.scope or (isinstance(scopes, list) and settings.scope in scopes))
        and _time(claims, "nbf", 0) - LEEWAY_SECONDS <= now < _time(claims, "exp", math.inf) + LEEWAY_SECONDS
    )
    return name.encode("utf-8", "surrogatepass") if good and isinstance(name, str) and name else None


def why_not_good(settings: OAuthSettings, claims: Mapping[str, object], now: float) -> str:
    """What of verified claims is not as it should be, for the log; no value of the token's is quoted unbounded."""
    audience = claims.get("aud")
    if settings.issuer not in ("", claims.get("iss")):
        return f"the token's issuer is {_quoted(claims.get('iss'))}"
    if settings.audience and settings.audience not in (audience if isinstance(audience, list) else [audience]):
        return f"the token is for {_quoted(audience)}"
    if not _time(claims, "nbf", 0) - LEEWAY_SECONDS <= now:
        return "the token is not yet good"
    if not now < _time(claims, "exp", math.inf) + LEEWAY_SECONDS:
        return "the token has expired"
    if not isinstance(claims.get(settings.username), str) or not claims[settings.username]:
        return f"the token has no name of a user in its claim {settings.username}"
    return f"the token's scopes lack {settings.scope!r}"


def _quoted(value: object) -> str:
    return ascii(value)[:80]


LEEWAY_SECONDS = 30
"""Two clocks are seldom the same."""


def _time(claims: Mapping[str, object], claim: str, default: float) -> float:
    """A NumericDate (RFC 7519 section 2); what is none fits no time at all."""
    value = claims.get(claim, default)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
