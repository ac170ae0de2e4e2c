"""The file of an ``oauth2:`` checker: where tokens come from, for whom they are good, and how they are verified.

A file of its own, because it holds the secret that introspection needs: only the serving user should read it.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mailserver.errors import Unusable

ALGORITHMS = frozenset(
    f"{family}{size}" for family in ("RS", "PS", "ES", "HS") for size in ("256", "384", "512")
) | frozenset({"Ed25519"})
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
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    """The signatures that JWTs may have."""
    introspection: str = ""
    """The URL of RFC 7662: the issuer is asked about each token."""
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    timeout_seconds: float = 5.0
    """How long introspection may take."""
    cache_seconds: float = 60.0
    """How long an answer of it holds: a token that is revoked meanwhile still opens maildrops."""


def read_settings(path: str) -> OAuthSettings:
    """The settings of a file. Errors: OAuthFileError."""
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise OAuthFileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:  # the parser's own words may quote the line, and with it the secret
        raise OAuthFileError(f"{path}: is not TOML") from None
    settings = OAuthSettings(**{name: _value(path, name, value) for name, value in data.items()})
    for problem in _problems(settings):
        raise OAuthFileError(f"{path}: {problem}")
    return settings


def _value(path: str, name: str, value: object) -> Any:
    defaults = {item.name: item.default for item in fields(OAuthSettings)}
    if name not in defaults:
        matches = difflib.get_close_matches(name, defaults, n=1)
        raise OAuthFileError(f'{path}: unknown setting "{name}"' + "".join(f'; did you mean "{it}"?' for it in matches))
    match defaults[name], value:
        case str(), str():
            return value
        case float(), int() | float() if not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return float(value)
        case tuple(), list() if value and all(each in ALGORITHMS for each in value):
            return tuple(value)
        case tuple(), _:
            raise OAuthFileError(f"{path}: {name} must be a list out of {', '.join(sorted(ALGORITHMS))}")
    raise OAuthFileError(f"{path}: {name} must be a {'string' if name not in _SECONDS else 'number above 0'}")


_SECONDS = frozenset({"timeout_seconds", "cache_seconds"})


def _problems(settings: OAuthSettings) -> list[str]:
    """What cannot stand together."""
    found = []
    if not (settings.keys or settings.introspection):
        found.append("nothing could verify a token: give keys, or introspection, or both")
    if settings.keys and not (settings.issuer and settings.audience):
        found.append("keys need an issuer and an audience: else a token for any other service would do")
    if settings.introspection and not _private(settings.introspection):
        found.append("introspection must be an https: URL: tokens and the secret go there")
    return found


def _private(url: str) -> bool:
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
