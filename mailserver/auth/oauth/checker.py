"""The ``oauth2:`` checker: it finds the owner of a bearer token by the issuer's public keys or by asking the issuer.

It imports the extra ``oauth`` at its top, so that nothing is left to import after the process has given up root.
"""

from __future__ import annotations

import json
import secrets
import time
from base64 import urlsafe_b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet
from twisted.cred.checkers import ICredentialsChecker
from twisted.internet.defer import Deferred, execute, succeed
from twisted.logger import Logger
from zope.interface import implementer

from mailserver import reasons
from mailserver.auth.oauth.introspection import Introspection
from mailserver.auth.oauth.settings import OAuthFileError, OAuthSettings, owner, read_settings, why_not_good
from mailserver.credentials import IBearerToken
from mailserver.errors import LoginRefused, TemporaryFailure, Unusable
from mailserver.foresight import IForesees, Prospect, Way
from mailserver.interfaces import IPart

MAX_REMEMBERED = 10_000
"""Tokens whose owner the issuer has named; about 2 MB."""

ISSUER_DOWN = "the issuer does not answer now, so that only a JWT that one of its keys has signed gets in: see the log"
"""What `mailserver explain` says."""

log = Logger()


@implementer(ICredentialsChecker, IForesees, IPart)
class OAuthTokens:
    """A checker of bearer tokens, with its settings in a file. Call `start` before the first login."""

    credentialInterfaces = (IBearerToken,)  # noqa: N815 - ICredentialsChecker names it so

    def __init__(self, path: str, *, wall: Callable[[], float] = time.time) -> None:
        self._path = path
        self._wall = wall
        self._issuer: _Issuer | None = None
        self._reactor: Any = None

    def __repr__(self) -> str:
        return f"OAuthTokens({self._path!r})"

    def start(self, reactor: Any) -> Deferred[None]:
        """Read the files. Errors: OAuthFileError, NoThreads."""
        self._reactor = reactor
        return execute(self._load)

    def _load(self) -> None:
        issuer = _Issuer(read_settings(self._path), self._reactor)
        issuer.start()
        self._issuer = issuer

    def stop(self) -> Deferred[None]:
        """Close the connections to the issuer."""
        issuer, self._issuer = self._issuer, None
        return succeed(None) if issuer is None else issuer.stop()

    def reload(self) -> Deferred[None]:
        """Read the files again, since an issuer may change its keys. While they are broken, the old state stays in use."""
        old = self._issuer
        if old is None:
            return succeed(None)
        try:
            self._load()
        except Unusable as error:
            log.warn("{reason}; the old settings stay in use", event="auth.oauth", reason="; ".join(error.problems))
            return succeed(None)
        return old.stop()

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The name of the token's owner. Errors: UnauthorizedLogin, TemporaryFailure."""
        if self._issuer is None:
            raise RuntimeError(f"{self!r} was not started")
        return Deferred.fromCoroutine(self._issuer.owner(credentials.token, self._wall()))

    def foresee(self, name: bytes, mechanism: bytes) -> Deferred[Prospect]:  # noqa: ARG002 - the token names the user
        """Whether it can be told now whose a token is. Errors: TemporaryFailure."""
        if self._issuer is None:
            raise RuntimeError(f"{self!r} was not started")
        return Deferred.fromCoroutine(self._issuer.foresee(name))


