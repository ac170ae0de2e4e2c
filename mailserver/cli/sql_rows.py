"""The users of a database, as the file of a ``sql:`` checker asks it, as lines of a passwd-file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Final

from mailserver.auth.attributes import Row, read_user
from mailserver.auth.schemes import PREFIX, PWDFILE
from mailserver.auth.sql.drivers import DriverMissing, driver
from mailserver.auth.sql.links import Link, Trouble
from mailserver.auth.sql.listing import Listing
from mailserver.auth.sql.rows import OF_APP_PASSWORDS, OF_USERS, check_columns, one, rows, spelling
from mailserver.auth.sql.settings import SqlSettings, read_settings
from mailserver.auth.sql.statements import given
from mailserver.errors import Unusable
from mailserver.interfaces import User
from mailserver.migration.users.accounts import Account, in_line, passwd_file
from mailserver.migration.users.converted import Converted, Remark, Unconvertible
from mailserver.migration.users.programs import NoProgram

PAGE: Final = 500
"""Names that are asked for at once."""

MOST: Final = 50
"""Rows of one user, as at a login."""


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
    asking = _Asking(settings, link)
    for name in asking.names():
        row = asking.user(name)
        if row is None or spelling(name, row) is not None:
            remarks.append(Remark(name, "left out: it is listed, and queries.user does not know it by this name"))
            continue
        apps = []
        for app in asking.apps(name):
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


class _Asking:
    """The questions."""

    def __init__(self, settings: SqlSettings, link: Link) -> None:
        self._settings, self._link = settings, link
        self._statements = settings.statements()

    def names(self) -> Iterator[str]:
        """Page after page. Errors: Trouble."""
        users = Listing(self._statements["iterate"], self._settings.kind or "sqlite", lambda _: True)
        after = ""
        while page := users.page(self._link, after, PAGE):
            yield from page
            after = page[-1]

    def user(self, name: str) -> Row | None:
        """The user's row. Errors: Trouble."""
        statement = self._statements["user"]
        answer = self._link.ask(statement, statement.values(given(name)), MOST)
        check_columns("user", answer.columns, OF_USERS, ("password",))
        return one(answer)

    def apps(self, name: str) -> Sequence[Row]:
        """Those of the app passwords. Errors: Trouble."""
        statement = self._statements.get("app_passwords")
        if statement is None:
            return ()
        answer = self._link.ask(statement, statement.values(given(name)), MOST)
        check_columns("app_passwords", answer.columns, OF_APP_PASSWORDS, ("name", "password"))
        return rows(answer)


def _secret(stored: bytes | None, scheme: str) -> str:
    if not stored:
        return ""
    text = stored.decode("utf-8", "surrogateescape")
    return text if PREFIX.fullmatch(stored) or PWDFILE.fullmatch(stored) else f"{{{scheme}}}{text}"


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
