"""Figures as people read them, and elements that many parts of the page have."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, tzinfo
from typing import Final

from mailserver.web.status.markup import Markup, element

_SPANS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_BREAK: Final = element("wbr")
_SIZES: Final = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def number(value: float) -> str:
    """12,345."""
    return f"{value:,.0f}"


def counted(many: float, what: str) -> str:
    """1 session, 2 sessions."""
    return f"{number(many)} {what}{'' if many == 1 else 's'}"


def octets(value: float) -> str:
    """1.2 MB, with two digits that count."""
    few = "octet" if value == 1 else "octets"
    unit, size = next(((unit, size) for unit, size in _SIZES if value >= size), (few, 1.0))
    shown = value / size
    return f"{shown:.{int(0 < shown < 10 and size > 1)}f} {unit}"  # noqa: PLR2004 - below 10, one digit more


def seconds(value: float) -> str:
    """2.5 s."""
    return f"{value:.{int(value < 10 and value % 1 > 0)}f} s" if value < 120 else span(value)  # noqa: PLR2004 - a digit more, two minutes


def span(value: float) -> str:
    """3 d 4 h: a time in its two largest units."""
    left, said = max(0, int(value)), list[str]()
    for unit, size in _SPANS:
        many, left = divmod(left, size)
        if many or said or unit == "s":
            said.append(f"{many} {unit}")
        if len(said) == 2 or (said and not left):  # noqa: PLR2004 - two units
            break
    return " ".join(said)


def local(when: float, zone: tzinfo | None) -> datetime:
    """A time since the epoch in a zone; None: the machine's."""
    return datetime.fromtimestamp(when, UTC).astimezone(zone)


def moment(when: float, zone: tzinfo | None, form: str = "%H:%M:%S") -> Markup:
    """A time of day, which programs can read, too."""
    shown = local(when, zone)
    return element("time", f"{shown:{form}}", datetime=shown.isoformat(timespec="seconds"))


def named(text: str) -> list[object]:
    """A name or an address, which is broken, where there is no room for it, behind its "@" and dots before anywhere else. A path has slashes."""
    parts = re.split(r"(?<=[@.:/])(?=[^@.:/])", text)
    return [parts[0], *((_BREAK, part) for part in parts[1:])]


def prose(text: str) -> list[object]:
    """A sentence in which what stands between backquotes is to be typed as it is."""
    parts = text.split("`")
    return [element("code", part) if index % 2 and len(parts) % 2 else part for index, part in enumerate(parts)]


def table(caption: object, heads: Sequence[str], rows: Iterable[Sequence[object]], *, class_: str = "") -> Markup:
    """A table whose first column names the rows. Where there is no room for columns, each row stands as a list: then each cell has its head."""
    titles = [element("th", head, scope="col", role="columnheader") for head in heads]
    return element(
        "table",
        element("caption", caption),
        element("thead", element("tr", titles, role="row"), role="rowgroup"),
        element("tbody", (_row(heads, cells) for cells in rows), role="rowgroup"),
        class_=class_ or None,
        role="table",
    )


def _row(heads: Sequence[str], cells: Sequence[object]) -> Markup:
    first, *rest = zip(heads, cells, strict=True)
    return element(
        "tr",
        element("th", first[1], scope="row", role="rowheader", data_head=first[0]),
        (element("td", cell, role="cell", data_head=head, class_=None if cell else "none") for head, cell in rest),
        role="row",
    )
