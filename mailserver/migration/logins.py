"""A login at another server, as SASL has it: by a password, by a master user's password, or by a token."""

from __future__ import annotations

import re
from typing import Final

from mailserver.migration.server import Address
from mailserver.migration.source import SourceError
from mailserver.migration.wire import Refused, TryAgain
from mailserver.migration.words import told

_BUSY: Final = re.compile(rb"\[(?:IN-USE|LOGIN-DELAY|SYS/TEMP|UNAVAILABLE|INUSE|LIMIT)\]", re.IGNORECASE)
"""Codes of POP3 (RFC 2449, 3206) and of IMAP (RFC 5530) for a login that may be let in later."""
_UNSENDABLE: Final = re.compile(r"[\0\r\n\ud800-\udfff]")
"""What would end a line or a part of it, and what is no character: an octet of a command line that was not UTF-8."""


class Denied(SourceError):
    """The server does not let the user in."""


def check(name: str, secret: str, master: str) -> None:
    """Refuse what would be more than one line, or more than one part of a response, or no secret. Errors: SourceError."""
    if not secret:
        raise SourceError(f"there is no password for {name}: the table of users has none, and no master user is given")
    if _UNSENDABLE.search(name + secret + master):
        raise SourceError(f"the name or the secret of {name!r} has an octet that no login can have")


def plain(name: str, secret: str, master: str) -> bytes:
    """PLAIN (RFC 4616); with a `master`, by his password into the mail of `name`."""
    return "\0".join((name if master else "", master or name, secret)).encode()


def bearer(name: str, token: str) -> bytes:
    """XOAUTH2, as Google and Microsoft have it."""
    return f"user={name}\1auth=Bearer {token}\1\1".encode()


def refusal(address: Address, name: str, secret: str, master: str, error: Refused) -> SourceError:
    """The error of a login that the server has refused."""
    by = f" by the master user {master}" if master else ""
    kind = TryAgain if _BUSY.search(error.said) else Denied
    return kind(f"{address} refuses the login of {name}{by}: {told(error.said, secret)}")


def no_tls(address: Address, command: str) -> SourceError:
    """The error of a server that would get a password where others can read it."""
    secure = f"{address.protocol}s"
    return SourceError(
        f"{address} has no TLS ({command}), and a password must not be sent without;"
        f" write {secure}:// if it has another port for it, or tls=none to send it all the same"
    )
