"""Credentials as the exchanges hand them to the portal: frozen, and with every secret masked in their repr."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field
from hashlib import md5

from twisted.cred.credentials import ICredentials, IUsernameHashedPassword, IUsernamePassword
from zope.interface import Attribute, implementer


@implementer(IUsernamePassword)
@dataclass(frozen=True, slots=True)
class Password:
    """A name and a password as they came over the wire, verbatim (USER and PASS, SASL PLAIN and LOGIN)."""

    username: bytes
    password: bytes = field(repr=False)

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


Credentials = Password | Apop | KerberosIdentity
"""What a session hands to the portal."""
