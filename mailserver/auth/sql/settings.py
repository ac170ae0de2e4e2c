"""The file of a ``sql:`` checker: which database, how it is reached, and what it is asked.

A file of its own, because it holds the database's password: only the serving user may read it.
"""

from __future__ import annotations

import os
import ssl
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from mailserver.auth.schemes import SCHEMES
from mailserver.auth.sql.statements import Kind, Statement, StatementError, read_statement
from mailserver.errors import Unusable
from mailserver.toml import above, at_least, near_miss, read
from mailserver.toml_text import Key


class SqlFileError(Unusable):
    """What is wrong with the file or with the database that it names, in words for its operator; no secret is among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Queries:
    """The site's own statements, with the parameters ``{user}``, ``{local}`` and ``{domain}``."""

    user: str = ""
    """The row of a user."""
    app_passwords: str = ""
    """A row for each app password of a user; "": there are none."""
    iterate: str = ""
    """A row for each user, with the name as `user`; "": users are not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSettings:
    """The settings of the file."""

    url: str = field(default="", repr=False)
    """All of `kind`, `host`, `port`, `user`, `password` and `database` in one, as in ``postgresql://user:password@host/database``."""
    kind: Kind | None = None
    """The database: "postgresql", "mysql" (MariaDB, too) or "sqlite"."""
    host: str = ""
    port: int = at_least(0, 0, 65535)
    """0: the usual one."""
    socket: str = ""
    """The Unix socket instead of a host: of PostgreSQL its folder, of MariaDB the file."""
    database: str = ""
    """The database's name; of SQLite the file."""
    user: str = ""
    password: str = field(default="", repr=False)
    tls: Literal["", "verify", "off"] = ""
    """ "verify": only to a server whose certificate is good for `host`; "": likewise, but not on this machine."""
    tls_ca: str = ""
    """A file with the authorities to trust; "": the system's."""
    connections: int = at_least(1, 4, 100)
    """Connections, each with a thread: the questions that are asked at once."""
    connect_seconds: float = above(0, 3)
    query_seconds: float = above(0, 3)
    secrets: Literal["hashed", "clear"] = "hashed"
    """Whether the database stores passwords in clear, as APOP and the like need it."""
    password_scheme: str = "CRYPT"  # noqa: S105 - the name of a scheme
    """The scheme of stored passwords that do not begin with {SCHEME}."""
    remember_seconds: float = at_least(0, 3600)
    """How long a verified password is remembered, so that a slow hash is computed once; 0: not at all."""
    queries: Queries = field(default_factory=Queries)

    @property
    def seconds(self) -> float:
        """How long a question may take, with all that it waits for."""
        return self.connect_seconds + self.query_seconds

    @property
    def private(self) -> bool:
        """Whether nobody can listen on the way to the database, because there is none."""
        return bool(self.socket) or self.kind == "sqlite" or self.host in LOOPBACK

    @property
    def verified(self) -> bool:
        """Whether the server must prove by TLS that it is the one."""
        return self.tls == "verify" or (self.tls == "" and not self.private)

    @property
    def place(self) -> str:
        """The database, for the log."""
        at = self.socket or (f"{self.host}:{self.port}" if self.port else self.host)
        return f"{self.kind} {self.database!r}" + (f" at {at}" if at else "")

    def statements(self) -> dict[str, Statement]:
        """The statements, by their names in [queries]. Errors: StatementError."""
        texts = {name: getattr(self.queries, name) for name in QUERIES}
        return {name: read_statement(text, self.kind) for name, text in texts.items() if text and self.kind}


QUERIES: Final = ("user", "app_passwords", "iterate")

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SCHEMES_OF_URLS: Final[Mapping[str, Kind]] = {
    "postgresql": "postgresql",
    "postgres": "postgresql",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
}

_IN_URL: Final = ("kind", "host", "port", "socket", "database", "user", "password")


def read_settings(path: str) -> SqlSettings:
    """The settings of a file, with those of its URL in their places. Errors: SqlFileError."""
    try:
        settings = _with_url(read(path, SqlSettings, _contradictions))
    except Unusable as error:
        raise SqlFileError(str(error)) from None
    if settings.password and (open_to := _open_to(path)):
        raise SqlFileError(
            f"{path}: it holds a password, and {open_to} may read it: give it to the user that serves, and chmod 600"
        )
    return settings


