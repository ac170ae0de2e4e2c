"""Authorization identities (RFC 4422 section 3.4.1): the user that an authenticated user wants to act for."""

from __future__ import annotations

from mailserver.credentials import ActingFor, Password, VerifiedIdentity
from mailserver.errors import BadCommand
from mailserver.exchange import Done


def acting(credentials: Password | VerifiedIdentity, authzid: bytes) -> Done:
    """The end of an exchange: the credentials alone where `authzid` is b"" or their own name, else `ActingFor`.

    The portal decides whether the user may act for `authzid`: it must verify the proof first, and a refusal must look like
    a wrong password.
    """
    return Done(credentials if authzid in (b"", credentials.username) else ActingFor(credentials, authzid))


def saslname(text: bytes) -> bytes:
    """The octets of a name as GS2 headers and SCRAM write it: ``=2C`` is a comma, ``=3D`` an equals sign.

    RFC 5801 section 4. Errors: BadCommand where anything else begins with an equals sign.
    """
    name = text.replace(b"=2C", b",").replace(b"=3D", b"=")
    if name.replace(b"=", b"=3D").replace(b",", b"=2C") != text:
        raise BadCommand(b"malformed name")
    return name
