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

from mailserver.cli.places import Place, place_of
from mailserver.config.kinds import KINDS, Kind
from mailserver.config.problems import load_usable
from mailserver.errors import ConfigError
from mailserver.migration.logins import Denied
from mailserver.migration.pop3_client import Client
from mailserver.migration.server import Address, Trust
from mailserver.migration.source import SourceError
from mailserver.migration.wire import Patience, TryAgain, Unreachable

_DAY: Final = 86_400


class NoKind(Exception):
    """There is no such kind of listener. The text says which there are."""


class NoPort(Exception):
    """The settings name no port that can be asked. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Visit:
    """Where to log in, and how."""

    user: str
    secret: str
    host: str = ""
    port: int | None = None
    listener: str = ""
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
    """Log in and out; what was seen until then, and what went wrong. Errors: NoKind, NoPort."""
    there = address(given)
    trust = Trust(given.tls or ("unverified" if there.here and not given.ca else "verify"), given.ca)
    seen: Seen = {"server": str(there), "listener": there.protocol}
    try:
        _session(there, trust, given, seen)
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


def address(given: Visit) -> Address:
    """Where the server is that is meant. Errors: NoKind, NoPort."""
    kinds = _kinds(given.listener)
    if given.host:
        kind = next((each for each in kinds if each.port == given.port), kinds[0])
        return Address(kind.name, given.host, given.port or kind.port)
    try:
        config, _ = load_usable(given.config)
    except ConfigError as error:
        raise NoPort(f"{error}; or name the server by --host") from None
    for kind in kinds:
        for place in filter(None, (_place(kind, each) for each in config.listen.of(kind.name))):
            return Address(kind.name, place.host, given.port or place.port)
    names = " or ".join(f"listen.{each.name}" for each in kinds)
    raise NoPort(f"{given.config}: {names} has no TCP port that can be asked from here; name the server by --host")


def _kinds(name: str) -> list[Kind]:
    """The kinds of this name, "": all, that let in who has a password; those in TLS first. Errors: NoKind."""
    kinds = sorted((each for each in KINDS.values() if each.login and not each.keytab), key=lambda each: not each.tls)
    named = [each for each in kinds if name in {"", each.name}]
    if not named:
        raise NoKind(
            f"{name!r} is no kind of listener to log in to: there are {', '.join(each.name for each in kinds)}"
        )
    return named


def _place(kind: Kind, endpoint: str) -> Place | None:
    """Where clients of this machine reach a listener; None: nowhere, or it expects a proxy's header."""
    if endpoint.startswith("systemd:"):  # our units' sockets have the kinds' own ports, in both families
        return Place("", "127.0.0.1", kind.port)
    place = place_of(endpoint)
    return None if place is None or place.path or not place.port else place