def _open_to(path: str) -> str:
    """Who else may read a file; "": nobody. A group that is the serving user's own may, so that root can own the file."""
    status = Path(path).stat()
    if status.st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return "everybody"
    if status.st_mode & stat.S_IWGRP or (status.st_mode & stat.S_IRGRP and status.st_gid != os.getegid()):
        return "its group"
    return ""


def _with_url(settings: SqlSettings) -> SqlSettings:
    return replace(settings, **_parts(settings.url)) if settings.url else settings


def _parts(url: str) -> dict[str, Any]:
    """The settings that a URL holds. Errors: ValueError, with the rest of a sentence that begins with "url"."""
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError:  # its text may quote the password
        raise ValueError(
            "must be one such as postgresql://user:password@host/database; / : @ in it are %2F %3A %40"
        ) from None
    if parts.scheme not in SCHEMES_OF_URLS:
        raise ValueError(f"must begin with one of {', '.join(f'{each}://' for each in SCHEMES_OF_URLS)}")
    kind = SCHEMES_OF_URLS[parts.scheme]
    found: dict[str, Any] = {
        "kind": kind,
        "host": unquote(parts.hostname or ""),
        "port": port,
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": unquote(parts.path if kind == "sqlite" else parts.path.removeprefix("/")),
    }
    for name, value in parse_qsl(parts.query):
        if name != "socket":
            raise ValueError(
                f"has an unknown option; only ?socket= is one, and tls is a setting of its own{near_miss(name, ['socket'])}"
            )
        found["socket"] = value
    return found


def _contradictions(settings: SqlSettings) -> Iterator[tuple[Key, str]]:
    if settings.url:
        twice = [name for name in _IN_URL if getattr(settings, name)]
        yield from (((name,), f"{name} is given, and url, too: give one of them") for name in twice)
        try:
            settings = _with_url(settings)
        except ValueError as error:
            yield ("url",), f"url {error}"
            return
    if settings.kind is None:
        yield (), 'kind must be one of "postgresql", "mysql" and "sqlite"'
        return
    yield from _of_the_way(settings)
    yield from _of_questions(settings)


def _of_the_way(settings: SqlSettings) -> Iterator[tuple[Key, str]]:
    """What is wrong with where the database is."""
    remote = [name for name in ("host", "port", "socket", "user", "password") if getattr(settings, name)]
    if not settings.database:
        yield ("database",), "database must be given: its name or, for sqlite, its file"
    elif settings.kind == "sqlite":
        if not settings.database.startswith("/"):
            yield ("database",), "database must be the file's absolute path, as in /var/lib/mail/users.sqlite"
        yield from (((name,), f"{name} is not for sqlite, which is a file") for name in remote)
    elif bool(settings.host) == bool(settings.socket):
        yield ("host",), "give either a host or a socket"
    elif settings.socket and not settings.socket.startswith("/"):
        yield ("socket",), "socket must be an absolute path"
    if settings.verified and not Path(trusted(settings)).is_file():
        yield ("tls_ca",), f"there is no file {trusted(settings) or 'of authorities'}: tls_ca names one to trust"


def _of_questions(settings: SqlSettings) -> Iterator[tuple[Key, str]]:
    """What is wrong with the statements and the secrets."""
    if not settings.queries.user:
        yield ("queries", "user"), "queries.user must be given: it asks for the row of a user"
    for name in QUERIES:
        text = getattr(settings.queries, name)
        try:
            parameters = read_statement(text, settings.kind).parameters if settings.kind else ()
        except StatementError as error:
            yield ("queries", name), f"queries.{name}: {error}"
            continue
        if name == "iterate" and parameters:
            yield ("queries", name), "queries.iterate is for all users, and has no parameters"
        elif name != "iterate" and text and not parameters:
            yield ("queries", name), f"queries.{name} has no {{user}}, so it would answer the same for everybody"
    if settings.password_scheme.upper() not in SCHEMES:
        yield ("password_scheme",), f"password_scheme is unknown{near_miss(settings.password_scheme.upper(), SCHEMES)}"


def trusted(settings: SqlSettings) -> str:
    """The file of the authorities that vouch for the server; "": the system has none."""
    default = ssl.get_default_verify_paths()
    candidates = (settings.tls_ca, default.cafile, default.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt")
    return settings.tls_ca or next((each for each in candidates if each and Path(each).is_file()), "")
