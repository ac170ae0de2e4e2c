"""The credentials that exchanges hand to the portal: frozen, with every secret masked in the repr."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import md5
from typing import Any

from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from zope.interface import Attribute, implementer

from mailserver.interfaces import UserId
from mailserver.reasons import INVALID_NAME, Reason


@implementer(IUsernamePassword)
@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password as they came over the wire, verbatim (USER and PASS, SASL PLAIN and LOGIN)."""

    username: bytes
    password: bytes = field(repr=False)
    second: bytes = field(default=b"", repr=False)
    """The password after SASLprep, tried after the typed one; b"" where SASLprep changes nothing."""

    def checkPassword(self, password: bytes) -> bool:
        """Whether `password`, the stored one, is the given one; in constant time."""
        return hmac.compare_digest(self.password, password)


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, slots=True)
class Apop:
    """RFC 1939 section 7: `digest` is the hexadecimal MD5 of the greeting's stamp (`magic`) and the shared secret.

    The fields are those of Twisted's APOPCredentials, so checkers for APOPCredentials work unchanged.
    """

    magic: bytes
    username: bytes
    digest: bytes = field(repr=False)

    def checkPassword(self, password: bytes) -> bool:
        """Whether the digest was made with `password`; in constant time."""
        expected = md5(self.magic + password, usedforsecurity=False).hexdigest().encode("ascii")
        return hmac.compare_digest(expected, self.digest)


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, slots=True)
class CramMd5:
    """RFC 2195: `digest` is the hexadecimal HMAC-MD5 of `challenge` under the shared secret.

    The fields are those of Twisted's CramMD5Credentials.
    """

    username: bytes
    challenge: bytes
    response: bytes = field(repr=False)

    def checkPassword(self, password: bytes) -> bool:
        """Whether the response was made with `password`; in constant time."""
        expected = hmac.digest(password, self.challenge, "md5").hex().encode("ascii")
        return hmac.compare_digest(expected, self.response)


class IVerifiedIdentity(ICredentials):
    """A user whom a SASL exchange has authenticated; the checker decides only whether the user has an account."""

    username: bytes = Attribute("The authenticated user's name.")
    user_id: UserId | None = Attribute("The user, if the oracle has read it during this login.")


@implementer(IVerifiedIdentity)
@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """The result of SCRAM, DIGEST-MD5, EXTERNAL or a bearer token that succeeded; made only after the proof."""

    username: bytes
    user_id: UserId | None = field(default=None, repr=False, compare=False)


class IUnproven(ICredentials):
    """A login whose SASL exchange failed. Its checker only gives the reason of the refusal."""

    username: bytes = Attribute("The name that the client gave.")


@implementer(IUnproven)
@dataclass(frozen=True, slots=True)
class Unproven:
    """The result of an exchange that failed: refused, delayed and counted like a wrong password."""

    username: bytes
    reason: str = field(default="", compare=False)
    """The reason, for the log; "" where the checkers explain why the proof by `mechanism` was wrong."""
    mechanism: bytes = field(default=b"", compare=False)
    """The mechanism's name in `IVerifiers`."""
    why: Reason = field(default=INVALID_NAME, compare=False)
    """What the reason is one of, where there is one."""


class IActingFor(ICredentials):
    """Credentials of one user, for the maildrop of another."""

    credentials: ICredentials = Attribute("The acting user's own.")
    username: bytes = Attribute("The acting user's name.")
    authzid: bytes = Attribute("The other user's name: SASL's authorization identity.")


@implementer(IActingFor)
@dataclass(frozen=True, slots=True)
class ActingFor:
    """Credentials with an authorization identity. It is a type of its own so that no checker accepts it by mistake."""

    credentials: Password | VerifiedIdentity
    authzid: bytes

    @property
    def username(self) -> bytes:
        """The user whose password is verified, and may be guessed."""
        return self.credentials.username


class IBearerToken(ICredentials):
    """An OAuth 2.0 bearer token (RFC 6750)."""

    token: bytes = Attribute("As in the Authorization field, without the scheme.")


@implementer(IBearerToken)
@dataclass(frozen=True, slots=True)
class BearerToken:
    """A bearer token; the token names its owner. It is also a request to the oracle."""

    token: bytes = field(repr=False)
    claimed: bytes = field(default=b"", compare=False)
    """The user name that the client gave, if any; only the throttle uses it."""


class IKerberosIdentity(ICredentials):
    """A principal that Kerberos has verified; the checker decides only which maildrop it may open."""

    principal: str = Attribute("As Kerberos writes it: ``alice@EXAMPLE.ORG``.")
    username: bytes = Attribute('The requested maildrop; b"" for the principal\'s own.')


@implementer(IKerberosIdentity)
@dataclass(frozen=True, slots=True)
class KerberosIdentity:
    """The result of KPOP or SASL GSSAPI: made only after the ticket was verified."""

    principal: str
    username: bytes


NO_NAME = INVALID_NAME.words
"""The reason where `names.user_name` accepts no name."""


def proven(credentials: Credentials) -> bool:
    """Whether the proof was verified before the portal: the portal then verifies no secret, and nobody can guess there."""
    own = credentials.credentials if isinstance(credentials, ActingFor) else credentials
    return isinstance(own, (VerifiedIdentity, KerberosIdentity))


def renamed(credentials: Any, read: Callable[[bytes], str | None]) -> Any:
    """The credentials with each name replaced by `read`'s canonical one; `Unproven` where `read` accepts no name.

    An authorization identity that is another spelling of the user's own name is dropped. A digest over the name as the
    client spelled it stays unchanged.
    """
    if isinstance(credentials, ActingFor):
        own = renamed(credentials.credentials, read)
        authzid = read(credentials.authzid)
        if authzid is None or isinstance(own, Unproven):
            return own if isinstance(own, Unproven) else Unproven(credentials.username, NO_NAME)
        octets = authzid.encode("utf-8")
        return own if octets == own.username else replace(credentials, credentials=own, authzid=octets)
    if isinstance(credentials, KerberosIdentity) and not credentials.username:
        return credentials
    name = read(credentials.username)
    if name is None:
        return Unproven(credentials.username, NO_NAME)
    octets = name.encode("utf-8")
    return credentials if octets == credentials.username else replace(credentials, username=octets)


Credentials = Password | Apop | CramMd5 | VerifiedIdentity | Unproven | ActingFor | KerberosIdentity
"""What a session hands to the portal."""
