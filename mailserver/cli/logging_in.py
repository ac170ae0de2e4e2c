"""What ``mailserver login`` does: a session of a client, and what it saw."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from cryptography import x509

from mailserver.cli.places import NoPlace, first
from mailserver.config.kinds import KINDS
from mailserver.config.problems import load_usable
from mailserver.errors import ConfigError
from mailserver.migration.logins import Denied
from mailserver.migration.pop3_client import Client
from mailserver.migration.server import PORTS, Address, Trust
from mailserver.migration.source import SourceError
from mailserver.migration.wire import Patience, TryAgain, Unreachable

_DAY: Final = 86_400


class NoPort(Exception):
    """The settings name no port that can be asked. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Where to log in, and how."""

    user: str
    secret: str
    host: str = ""
    port: int | None = None
    listener: str | None = None
    mechanism: str | None = None
    tls: str | None = None
    ca: str = ""
    timeout: float = 10.0
    config: str = ""


class Trouble(NamedTuple):
    """Why it did not end well."""

    text: str
    status: int


Seen = dict[str, Any]


def visit(given: Visit) -> tuple[Seen, Trouble | None]:
    """Log in and out; what was seen until then, and what went wrong. Errors: NoPort."""
    address = _address(given)
    trust = Trust(given.tls or ("unverified" if address.here and not given.ca else "verify"), given.ca)
    seen: Seen = {"server": str(address), "listener": address.protocol}
    try:
        _session(address, trust, given, seen)
    except Unreachable as error:
        return seen, Trouble(str(error), os.EX_UNAVAILABLE)
    except TryAgain as error:
        return seen, Trouble(str(error), os.EX_TEMPFAIL)
    except Denied as error:
        return seen, Trouble(str(error), 1)
    except SourceError as error:
        return seen, Trouble(str(error), os.EX_PROTOCOL)
    return seen, None


def _session(address: Address, trust: Trust, given: Visit, seen: Seen) -> None:
    patience = Patience(connect=given.timeout, silence=given.timeout, command=given.timeout)
    with _timed(seen, "connect_seconds"):
        client = Client.connect(address, trust, patience)
    with client:
        seen.update(_security(client))
        seen["capabilities"] = sorted(each.decode("ascii", "replace") for each in client.capabilities)
        if given.user:
            by = (given.mechanism or "").upper()
            with _timed(seen, "login_seconds"):
                client.login(given.user, given.secret, token=by == "XOAUTH2", by=by)
            seen["messages"], seen["octets"] = client.stat()
        with _timed(seen, "quit_seconds"):
            client.quit()


@contextmanager
def _timed(seen: Seen, name: str) -> Iterator[None]:
    began = time.monotonic()
    try:
        yield
    finally:
        seen[name] = round(time.monotonic() - began, 3)


def _security(client: Client) -> Seen:
    """TLS and the certificate, if there is TLS."""
    if client.security is None:
        return {"tls": "none"}
    version, der = client.security
    certificate = x509.load_der_x509_certificate(der)
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    days = int(left.total_seconds() // _DAY)
    return {"tls": version, "certificate": certificate.subject.rfc4514_string(), "certificate_days": days}


def _address(given: Visit) -> Address:
    """The server's address. Errors: NoPort."""
    if given.host:
        kind = given.listener or ("pop3" if given.port == PORTS["pop3"] else "pop3s")
        return Address(kind, given.host, given.port or PORTS[kind])
    try:
        config, _ = load_usable(given.config)
    except ConfigError as error:
        raise NoPort(f"{error}; or name the server by --host") from None
    for kind in [given.listener] if given.listener else ["pop3s", "pop3"]:
        endpoints = [each for each in config.listen.of(KINDS[kind].name) if not each.startswith("unix:")]
        if endpoints:
            try:
                place = first(endpoints, f"listen.{kind}")
            except NoPlace as error:
                raise NoPort(f"{error}; or name the server by --host") from None
            return Address(kind, place.host, given.port or place.port)
    raise NoPort(f"{given.config}: no TCP port of POP3 is configured; name the server by --host")
