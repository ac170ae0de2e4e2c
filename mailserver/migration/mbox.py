"""A user's mail in one file, as UW's server, qpopper, Dovecot and mail programs keep it: an mbox, or an MMDF file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple
from zlib import crc32

from mailserver.migration.arrival import arrival
from mailserver.migration.files import Octets, explain
from mailserver.migration.from_line import received
from mailserver.migration.mbox_dovecot import Dovecot
from mailserver.migration.mbox_fields import is_pseudo, is_seen, shown
from mailserver.migration.mbox_layout import HEADER, Rule, Span, split_mbox, split_mmdf
from mailserver.migration.mbox_qpopper import Qpopper, QpopperOld, QpopperSum
from mailserver.migration.mbox_uidls import Numbering, Unnumbered
from mailserver.migration.mbox_uw import Uw
from mailserver.migration.places import Formers, Login, Place
from mailserver.migration.source import Original, Source, SourceError, Unreadable
from mailserver.uidl_format import DEFAULT, Format

NUMBERINGS: Final[Mapping[str, Callable[[], Numbering]]] = {
    "none": Unnumbered,
    "uw": Uw,
    "qpopper": Qpopper,
    "qpopper-readonly": QpopperSum,
    "qpopper-2": QpopperOld,
}
"""What `uidl=` says, but for Dovecot's, which have a format."""

_BEGINNING: Final = 256
"""Octets of a message by which a file is noticed that was written anew meanwhile."""


class _Part(NamedTuple):
    header: int
    body: int
    end: int
    beginning: int
    """The sum of the first octets."""


class Mbox:
    """The messages of one file, which stays open until `close`."""

    def __init__(self, octets: Octets, spans: Callable[[], Iterator[Span]], begun: Callable[[], Numbering]) -> None:
        self.notes: list[str] = []
        self._octets = octets
        self._spans = spans
        self._begun = begun
        self._parts: dict[str, _Part] = {}

    def messages(self) -> Sequence[Original]:
        """It reads the whole file. Errors: SourceError."""
        numbering = self._begun()
        found: list[Original] = []
        last = self._octets.mtime
        for number, span in enumerate(self._spans()):
            if number == 0 and is_pseudo(span.fields):
                numbering.begin(span.fields)
                continue
            last = _arrival(span) or last
            if numbering.add(span.line, span.fields):
                place = f"{self._octets.path}, octet {span.header}"
                self._parts[place] = _Part(span.header, span.body, span.end, self._beginning(span.header))
                found.append(Original(place, b"", last, is_seen(span.fields)))
        if trouble := numbering.trouble():
            self.notes.append(f"{self._octets.path}: {trouble}")
        return [each._replace(uidl=uidl) for each, uidl in zip(found, numbering.uidls(), strict=True)]

    def read(self, message: Original) -> Iterator[bytes]:
        """As clients saw it: without the fields that are the server's own."""
        part = self._parts[message.place]
        if self._beginning(part.header) != part.beginning:
            raise SourceError(
                f"{self._octets.path}: the file has changed meanwhile; stop what writes to it, and begin again"
            )
        whole = min(part.body, part.header + HEADER)
        yield shown(self._octets.at(part.header, whole - part.header))
        yield from self._octets.pieces(whole, part.end)

    def close(self) -> None:
        """The file."""
        self._octets.close()

    def _beginning(self, header: int) -> int:
        return crc32(self._octets.at(header, _BEGINNING))


class Absent:
    """The mail of a user who has no file, because there is none."""

    def __init__(self, note: str) -> None:
        self.notes = [note]

    def messages(self) -> Sequence[Original]:
        """None."""
        return []

    def read(self, message: Original) -> Iterator[bytes]:
        """It is never asked for one."""
        raise Unreadable(f"{message.place}: there is no such message")

    def close(self) -> None:
        """Nothing is open."""


def open_mbox(place: Place, login: Login, formers: Formers) -> Source:  # noqa: ARG001 - of all openers
    """The source of ``mbox:PATH?uidl=...``. Errors: SourceError."""
    begun = _numbering(place)
    rule = Rule(place.options["lines"]) if "lines" in place.options else begun().rule
    return _open(place.path(login), begun, lambda octets: split_mbox(octets, rule))


def open_mmdf(place: Place, login: Login, formers: Formers) -> Source:  # noqa: ARG001 - of all openers
    """The source of ``mmdf:PATH?uidl=...``. Errors: SourceError."""
    return _open(place.path(login), _numbering(place), split_mmdf)


def check_mbox(place: Place) -> None:
    """Errors: ValueError for options that say nothing that is known."""
    _numbering(place)
    if place.options.get("lines", "any") not in {each.value for each in Rule}:
        raise ValueError(f"lines={place.options['lines']}: known are {', '.join(each.value for each in Rule)}")


def _open(path: str, begun: Callable[[], Numbering], split: Callable[[Octets], Iterator[Span]]) -> Source:
    try:
        os.lstat(path)
    except FileNotFoundError:
        if Path(path).parent.is_dir():
            return Absent(f"{path} does not exist: the user has no mail there")
    except OSError as error:  # which is no proof that there is none
        raise SourceError(f"{path}: {explain(error)}") from error
    octets = Octets(path)
    return Mbox(octets, lambda: split(octets), begun)


def _numbering(place: Place) -> Callable[[], Numbering]:
    """Errors: ValueError."""
    said = place.options.get("uidl", "")
    if said in NUMBERINGS:
        return NUMBERINGS[said]
    kind, _, text = said.partition(":")
    if kind != "dovecot":
        raise ValueError(
            f"{place.kind}: needs uidl=, which server gave the unique-ids: {', '.join([*NUMBERINGS, 'dovecot:FORMAT'])}"
        )
    form = Format(text or DEFAULT)
    if "filename" in form.keys:
        raise ValueError(f"the format {text!r} has the name of a file, and an mbox has none for each message")
    return lambda: Dovecot(form.expand, reuse="xuidl" in place.options)


def _arrival(span: Span) -> float | None:
    """When a message arrived, by the line that begins it, or else by its last hop."""
    time = received(span.line) if span.line else None
    if time is None:
        return arrival(next((each.whole for each in span.fields if each.name == b"received"), b""))
    return time if time > 0 else None
