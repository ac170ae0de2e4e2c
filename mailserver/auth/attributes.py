"""What a database or a directory says of a user, by the names of columns or attributes: the user, and the secrets.

A value that restricts and means nothing here denies the login, since to ignore it could let somebody in. NULL is no restriction.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any, Final

from mailserver.auth.entry import Entry, Stored, by_app, read_listeners
from mailserver.auth.passwd.extra_fields import NOWHERE, read_networks, unsupported
from mailserver.auth.schemes import PREFIX, PWDFILE, Secret, read_secret
from mailserver.auth.secret import SchemeError
from mailserver.interfaces import Quota, User

Row = Mapping[str, bytes | None]
"""The values by what they are for (docs/authentication.md); None: no value."""

FALSE: Final = frozenset({"", "0", "f", "false", "n", "no", "off"})
TRUE: Final = frozenset({"1", "t", "true", "y", "yes", "on", "\x01"})
"""Truth as databases write it; the last is MariaDB's BIT(1), whose false is a NUL."""


def read_entry(name: str, row: Row, apps: Sequence[Row], scheme: str) -> Entry:
    """The user `name` of a row, with the app passwords. Those that cannot be used are left out."""
    user = read_user(name, row)
    if user.denied:
        return Entry(user, trouble=user.denied)
    own, trouble = None, ""
    try:
        own = _secret(row.get("password"), scheme)
    except SchemeError as error:
        trouble = str(error)
    others = []
    for app in apps:
        try:
            others.append(_app(user, app, scheme))
        except (SchemeError, ValueError) as error:
            trouble = trouble or f"an app password cannot be used: {error}"
    return Entry(user, own, trouble=trouble, others=tuple(others))


def read_user(name: str, row: Row) -> User:
    """The user, without the secrets."""
    values: dict[str, Any] = {}
    denied = ""
    for column, (field, read) in _READERS.items():
        octets = row.get(column)
        if octets is None:
            continue
        try:
            values[field] = read(_text(octets))
        except ValueError as error:
            denied = denied or f"{column} {error}"
    mail = values.get("mail") or None
    disabled = values.pop("disabled", "")
    octets_quota, messages = values.pop("quota", None), values.pop("quota_messages", None)
    user = User(
        name,
        **{**values, "mail": mail, "home": values.get("home") or None},
        unserved=unsupported(mail) if mail else "",
        quota=None if octets_quota is None and messages is None else Quota(octets_quota or 0, messages or 0),
    )
    denied = disabled or denied
    return replace(user, denied=denied, networks=NOWHERE) if denied else user


def _app(user: User, row: Row, scheme: str) -> Stored:
    """An app password. Errors: SchemeError, ValueError, if what restricts it means nothing."""
    expires, listeners = (
        _text(octets) if (octets := row.get(each)) is not None else "" for each in ("expires", "listeners")
    )
    allowed = _listeners(listeners) if row.get("listeners") is not None else frozenset[str]()
    until = _time(expires) if row.get("expires") is not None else inf
    label = (row.get("name") or b"").decode("utf-8", "replace")
    return Stored(_secret(row.get("password"), scheme), by_app(user, label, allowed), until)


def _secret(stored: bytes | None, scheme: str) -> Secret:
    """A stored secret. Errors: SchemeError."""
    if not stored:
        raise SchemeError("there is no password")
    return read_secret(with_scheme(stored, scheme))


def with_scheme(stored: bytes, scheme: str) -> bytes:
    """A stored secret with this scheme, unless it names one itself."""
    if PREFIX.fullmatch(stored) or PWDFILE.fullmatch(stored):
        return stored
    return b"{%b}%b" % (scheme.encode("ascii"), stored)


# Values; errors: ValueError, with the rest of a sentence that begins with the column's name.


def _text(octets: bytes) -> str:
    """UTF-8; octets that are not survive as the passwd-file's do, for a path may have any."""
    return octets.decode("utf-8", "surrogateescape")


def _shown(text: str) -> str:
    return ascii(text[:80])


def _home(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a NUL")
    return re.sub(r"/(?:\./)+", "/", text)


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII):
        raise ValueError(f"is no whole number: {_shown(text)}")
    return int(text)


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word in FALSE or word == "\0":
        return False
    if word in TRUE:
        return True
    raise ValueError(f"is neither true nor false: {_shown(text)}")


def _disabled(text: str) -> str:
    """The reason, which may be what the column says."""
    try:
        return "disabled in the database" if _truth(text) else ""
    except ValueError:
        return f"disabled: {_shown(text)}"


def _allowed(text: str) -> Any:
    networks, _ = read_networks("".join(text.split()))
    if networks == NOWHERE:
        raise ValueError(f"has no valid network: {_shown(text)}")
    return networks


def _listeners(text: str) -> frozenset[str]:
    return read_listeners("".join(text.split()))


def _time(text: str) -> float:
    """Seconds of the Unix epoch, or a date and time, in UTC where it names no zone."""
    if re.fullmatch(r"\d{1,12}", text, re.ASCII):
        return float(text)
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


_READERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "home": ("home", _home),
    "mail": ("mail", _home),
    "quota": ("quota", _number),
    "quota_messages": ("quota_messages", _number),
    "allow_nets": ("networks", _allowed),
    "disabled": ("disabled", _disabled),
    "listeners": ("listeners", _listeners),
    "read_only": ("read_only", _truth),
    "expire_days": ("expire_days", _number),
    "login_delay": ("login_delay", _number),
}
"""For each column the field of a `User`, and the reader."""
