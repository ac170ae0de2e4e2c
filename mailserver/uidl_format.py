"""Dovecot's `pop3_uidl_format`: how it makes a message's unique-id of what it knows of the message.

Two notations are there. That of 1.0 to 2.3 is ``%08Xu%08Xv``: an offset, a width, modifiers and a letter. That of 2.4 is
``%{uid | hex(8)}%{uidvalidity | hex(8)}``: a name and filters. A text with ``%{`` is in the second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from hashlib import md5, sha1, sha256, sha512
from typing import Final

KEYS: Final = {"u": "uid", "v": "uidvalidity", "m": "md5", "f": "filename", "g": "guid"}
"""The letters of the values, and their names."""

DEFAULT: Final = "%08Xu%08Xv"
"""Dovecot's own; with 2.4 it gives the same unique-ids."""

_SHORT: Final = re.compile(r"%(-?)(0?)(\d*)(?:\.(0?)(-?)(\d*))?([A-Z]*)(.)", re.DOTALL)
_LONG: Final = re.compile(r"%\{\s*(\w+)\s*((?:\|[^|}]*)*)\}")
_FILTER: Final = re.compile(r"\|\s*(\w+)\s*(?:\(\s*(-?\d*)\s*\))?\s*")

_MOST: Final = 1024
"""The greatest width: Dovecot 2.4 has a limit as well, and a unique-id has 70 octets."""

Change = Callable[[bytes], bytes]


class Format:
    """A format that has been read. Errors: ValueError, with a text for the operator."""

    __slots__ = ("_pieces", "keys", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._pieces = list(_merged(_read(text, _long if "%{" in text else _short)))
        self.keys = frozenset(key for key, _ in self._pieces if key)
        """What `expand` must be given, by its names: of uid, uidvalidity, md5, filename, guid."""
        if not self.keys:
            raise ValueError(
                f"the format {text!r} has no variable such as %u, so all messages would have one unique-id"
            )

    def expand(self, values: Mapping[str, bytes]) -> bytes:
        """The unique-id; numbers are given in decimal, `md5` in hexadecimal."""
        found = []
        for key, changes in self._pieces:
            value = values[key] if key else b""
            for change in changes:
                value = change(value)
            found.append(value)
        return b"".join(found)


Piece = tuple[str, tuple[Change, ...]]
"""The name of a value, and what is done to it; with the name "" the one change answers octets of the format itself."""


def _merged(pieces: Iterator[Piece | str]) -> Iterator[Piece]:
    for piece in pieces:
        if isinstance(piece, str):
            if not piece.isascii() or not piece.isprintable() or " " in piece:
                raise ValueError(f"the format has {piece!r}, but no unique-id can have a space, or what is not ASCII")
            yield "", (_fixed(piece.encode("utf-8")),)
        else:
            yield piece


def _read(text: str, variable: Callable[[str, int], tuple[Piece | str, int]]) -> Iterator[Piece | str]:
    """Its parts, where `variable` reads the one that begins here, and says where it ends."""
    at = 0
    while at < len(text):
        if text[at] == "%":
            piece, at = variable(text, at)
            yield piece
        else:
            fixed = text[at:].partition("%")[0]
            yield fixed
            at += len(fixed)


def _short(text: str, at: int) -> tuple[Piece | str, int]:
    found = _SHORT.match(text, at)
    if found is None:
        raise ValueError(f"the format {text!r} ends within a variable")
    letter = found[8]
    if letter == "%":
        return "%", found.end()
    if letter not in KEYS:
        raise ValueError(f"the format {text!r} has the unknown variable {found[0]!r}; known are %{', %'.join(KEYS)}")
    return (KEYS[letter], tuple(_changes(found, text))), found.end()


def _changes(found: re.Match[str], text: str) -> Iterator[Change]:
    """What a variable's modifiers, offset and width do, in Dovecot's order."""
    minus, zero, first, zero_after, minus_after, second, modifiers, _ = found.groups()
    for modifier in modifiers:
        if modifier not in _MODIFIERS:
            raise ValueError(f"the format {text!r} has the modifier {modifier}; known are {', '.join(_MODIFIERS)}")
        yield _MODIFIERS[modifier]
    dot = "." in found[0]
    width = _number(second if dot else first, text)
    if dot and first:
        yield _skipped(-_number(first, text) if minus else _number(first, text))
    if width and (zero_after if dot else zero):
        if not minus_after:
            yield _padded(width)
    elif width:
        yield _cut(-width if dot and minus_after else width)


def _long(text: str, at: int) -> tuple[Piece | str, int]:
    found = _LONG.match(text, at)
    if found is None or found[1] not in KEYS.values():
        raise ValueError(
            f"the format {text!r} is not understood at {text[at:]!r}; known are {', '.join(KEYS.values())}"
        )
    return (found[1], tuple(_filters(found[2], text))), found.end()


def _filters(filters: str, text: str) -> Iterator[Change]:
    at = 0
    while at < len(filters):
        found = _FILTER.match(filters, at)
        if found is None or found[1] not in _FILTERS:
            raise ValueError(
                f"the format {text!r} has a filter that is not understood; known are {', '.join(_FILTERS)}"
            )
        at = found.end()
        width = _number((found[2] or "").lstrip("-"), text)
        yield _FILTERS[found[1]](-width if (found[2] or "").startswith("-") else width)


def _number(digits: str, text: str) -> int:
    if len(digits) > len(str(_MOST)) or int(digits or "0") > _MOST:
        raise ValueError(f"the format {text!r} has the width {digits}; the greatest is {_MOST}")
    return int(digits or "0")


def _fixed(text: bytes) -> Change:
    return lambda _: text


def _hexadecimal(value: bytes) -> bytes:
    return b"%x" % (int(value) if value.isdigit() else 0)


def _skipped(count: int) -> Change:
    return lambda value: value[count:]  # of a count below 0, the last octets; all where there are fewer, as there


def _padded(width: int) -> Change:
    return lambda value: value.rjust(width, b"0")


def _cut(width: int) -> Change:
    """Cut to the width; below 0, so many octets less than there are, and all where there are not so many."""
    return lambda value: value if len(value) + width <= 0 else value[:width]


def _hex_of_width(width: int) -> Change:
    """In 2.4 the number is cut to its width, of which the last digits stay; below 0, the first, with zeros behind."""
    if width < 0:
        return lambda value: _hexadecimal(value).ljust(-width, b"0")[:-width]
    return lambda value: _hexadecimal(value).rjust(width, b"0")[-width:]


def _hexlified(width: int) -> Change:
    return lambda value: value.hex().encode("ascii").rjust(width, b"0")[: width or None]


_MODIFIERS: Final[dict[str, Change]] = {
    "L": bytes.lower,
    "U": bytes.upper,
    "X": _hexadecimal,
    "R": lambda value: value[::-1],
    "M": lambda value: md5(value, usedforsecurity=False).hexdigest().encode("ascii"),
    "T": bytes.strip,
}

_FILTERS: Final[dict[str, Callable[[int], Change]]] = {
    "hex": _hex_of_width,
    "hexlify": _hexlified,
    "lower": lambda _: bytes.lower,
    "upper": lambda _: bytes.upper,
    "reverse": lambda _: lambda value: value[::-1],
    "md5": lambda _: lambda value: md5(value, usedforsecurity=False).digest(),
    "sha1": lambda _: lambda value: sha1(value, usedforsecurity=False).digest(),
    "sha256": lambda _: lambda value: sha256(value).digest(),
    "sha512": lambda _: lambda value: sha512(value).digest(),
}
