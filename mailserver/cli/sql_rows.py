"""The users of a database, as the file of a ``sql:`` checker asks it, as lines of a passwd-file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from mailserver.auth.attributes import Row, read_user, with_scheme
from mailserver.auth.sql.drivers import DriverMissing, driver
from mailserver.auth.sql.links import Link, Trouble
from mailserver.auth.sql.questions import Questions
from mailserver.auth.sql.rows import spelling
from mailserver.auth.sql.settings import SqlSettings, read_settings
from mailserver.errors import Unusable
from mailserver.interfaces import User
from mailserver.migration.users.accounts import Account, in_line, passwd_file
from mailserver.migration.users.converted import Converted, NoProgram, Remark, Unconvertible

PAGE: Final = 500
"""Names that are asked for at once."""


def read_rows(path: str) -> Converted:
    """Ask for all users, one after the other. Errors: Unconvertible, NoProgram."""
    try:
        settings = read_settings(path)
        if not settings.queries.iterate:
            raise Unconvertible(f"{path}: it has no queries.iterate, which lists the users")
        with closing(driver(settings)(settings)) as link:
            link.open()
            remarks: list[Remark] = []
            accounts = list(_accounts(settings, link, remarks))
            return passwd_file(accounts, f"Users of {settings.place}.", remarks)
    except DriverMissing as error:
        raise NoProgram(str(error)) from None
    except (Unusable, Trouble) as error:
        text = str(error)
        raise Unconvertible(text if text.startswith(path) else f"{path}: {text}") from None


def _accounts(settings: SqlSettings, link: Link, remarks: list[Remark]) -> Iterator[Account]:
    """Errors: Trouble."""
    ask = Questions(settings)
    for name in _names(ask, link):
        row = ask.user(link, name)
        if row is None or spelling(name, row) is not None:
            remarks.append(Remark(name, "left out: it is listed, and queries.user does not know it by this name"))
            continue
        apps = []
        for app in ask.apps(link, name):
            word = _app(app, settings.password_scheme)
            apps += [word] * bool(word)
            if not word:
                remarks.append(
                    Remark(
                        name,
                        "an app password cannot stand in a passwd-file (its name, or when it expires), and is left out",
                    )
                )
        user = read_user(name, row)
        secret = _secret(row.get("password"), settings.password_scheme)
        yield Account(name, secret, user.home or "", _fields(user), apps)


def _names(ask: Questions, link: Link) -> Iterator[str]:
    """Page after page. Errors: Trouble."""
    after = ""
    while page := ask.names(link, after, PAGE, lambda _: True):
        yield from page
        after = page[-1]


def _secret(stored: bytes | None, scheme: str) -> str:
    return with_scheme(stored, scheme).decode("utf-8", "surrogateescape") if stored else ""


def _app(row: Row, scheme: str) -> str:
    """A word of the line; "": none can hold it."""
    name, listeners, expires = (
        (row.get(each) or b"").decode("utf-8", "surrogateescape") for each in ("name", "listeners", "expires")
    )
    secret = in_line(_secret(row.get("password"), scheme))
    if (
        not re.fullmatch(r"\d{0,12}|\d{4}-\d\d-\d\d", expires, re.ASCII)
        or re.search(r"[:\s]", name)
        or not (name and secret)
    ):
        return ""
    return f"app_password={name}:{''.join(listeners.split())}:{expires}:{secret}"


def _fields(user: User) -> Sequence[str]:
    """The fields at the end of the line."""
    words = [f"userdb_mail={user.mail}"] * bool(user.mail)
    if user.quota is not None:
        words.append(f"userdb_quota_rule=*:bytes={user.quota.octets}:messages={user.quota.messages}")
    if user.denied:
        words.append("disabled=yes")
    elif user.networks:
        words.append("allow_nets=" + ",".join(map(str, user.networks)))
    if user.listeners:
        words.append("listeners=" + ",".join(sorted(user.listeners)))
    words += ["read_only=yes"] * user.read_only
    words += [
        f"{name}={value}" for name in ("expire_days", "login_delay") if (value := getattr(user, name)) is not None
    ]
    return words
