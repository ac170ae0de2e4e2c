"""Dovecot's variables of the user's name, in its old form (``%u``, ``%Ln``) and the new one (``%{user | username}``), as our fields."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

FIELDS: Final = {"u": "user", "n": "local", "d": "domain", "h": "home"}

LONG: Final = {"user": "user", "username": "local", "domain": "domain", "home": "home", "owner_user": "user"}

SERVICE: Final = frozenset({"s", "Ls", "service", "protocol"})
"""The variables that say ``pop3`` here."""

VARIABLE: Final = re.compile(r"%(?:\{([^{}]*)\}|([-0-9.]*[A-Z]?)([a-zA-Z%]))")


def meaning(match: re.Match[str]) -> str | None:
    """What a match of `VARIABLE` stands for: one of `user local domain home`, "pop3", "%", or None for what has no place here.

    Lower case is no matter: names are in lower case here where they are so there (`names.case`).
    """
    if match[1] is not None:
        return _long(match[1])
    modifier, letter = match[2], match[3]
    if letter == "%":
        return "%" if not modifier else None
    if modifier + letter in SERVICE:
        return "pop3"
    return FIELDS.get(letter) if modifier in ("", "L") else None


def _long(text: str) -> str | None:
    name, *filters = (each.strip() for each in text.split("|"))
    if name in SERVICE:
        return "pop3"
    found = LONG.get(name)
    for each in filters:
        if each in ("username", "domain") and found == "user":
            found = LONG[each]
        elif each != "lower":
            return None
    return found


def replaced(text: str, put: Callable[[str], str]) -> tuple[str, list[str]]:
    """The text with each variable replaced by what `put` makes of its meaning; and the variables that have no place here, which stay."""
    unknown: list[str] = []

    def one(match: re.Match[str]) -> str:
        found = meaning(match)
        if found is None:
            unknown.append(match[0])
            return match[0]
        return found if found in ("pop3", "%") else put(found)

    return VARIABLE.sub(one, text), unknown


def as_fields(text: str) -> tuple[str, list[str]]:
    """A path with our fields, such as ``/srv/{domain}/{local}``; and the variables that have no place here."""
    doubled = re.sub(r"%\{[^{}]*\}|[{}]", lambda match: match[0] if len(match[0]) > 1 else match[0] * 2, text)
    return replaced(doubled, lambda name: f"{{{name}}}")
