"""A response of an IMAP server as Python's values (RFC 9051 section 9): lists, octets, and None for NIL."""

from __future__ import annotations

import re
from calendar import timegm
from collections.abc import Mapping, Sequence
from typing import Final

Value = bytes | None | list["Value"]

_TOKEN: Final = re.compile(rb' *(?:(?P<mark>[()])|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<atom>[^\s()"]+))', re.DOTALL)
_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_DEPTH: Final = 20
"""Lists in lists that are followed: those of a FETCH without a BODYSTRUCTURE have two."""
_DATE: Final = re.compile(rb" ?(\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d\d):(\d\d):(\d\d) ([+-])(\d\d)(\d\d)")
_MONTHS: Final = (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec")


def values(text: Sequence[bytes], literals: Sequence[bytes]) -> list[Value]:
    """The values of a response, whose text is cut where its literals are. Errors: ValueError."""
    root: list[Value] = []
    open_lists = [root]
    for index, piece in enumerate(text):
        if index:
            open_lists[-1].append(literals[index - 1])
        at = 0
        piece = piece.rstrip(b" ")  # noqa: PLW2901 - spaces at the end are no token
        while at < len(piece):
            found = _TOKEN.match(piece, at)
            if found is None:
                raise ValueError("a quotation without an end")
            at = found.end()
            _take(found, open_lists)
    if len(open_lists) > 1:
        raise ValueError("a list without an end")
    return root


def _take(found: re.Match[bytes], open_lists: list[list[Value]]) -> None:
    """Add a token to the innermost list, or begin or end one."""
    if found["mark"] == b"(":
        if len(open_lists) > _DEPTH:
            raise ValueError("too many lists in one another")
        inner: list[Value] = []
        open_lists[-1].append(inner)
        open_lists.append(inner)
    elif found["mark"]:
        if len(open_lists) == 1:
            raise ValueError("the end of a list that has not begun")
        open_lists.pop()
    elif found["atom"] is None:
        open_lists[-1].append(_ESCAPED.sub(rb"\1", found["quoted"]))
    else:
        open_lists[-1].append(None if found["atom"].upper() == b"NIL" else found["atom"])


def pairs(value: Value) -> Mapping[bytes, Value]:
    """A list of names and values, by the names in capitals; empty for anything else."""
    if not isinstance(value, list):
        return {}
    return {name.upper(): each for name, each in zip(value[::2], value[1::2], strict=False) if isinstance(name, bytes)}


def number(value: Value) -> int | None:
    """A number below 2**63; None: it is none."""
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) <= 18 else None  # noqa: PLR2004 - so many digits fit


def seconds(value: Value) -> float | None:
    """A date-time, in seconds of the epoch; None: it is none."""
    found = _DATE.fullmatch(value) if isinstance(value, bytes) else None
    if found is None or found[2].lower() not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(found[index]) for index in (1, 3, 4, 5, 6))
    zone = (int(found[8]) * 60 + int(found[9])) * 60 * (-1 if found[7] == b"-" else 1)
    try:
        return float(timegm((year, _MONTHS.index(found[2].lower()) + 1, day, hour, minute, second)) - zone)
    except (ValueError, OverflowError):
        return None
