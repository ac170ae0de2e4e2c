"""The file of an ``ldap:`` checker: where the directory is, how a password is proved, and what the attributes are called.

A file of its own, because it can hold the password of the account that searches: only the serving user should read it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import unquote, urlsplit

from mailserver.auth.ldap.filters import Filter, FilterError, check_template, read_filter
from mailserver.errors import Unusable
from mailserver.toml import above, at_least, near_miss, read
from mailserver.toml_text import Key

Mode = Literal["search", "bind", "compare"]
Kind = Literal["openldap", "active-directory"]

ATTRIBUTES: Final = (
    *("user", "password", "app_passwords", "home", "mail", "quota", "quota_messages", "allow_nets"),
    *("disabled", "listeners", "read_only", "expire_days", "login_delay"),
)
"""What an attribute can be for."""

DEFAULTS: Final[Mapping[Kind, Mapping[str, str]]] = {
    "openldap": {"user": "uid", "password": "userPassword", "home": "homeDirectory"},
    "active-directory": {"user": "sAMAccountName", "home": "unixHomeDirectory"},
}
"""The attributes that a directory has by itself. Others have names of the site's own, or of its mail server's schema."""

HOUR: Final = 3600.0
"""As long as passwords of the passwd-file are remembered."""

PORTS: Final = {"ldap": 389, "ldaps": 636}

_ATTRIBUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*(?:;[A-Za-z0-9-]+)*")


class LdapFileError(Unusable):
    """What is wrong with the file, in words for its operator; no secret is among them."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the directory."""

    url: str
    """As the file has it, for the log."""
    scheme: str
    """"ldap", "ldaps" or "ldapi"."""
    host: str
    """The host that the certificate must name; of a Unix socket its path."""
    port: int

    @property
    def is_local(self) -> bool:
        """Whether nobody can listen on the way."""
        if self.scheme == "ldapi":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class LdapSettings:
    """The settings of the file."""

    servers: tuple[str, ...] = ()
    """Asked in this order: the next one while those before it do not answer."""
    kind: Kind = "openldap"
    """Whose attributes are meant, and how an account is disabled."""
    mode: Mode = "search"
    """How a password is proved: by a search and a bind as the entry that was found, by a bind alone, or by a stored hash."""
    bind_as: str = ""
    """With mode = "bind": the name to bind with, a DN or another one that the directory knows."""
    base: str = ""
    """Where searches begin."""
    scope: Literal["one", "subtree"] = "subtree"
    filter: str = ""
    """The filter that finds a user's one entry."""
    list_filter: str = ""
    """The filter that finds all users, for tools that list them; ""; `filter` with any value in place of the name."""
    service_dn: str = ""
    """The account that searches; "": anybody may."""
    service_password: str = field(default="", repr=False)
    start_tls: bool = True
    """Whether ldap: servers are asked for TLS (StartTLS). Only on this machine may it be left out."""
    ca_file: str = ""
    """The authorities (PEM) that may have signed the servers' certificates; "": the system's."""
    attributes: Mapping[str, str] = field(default_factory=dict)
    """For what is known of a user the attribute that has it."""
    password_scheme: str = "PLAIN"  # noqa: S105 - no password
    """The scheme of stored passwords that name none (RFC 4519 section 2.41: they are in clear)."""
    connect_seconds: float = above(0, default=3.0)
    """How long a connection with its TLS may take."""
    operation_seconds: float = above(0, default=4.0)
    """How long a server may take for one answer; then the next server is asked."""
    seconds: float = above(0, default=10.0)
    """How long a login may take in all; then the client hears that it failed for now."""
    retry_seconds: float = above(0, default=15.0)
    """How long a server that did not answer is left out while another one does."""
    logins: int = at_least(1, default=4, at_most=100)
    """Logins that are asked about at a time; each has up to two connections, one for searches and one for binds."""
    page_size: int = at_least(1, default=500, at_most=10_000)
    """The entries of one answer when users are listed."""
    remember_seconds: float | None = field(default=None, metadata={"minimum": 0})
    """How long a proved password need not be proved anew; by default an hour for hashes, and otherwise not at all."""

    @property
    def remembers(self) -> float:
        """The seconds of the memory.

        A hash is read at each login, so its memory is never out of date. A bind also asks for what no attribute shows (a lock,
        a policy, an expiry), so it is left out only where the file says so.
        """
        if self.remember_seconds is not None:
            return self.remember_seconds
        return HOUR if self.mode == "compare" else 0

    def attribute(self, what: str) -> str:
        """The attribute for one of `ATTRIBUTES`; "": none."""
        return self.attributes.get(what, DEFAULTS[self.kind].get(what, ""))


