"""App passwords in a passwd-file: ``app_password=NAME:LISTENERS:EXPIRES:{SCHEME}secret``, as often as there are some.

Listeners and expiry may be empty. One that is not understood opens nothing, and the user's other secrets work.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from math import inf
from typing import Final

from mailserver.auth.entry import MAX_SECRETS, Stored, by_app, read_listeners
from mailserver.auth.schemes import read_secret
from mailserver.auth.secret import SchemeError
from mailserver.interfaces import User

FIELD: Final = "app_password"


def read_app_passwords(fields: Sequence[str], user: User) -> tuple[tuple[Stored, ...], tuple[str, ...]]:
    """Read the values of the fields; and remarks, which have nothing of a secret, and so nothing of a broken field."""
    found: list[Stored] = []
    remarks = []
    for number, field in enumerate(fields, 1):
        try:
            if number >= MAX_SECRETS:
                raise ValueError(f"a user may have {MAX_SECRETS - 1}, for a wrong password is verified against all")
            found.append(_read(field, user))
        except (ValueError, SchemeError) as error:
            remarks.append(f"app_password number {number} opens nothing: {error}")
    return tuple(found), tuple(remarks)


def _read(field: str, user: User) -> Stored:
    """Errors: ValueError, SchemeError."""
    parts = field.split(":", 3)
    if len(parts) != 4 or not parts[0]:  # noqa: PLR2004 - as the module says
        raise ValueError("it is not NAME:LISTENERS:EXPIRES:{SCHEME}secret")
    name, listeners, expires, stored = parts
    if not stored:
        raise ValueError("there is no secret")
    try:
        allowed = read_listeners(listeners) if listeners else frozenset()
    except ValueError:
        raise ValueError("its listeners are not names such as pop3s or tls, separated by commas") from None
    secret = read_secret(stored.encode("utf-8", "surrogateescape"))
    return Stored(secret, by_app(user, name, allowed), _moment(expires))


def _moment(text: str) -> float:
    """Seconds of the Unix epoch from a number of them, or from a day in UTC; no text: never. Errors: ValueError."""
    if not text:
        return inf
    if re.fullmatch(r"\d{1,12}", text, re.ASCII):
        return float(text)
    try:
        return datetime.combine(date.fromisoformat(text), time(), UTC).timestamp()
    except ValueError:
        raise ValueError("its end is neither a day such as 2030-12-31 nor seconds of the Unix epoch") from None
