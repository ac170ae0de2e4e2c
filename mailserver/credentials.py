"""Credentials as the exchanges hand them to the portal: frozen, and with every secret masked in their repr."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import md5
from typing import Any

from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from zope.interface import Attribute, implementer


@implementer(IUsernamePassword)
@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password as they came over the wire, verbatim (USER and PASS, SASL PLAIN and LOGIN)."""

    username: bytes
    password: bytes = field(repr=False)
    second: bytes = field(default=b"", repr=False)
    """The password in SASLprep's spelling, to be tried after the one that was typed; b"" where there is no other."""

    def checkPassword(self, password: bytes) -> bool:
        """Whether `password`, the stored one, is the one given; in time that does not tell where they differ."""
        return hmac.compare_digest(self.password, password)


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, slots=True)
class Apop:
    """RFC 1939 section 7: `digest` is the hexadecimal MD5 of the greeting's stamp (`magic`) and the shared secret.

    The fields are those of Twisted's APOPCredentials, so checkers written for these work unchanged.
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

    The names are those of Twisted's CramMD5Credentials.
    """

    username: bytes
    challenge: bytes
    response: bytes = field(repr=False)

    def checkPassword(self, password: bytes) -> bool:
        """Whether the response was made with `password`; in constant time."""
        expected = hmac.digest(password, self.challenge, "md5").hex().encode("ascii")
        return hmac.compare_digest(expected, self.response)


class IVerifiedIdentity(ICredentials):
    """A user who gave proof of himself within a SASL exchange; what is left is whether he has an account."""

    username: bytes = Attribute("Who he is.")


@implementer(IVerifiedIdentity)
@dataclass(frozen=True, slots=True)
class VerifiedIdentity:
    """How SCRAM, DIGEST-MD5, EXTERNAL and the bearer tokens end well: only the server makes it, after the proof."""

    username: bytes


class IUnproven(ICredentials):
    """A user who gave no proof of himself. Its checker says why he is refused, and nothing else."""

    username: bytes = Attribute("Who he says he is.")


@implementer(IUnproven)
@dataclass(frozen=True, slots=True)
class Unproven:
    """How they end otherwise: it is refused, delayed and counted as a wrong password is."""

    username: bytes
    reason: str = field(default="", compare=False)
    """What was wrong, for the log; "" where the checkers know better: the proof by `mechanism` did not fit."""
    mechanism: bytes = field(default=b"", compare=False)
    """As `IVerifiers` names it."""


class IActingFor(ICredentials):
    """Credentials of one user who asks for the maildrop of another."""

    credentials: ICredentials = Attribute("His own.")
    username: bytes = Attribute("Who he is.")
    authzid: bytes = Attribute("For whom he acts: SASL's authorization identity.")


@implementer(IActingFor)
@dataclass(frozen=True, slots=True)
class ActingFor:
    """What an authorization identity makes of credentials. A checker that does not know it cannot take it by mistake."""

    credentials: Password | VerifiedIdentity
    authzid: bytes

    @property
    def username(self) -> bytes:
        """Who gives proof of himself: whose password it is that may be guessed."""
        return self.credentials.username


class IBearerToken(ICredentials):
    """A token of OAuth 2.0 (RFC 6750)."""

    token: bytes = Attribute("As in the Authorization field, without the scheme.")


@implementer(IBearerToken)
@dataclass(frozen=True, slots=True)
class BearerToken:
    """A token, which says itself whose it is. It is a question to the oracle, too."""

    token: bytes = field(repr=False)
    claimed: bytes = field(default=b"", compare=False)
    """Who its bearer says he is, if he does; nothing depends on it but how long he waits."""


class IKerberosIdentity(ICredentials):
    """A principal that Kerberos has verified already; what is left to decide is which maildrop it may open."""

    principal: str = Attribute("As Kerberos writes it: ``alice@EXAMPLE.ORG``.")
    username: bytes = Attribute('The maildrop that is asked for; b"" for the principal\'s own.')


@implementer(IKerberosIdentity)
@dataclass(frozen=True, slots=True)
class KerberosIdentity:
    """How a KPOP session and SASL GSSAPI end: only the server makes it, after the ticket was verified."""

    principal: str
    username: bytes


NO_NAME = "no user can have such a name"
"""The reason for what `names.user_name` takes for nobody's."""


def proven(credentials: Credentials) -> bool:
    """Whether the proof was seen already: then no secret is verified at the portal, and nothing can be guessed there."""
    own = credentials.credentials if isinstance(credentials, ActingFor) else credentials
    return isinstance(own, (VerifiedIdentity, KerberosIdentity))


def renamed(credentials: Any, read: Callable[[bytes], str | None]) -> Any:
    """The credentials with each of their names as `read` has it; `Unproven` where one of them is nobody's.

    Who asks for himself by another spelling of his own name acts for nobody else.
    What a client made of the name as it typed it, such as a digest, stays as it is.
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