@dataclass(frozen=True, slots=True)
class Site:
    """The settings, with all that can be read of them."""

    settings: LdapSettings
    servers: tuple[Server, ...]
    filter: Filter | None
    """None where the entry is the DN that a user binds with."""
    everybody: Filter | None
    """The filter that finds all users; None: users are not listed."""


def read_settings(path: str) -> Site:
    """The settings of a file. Errors: LdapFileError."""
    try:
        settings = read(path, LdapSettings, _contradictions)
    except Unusable as error:
        raise LdapFileError(str(error)) from None
    found = read_filter(settings.filter) if settings.filter else None
    return Site(settings, tuple(map(read_url, settings.servers)), found, _everybody(settings))


def _everybody(settings: LdapSettings) -> Filter | None:
    if settings.list_filter:
        return read_filter(settings.list_filter)
    whole = re.sub(r"\{(?:user|local|domain)\}", "*", settings.filter)
    try:
        return read_filter(re.sub(r"\*+", "*", whole)) if whole else None
    except FilterError:
        return None


def read_url(url: str) -> Server:
    """A server's URL. Errors: ValueError, with what it must be."""
    parts = urlsplit(url)
    if parts.scheme == "ldapi":
        path = unquote(url.removeprefix("ldapi://"))
        if not path.startswith("/"):
            raise ValueError("ldapi: needs the path of a socket, as in ldapi:///run/slapd/ldapi")
        return Server(url, "ldapi", path.rstrip("/"), 0)
    if parts.scheme not in PORTS or not parts.hostname or parts.path not in ("", "/") or parts.query or parts.username:
        raise ValueError(
            "a server is a URL such as ldaps://ldap.example.org, ldap://ldap.example.org:389 or ldapi:///path"
        )
    return Server(url, parts.scheme, parts.hostname, parts.port or PORTS[parts.scheme])


def _contradictions(settings: LdapSettings) -> Iterator[tuple[Key, str]]:
    yield from _servers(settings)
    yield from _filters(settings)
    for what, name in settings.attributes.items():
        if what not in ATTRIBUTES:
            yield ("attributes", what), f'unknown attribute "{what}"{near_miss(what, ATTRIBUTES)}'
        elif name and not _ATTRIBUTE.fullmatch(name):
            yield ("attributes", what), f"attributes.{what} must be the name of an attribute, such as homeDirectory"
    if settings.service_dn and not settings.service_password:
        yield (
            ("service_dn",),
            "service_dn needs service_password: a bind without a password is anonymous, whatever its name",
        )
    if settings.mode == "compare" and not settings.attribute("password"):
        yield ("mode",), 'mode = "compare" needs attributes.password: the attribute that has the hashes'
    if settings.mode == "bind" and settings.remember_seconds:
        text = (
            'remember_seconds must be 0 with mode = "bind", where only a bind shows whether the user may still log in'
        )
        yield ("remember_seconds",), text


def _servers(settings: LdapSettings) -> Iterator[tuple[Key, str]]:
    if not settings.servers:
        yield (), 'servers is missing: give at least one, as in servers = ["ldaps://ldap.example.org"]'
    for at, url in enumerate(settings.servers):
        try:
            server = read_url(url)
        except ValueError as error:
            yield ("servers", at), str(error)
            continue
        if server.scheme == "ldap" and not server.is_local and not settings.start_tls:
            yield ("servers", at), "passwords would cross the network in clear: use ldaps:, or leave start_tls on"


def _filters(settings: LdapSettings) -> Iterator[tuple[Key, str]]:
    by_bind = settings.mode == "bind"
    if by_bind:
        yield from _template(settings)
    elif settings.bind_as:
        yield ("bind_as",), f'bind_as is for mode = "bind"; in mode = "{settings.mode}" the entry that is found says it'
    if not settings.filter and not (by_bind and "=" in settings.bind_as):
        yield (), 'filter is missing: it finds the user\'s entry, as in filter = "(uid={user})"'
    if settings.filter and not settings.base:
        yield ("filter",), 'filter needs base: where searches begin, as in base = "ou=people,dc=example,dc=org"'
    for name in ("filter", "list_filter"):
        text = getattr(settings, name)
        try:
            found = read_filter(text) if text else None
        except FilterError as error:
            yield (name,), f"{name}: {error}"
            continue
        if name == "filter" and found and not found.names & {"user", "local"}:
            yield (name,), "filter would find the same entry for all users: it needs {user} or {local}"
        if name == "list_filter" and found and found.names:
            yield (name,), "list_filter finds all users: it has no {user}"


def _template(settings: LdapSettings) -> Iterator[tuple[Key, str]]:
    if not settings.bind_as:
        yield ("mode",), 'mode = "bind" needs bind_as, such as "uid={user},ou=people,dc=example,dc=org"'
        return
    try:
        check_template(settings.bind_as)
    except FilterError as error:
        yield ("bind_as",), f"bind_as: {error}"
