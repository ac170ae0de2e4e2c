"""Where the messages of an mbox, and of an MMDF file, begin and end.

An mbox tells it badly: a line of text may look like the line that begins a message. Each server has its rule, and messages must be
cut here as the server cut them that gave them their unique-ids; `Rule` has what the rules differ in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, NamedTuple

from mailserver.migration.files import OVERLAP, Octets
from mailserver.migration.from_line import received
from mailserver.migration.mbox_fields import Field, read_fields
from mailserver.migration.source import SourceError

HEADER: Final = 1024 * 1024
"""Octets of a header that are looked at. What comes after them is shown as it is."""

_DIGITS: Final = 15
_NOTHING: Final = re.compile(rb"[\s\0]*")
_LINE: Final = rb"From [^\n]{0,%d}" % (OVERLAP - 8)
_FROM: Final = re.compile(rb"\n" + _LINE)
_AFTER_BLANK: Final = re.compile(rb"(?:(?<=\n)|(?<=\n\r))\n" + _LINE)
_BLANK_OR_FROM: Final = re.compile(rb"\n(?:\r?\n|" + _LINE + rb")")
_MARK: Final = b"\1\1\1\1\n"
_MARKED: Final = re.compile(rb"\n" + _MARK)


class Rule(Enum):
    """Which lines that look like the first one of a message are one."""

    ANY = "any"
    """All but those in headers, as in UW's server."""
    BLANK = "blank"
    """Those after a blank line, as in qpopper."""
    LENGTH = "length"
    """All, but for those within the length that Content-Length says, if a message or the end comes after it; as in Dovecot."""


class Span(NamedTuple):
    """Where a message is in the file."""

    line: bytes
    """That begins it, without its end; b"": none does."""
    header: int
    body: int
    """After the blank line."""
    end: int
    fields: list[Field]


def split_mbox(octets: Octets, rule: Rule) -> Iterator[Span]:
    """The messages of an mbox, in their order. Errors: SourceError."""
    position = _begin(octets)
    if position >= octets.size:
        return
    line = _line(octets, position)
    if not _begins(octets, position):
        raise SourceError(f"{octets.path}: it does not begin as an mbox does, with From, a sender and a date")
    while True:
        header = min(octets.size, position + len(line) + 1)
        body, following = _header_end(octets, header, rule)
        fields = read_fields(octets.at(header, min(HEADER, body - header)))
        if following is None:
            following = _next(octets, rule, body, fields)
        end = _trimmed(octets, header, following)
        yield Span(line, header, min(body, end), end, fields)
        if following is None:
            return
        position = following + 1
        line = _line(octets, position)


def split_mmdf(octets: Octets) -> Iterator[Span]:
    """The messages of an MMDF file: each stands between two lines of four octets 1. Errors: SourceError."""
    position = _begin(octets)
    if position < octets.size and octets.at(position, len(_MARK)) != _MARK:
        raise SourceError(f"{octets.path}: it does not begin as an MMDF file does, with a line of four octets 1")
    while position < octets.size:
        header = position + len(_MARK)
        line = _line(octets, header)  # c-client writes one there
        line = b"" if received(line) is None else line
        header = min(octets.size, header + len(line) + 1 if line else header)
        closing = octets.search(_MARKED, header - 1)
        end = octets.size if closing is None else closing[0] + 1
        blank = octets.search(_BLANK_OR_FROM, header - 1) if header < end else None
        while blank is not None and blank[1].startswith(b"\nFrom"):
            blank = octets.search(_BLANK_OR_FROM, blank[0] + 1)
        body = end if blank is None else min(end, blank[0] + len(blank[1]))
        yield Span(line, header, body, end, read_fields(octets.at(header, min(HEADER, body - header))))
        opening = octets.search(_MARKED, end + len(_MARK) - 1)
        position = octets.size if opening is None else opening[0] + 1


def _begin(octets: Octets) -> int:
    """Where the first message begins, after the blanks that some delivery agents leave there."""
    found = _NOTHING.match(octets.at(0, OVERLAP))
    return 0 if found is None else found.end()


def _line(octets: Octets, position: int) -> bytes:
    """The line there without its end; b"" for one that is too long to begin a message."""
    line, _, _ = octets.at(position, OVERLAP).partition(b"\n")
    return line if len(line) < OVERLAP else b""


def _begins(octets: Octets, position: int) -> bool:
    return received(_line(octets, position)) is not None


def _header_end(octets: Octets, header: int, rule: Rule) -> tuple[int, int | None]:
    """The end of a header with its blank line, and where the next message begins if that ends it."""
    start = header - 1
    while found := octets.search(_BLANK_OR_FROM, start):
        position, text = found
        if not text.startswith(b"\nFrom"):
            return position + len(text), None
        if rule is Rule.LENGTH and _begins(octets, position + 1):
            return position + 1, position
        start = position + 1
    return octets.size, None


def _next(octets: Octets, rule: Rule, body: int, fields: Sequence[Field]) -> int | None:
    """Where the line end before the next message is; None: there is none."""
    start = body - 1
    if rule is Rule.LENGTH:
        end = _by_length(octets, body, fields)
        if end is not None:
            return end if end < octets.size else None
    pattern = _AFTER_BLANK if rule is Rule.BLANK else _FROM
    while found := octets.search(pattern, start):
        if _begins(octets, found[0] + 1):
            return found[0]
        start = found[0] + 1
    return None


def _by_length(octets: Octets, body: int, fields: Sequence[Field]) -> int | None:
    """The end of a body as Content-Length has it, if another message or the file's end is there."""
    text = next((each.value for each in fields if each.name == b"content-length"), b"")
    if not text.isdigit() or len(text) > _DIGITS:
        return None
    end = body + int(text)
    after = octets.at(end, OVERLAP) if end <= octets.size else b"?"
    blank = len(after) - len(after.lstrip(b"\r"))
    if after.strip(b"\r\n") == b"":
        return octets.size
    return end + blank if after[blank : blank + 1] == b"\n" and _begins(octets, end + blank + 1) else None


def _trimmed(octets: Octets, header: int, following: int | None) -> int:
    """The end of a message, without the line end that separates it from the next one, or from the end of the file."""
    end = max(header, octets.size if following is None else following)
    start = max(header, end - 2)
    last = octets.at(start, end - start)
    if following is None and last.endswith(b"\n"):
        end, last = end - 1, last[:-1]
    return end - 1 if last.endswith(b"\r") else end
