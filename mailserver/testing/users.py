"""The users of a server for tests: a checker that knows passwords in clear, and answers every mechanism at once."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import md5
from secrets import token_bytes
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.internet.defer import Deferred, execute, succeed
from zope.interface import implementer

from mailserver.auth.scram_keys import DIGESTS, ITERATIONS, derive
from mailserver.credentials import IBearerToken
from mailserver.errors import LoginRefused
from mailserver.interfaces import Census, IUsers, IVerifiers, User, UserId
from mailserver.saslprep import prepared
from mailserver.testing.maildrops import Maildrop


@implementer(ICredentialsChecker, IUsers, IVerifiers)
class KnownUsers:
    """The checker over the maildrops by their users' names, which may change at any time.

    Nothing here hides who exists, as the checkers of a real site do: a test may know.
    """

    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, IBearerToken)  # noqa: N815 - ICredentialsChecker's

    def __init__(self, users: Mapping[str, Maildrop]) -> None:
        self._users = users

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """The user whose password, digest or token it is. Errors: LoginRefused."""
        return execute(self._by_token if IBearerToken.providedBy(credentials) else self._by_password, credentials)

    def lookup(self, name: str) -> Deferred[User | None]:
        """The user with this name."""
        return succeed(User(name) if name in self._users else None)

    def mechanisms(self) -> frozenset[bytes]:
        """All that a password in clear can serve."""
        return frozenset({*DIGESTS, b"DIGEST-MD5"})

    def verifier(self, name: bytes, mechanism: bytes, realm: bytes = b"", typed: bytes = b"") -> Deferred[object]:
        """At once, for milliseconds: a test has few logins."""
        password = self._password(name)
        if mechanism == b"DIGEST-MD5":
            return succeed(md5(b":".join((typed or name, realm, password)), usedforsecurity=False).digest())
        return succeed(derive(prepared(password), token_bytes(16), ITERATIONS, DIGESTS[mechanism]))

    def census(self) -> Census:
        """Everybody can use everything."""
        return Census()

    def explain(self, name: str, mechanism: bytes) -> LoginRefused:  # noqa: ARG002 - IVerifiers
        """For the log."""
        return LoginRefused("wrong password") if name in self._users else LoginRefused("unknown user", known=False)

    def _password(self, name: bytes) -> bytes:
        """The user's password; for nobody one that nobody can give."""
        maildrop = self._users.get(name.decode("utf-8", "surrogateescape"))
        return token_bytes(16) if maildrop is None else maildrop.password.encode("utf-8")

    def _by_password(self, credentials: Any) -> bytes:
        name: bytes = credentials.username
        if credentials.checkPassword(self._password(name)):
            return UserId(name, User(name.decode("utf-8")))
        raise self.explain(name.decode("utf-8", "replace"), b"")

    def _by_token(self, credentials: Any) -> bytes:
        token: bytes = credentials.token
        for name, maildrop in list(self._users.items()):
            if maildrop.token and hmac.compare_digest(maildrop.token.encode("utf-8"), token):
                return UserId(name.encode("utf-8"), User(name))
        raise LoginRefused("unknown token", known=None)