class _Issuer:
    """The state from one reading of the files; a reload replaces it as a whole."""

    def __init__(self, settings: OAuthSettings, reactor: Any) -> None:
        self._settings = settings
        self._keys = _read_keys(settings.keys) if settings.keys else None
        self._introspection = Introspection(settings, reactor) if settings.introspection else None
        self._memory = _Remembered(settings.cache_seconds)

    def start(self) -> None:
        if self._introspection is not None:
            self._introspection.start()

    def stop(self) -> Deferred[None]:
        return succeed(None) if self._introspection is None else self._introspection.stop()

    async def foresee(self, name: bytes) -> Prospect:
        """Ask the issuer about a token that is nobody's."""
        ways = [Way("", "", name)]
        if self._introspection is not None:
            try:
                await self._introspection.claims(secrets.token_urlsafe(32).encode("ascii"))
            except TemporaryFailure:
                if self._keys is None:
                    raise
                return Prospect(None, ways, doubt=ISSUER_DOWN, down=True)
        return Prospect(None, ways)

    async def owner(self, token: bytes, now: float) -> bytes | tuple[()]:
        if self._keys is not None and token.count(b".") == 2:  # noqa: PLR2004 - a JWT's three parts (RFC 7515)
            claims = _verified(token, self._keys, self._settings.algorithms)
            if "exp" not in claims:
                raise LoginRefused(reasons.TOKEN, said="the token has no exp claim, so it would never expire")
            name = _owner(self._settings, claims, now)
        elif self._introspection is not None:
            known = self._memory.owner(token, now)
            if known is not None:
                return known
            answer = await self._introspection.claims(token)
            if answer is None:
                raise LoginRefused(reasons.TOKEN, said="the issuer says that the token is not active")
            name = _owner(self._settings, answer, now)
            self._memory.remember(token, name, answer, now)
        else:
            raise LoginRefused(reasons.TOKEN, said="the token is not a JWT, and no introspection is configured")
        return name


def _owner(settings: OAuthSettings, claims: Mapping[str, object], now: float) -> bytes:
    """The owner, by `settings.owner`. Errors: LoginRefused."""
    name = owner(settings, claims, now)
    if name is None:
        raise LoginRefused(reasons.TOKEN, said=why_not_good(settings, claims, now))
    return name


class _Remembered:
    """The owners of tokens by the issuer's answers; the tokens are stored as hashes, under a random key of the process."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, tuple[bytes, float]] = OrderedDict()

    def owner(self, token: bytes, now: float) -> bytes | None:
        name, until = self._known.get(self._hash(token), (b"", 0.0))
        return name if now < until else None

    def remember(self, token: bytes, name: bytes, claims: Mapping[str, Any], now: float) -> None:
        until = min(now + self._seconds, claims.get("exp", now + self._seconds))
        self._known[self._hash(token)] = name, until
        if len(self._known) > MAX_REMEMBERED:
            self._known.popitem(last=False)

    def _hash(self, token: bytes) -> bytes:
        return blake2b(token, key=self._key, digest_size=32).digest()


def _read_keys(path: str) -> KeySet:
    """The public keys of a JWK Set. Errors: OAuthFileError."""
    try:
        return KeySet.import_key_set(json.loads(Path(path).read_bytes()))
    except OSError as error:
        raise OAuthFileError(f"{path}: cannot be read: {error.strerror}") from None
    except (JoseError, ValueError, LookupError, TypeError):
        raise OAuthFileError(f"{path}: is not a JWK Set (RFC 7517)") from None


def _verified(token: bytes, keys: KeySet, algorithms: tuple[str, ...]) -> Mapping[str, object]:
    """The claims of a JWT that one of the keys has signed, by one of the algorithms. Errors: LoginRefused.

    A token need not name its key (RFC 7515 section 4.1.4): then each key for signatures is tried.
    """
    try:
        return jwt.decode(token, keys, algorithms=algorithms).claims
    except InvalidKeyIdError:
        signing = (key for key in keys.keys if key.as_dict(private=False).get("use", "sig") == "sig")
        tried = (_tried(token, key, algorithms) for key in signing)
        claims = None if _names_its_key(token) else next((each for each in tried if each is not None), None)
        if claims is None:
            raise LoginRefused(reasons.TOKEN, said="the token's signature was made by no key of the set") from None
        return claims
    except (JoseError, ValueError, TypeError, RecursionError) as error:  # TypeError: a header such as {"crit": null}
        raise LoginRefused(
            reasons.TOKEN, said=f"the token is not a JWT that can be verified: {type(error).__name__}"
        ) from None


def _names_its_key(token: bytes) -> bool:
    header = token.partition(b".")[0]
    return "kid" in json.loads(urlsafe_b64decode(header + b"=" * (-len(header) % 4)))


def _tried(token: bytes, key: Any, algorithms: tuple[str, ...]) -> Mapping[str, object] | None:
    try:
        return jwt.decode(token, key, algorithms=algorithms).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return None
