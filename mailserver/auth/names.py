"""User names: which octets may name a user at all.

A store makes paths of names, an operator reads them in a terminal. So what could climb, or deceive, is nobody's name, here
and for every checker.
"""

from __future__ import annotations

MAX_NAME = 255
"""Octets: a name may become one component of a path, and file systems end there."""


def user_name(name: object) -> str | None:
    """The text of a name that is fit to be a user's, or None.

    Fit is UTF-8 without control, format or unassigned characters, at most `MAX_NAME` octets, without "/" and "..", and
    with something that does not begin with "." on each side of every "@", since a store may use the sides on their own.
    """
    if isinstance(name, bytes):
        try:
            text = name.decode("utf-8")
        except UnicodeDecodeError:
            return None
    elif isinstance(name, str):
        text = name
    else:
        return None
    return text if _fit(text) else None


def _fit(text: str) -> bool:
    if not text.isprintable() or "/" in text or ".." in text:
        return False
    if len(text) > MAX_NAME or (not text.isascii() and len(text.encode("utf-8")) > MAX_NAME):
        return False
    return all(side and side[0] != "." for side in text.split("@"))
