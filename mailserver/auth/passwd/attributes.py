"""The extra fields that say how a user is served: the quota, the listeners, what may be deleted, and what CAPA announces.

The quota has Dovecot's names. For the others Dovecot has none; ours are those of the columns of a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from mailserver.auth.entry import read_listeners
from mailserver.interfaces import Quota
from mailserver.sizes import octets

FALSE: Final = frozenset({"0", "f", "false", "n", "no", "off"})
TRUE: Final = frozenset({"", "1", "t", "true", "y", "yes", "on"})
"""A field without a value says yes, as Dovecot's ``nologin`` does."""

QUOTA: Final = re.compile(r"userdb_quota_(?:rule\d*|storage_size|message_count)")
"""Dovecot 2.3's and 2.4's names of the fields with a quota."""


def read_attributes(given: Mapping[str, str]) -> tuple[dict[str, Any], str, tuple[str, ...]]:
    """Read the fields of a `User`, why the user may not log in ("": nothing here says so), and remarks.

    A value that means nothing denies the login, since to ignore it could let somebody in. Of a quota, it is only remarked.
    """
    found: dict[str, Any] = {}
    denied = ""
    for key, (field, read) in READERS.items():
        if key in given:
            try:
                found[field] = read(given[key])
            except ValueError as error:
                denied = denied or f"{key} {error}"
    disabled = found.pop("denied", "")
    quota, remarks = _quota(given)
    if quota is not None:
        found["quota"] = quota
    return found, disabled or denied, remarks


def _truth(text: str) -> bool:
    word = text.lower()
    if word not in FALSE | TRUE:
        raise ValueError(f"is neither yes nor no: {text[:80]!a}")
    return word in TRUE


def _disabled(text: str) -> str:
    """The reason, which may be what the field says."""
    if text.lower() in FALSE:
        return ""
    return "disabled" if text.lower() in TRUE else f"disabled: {text[:80]!a}"


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise ValueError(f"is no whole number: {text[:80]!a}")
    return int(text)


READERS: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "disabled": ("denied", _disabled),
    "listeners": ("listeners", read_listeners),
    "read_only": ("read_only", _truth),
    "expire_days": ("expire_days", _number),
    "login_delay": ("login_delay", _number),
}
"""For each field that of a `User`, and the reader."""


def _quota(given: Mapping[str, str]) -> tuple[Quota | None, tuple[str, ...]]:
    """The quota of the whole maildrop, and remarks on what is not understood. Rules for single folders have no effect here."""
    limits: dict[str, int] = {}
    remarks = []
    for key, value in given.items():
        if QUOTA.fullmatch(key):
            try:
                limits |= _rule(value) if key.startswith("userdb_quota_rule") else _plain(key, value)
            except ValueError:
                remarks.append(f"{key} is not understood, and limits nothing: {value[:80]!a}")
    return (Quota(limits.get("octets", 0), limits.get("messages", 0)) if limits else None), tuple(remarks)


def _rule(text: str) -> dict[str, int]:
    """Dovecot 2.3's ``*:storage=1G:messages=1000``; a storage without a unit has kilobytes. Errors: ValueError."""
    folder, *words = text.split(":")
    if folder not in ("*", "?"):
        return {}
    limits = {}
    for name, _, value in (word.partition("=") for word in words):
        if name in ("storage", "bytes"):
            limits["octets"] = _size(value, 1024 if name == "storage" else 1)
        elif name == "messages":
            limits["messages"] = _number(value)
        elif name not in ("ignore", "noenforcing"):
            raise ValueError
    return limits


def _plain(key: str, text: str) -> dict[str, int]:
    """Dovecot 2.4's fields, of one number each. Errors: ValueError."""
    if text == "unlimited":
        return {}
    return {"messages": _number(text)} if key.endswith("count") else {"octets": _size(text, 1)}


def _size(text: str, unit: int) -> int:
    found = octets(text, unit)
    if found is None:
        raise ValueError
    return found
