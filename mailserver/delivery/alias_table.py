"""The text of a file of aliases, in the form of Postfix and sendmail (aliases(5)), as a table.

A name and a colon begin an entry, lines that begin with white space continue it, and "#" begins a line that nobody reads. Beside local
names, the left side may be a whole address, or "@" and a domain: what is for all of its addresses that nobody has.

Targets that would run programs, write files or read lists are refused, since they would do so as the user that owns all maildrops.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from mailserver.delivery.addresses import Address, parse_address
from mailserver.names import folded

_COMMENT: Final = r"\((?:[^()\\]|\\.|\([^()]*\))*\)"
_PIECE: Final = re.compile(rf'"(?:[^"\\]|\\.)*"|\\.|({_COMMENT})|[^,"\\(]+|[,"\\(]')
"""What a comma within does not divide: a quoted string, an escaped character, or a comment; else plain text, or one odd character."""

_LEFT: Final = re.compile(r'("(?:[^"\\]|\\.)*"(?:@[^\s:,"]+)?|[^\s:,"]+)[ \t]*:')
_BRACKETS: Final = re.compile(r"[^<>]*<([^<>]+)>[ \t]*")

_REFUSED: Final = (
    ("|", "would run a program, which this server does not"),
    ("/", "would write to a file, which this server does not"),
    (":include:", "would read a list from another file, which this server does not"),
    (":", "is nothing that this server knows"),
)
"""How targets begin that are none here, and why."""

_NOT_UTF8: Final = "\N{REPLACEMENT CHARACTER}"

Key = tuple[str, str]
"""A left side: the local part and the domain, each folded; of a local name the domain is "", of a domain's rest the local part."""


class Target(NamedTuple):
    """An address that an alias stands for."""

    address: Address
    line: int
    """Where it stands in the file."""
    final: bool = False
    r"""Whether no other alias is to be looked up for it (\name)."""


@dataclass(frozen=True, slots=True)
class AliasTable:
    """The aliases of a file."""

    entries: Mapping[Key, tuple[Target, ...]] = field(default_factory=dict)
    """An alias whose targets are all refused stands for nobody: it has none."""
    notes: tuple[str, ...] = ()
    """What is refused, each as ``LINE: text``."""


def key_of(address: Address) -> Key:
    """The left side that is this address."""
    return folded(address.local), address.domain


def read_aliases(data: bytes) -> AliasTable:
    """The table of a file's octets. It never raises: what cannot be read is noted, and everything else counts."""
    entries: dict[Key, tuple[Target, ...]] = {}
    notes: list[str] = []
    for name, pieces in _logical_lines(data, notes):
        line = pieces[0][0]
        key = _left_side(name)
        if key is None:
            notes.append(f"{line}: {_shown(name)} is neither a local name nor an address; the entry is skipped")
        elif key in entries:
            notes.append(f"{line}: an earlier entry has the same name; this one is skipped")
        else:
            entries[key] = tuple(_targets(pieces, notes))
    return AliasTable(entries, tuple(notes))


def _logical_lines(data: bytes, notes: list[str]) -> Iterator[tuple[str, list[tuple[int, str]]]]:
    """Each entry's left side, and the pieces of its right side with their lines."""
    name, pieces = "", list[tuple[int, str]]()
    for number, octets in enumerate(data.split(b"\n"), 1):
        text = octets.decode("utf-8", "replace").rstrip()
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if text[0] in " \t":
            if pieces:
                pieces.append((number, text))
            else:
                notes.append(f"{number}: the line continues nothing, and is skipped")
            continue
        if pieces:
            yield name, pieces
        left = _LEFT.match(text)
        pieces = []
        if left is None:
            notes.append(f"{number}: there is no name with a colon behind it; the entry is skipped")
        else:
            name, pieces = left[1], [(number, text[left.end() :])]
    if pieces:
        yield name, pieces


def _left_side(name: str) -> Key | None:
    if name.startswith("@") and len(name) > 1 and "@" not in name[1:]:
        return "", folded(name[1:])
    address = None if _NOT_UTF8 in name else parse_address(name)
    return None if address is None else key_of(address)


def _targets(pieces: list[tuple[int, str]], notes: list[str]) -> Iterator[Target]:
    given = False
    for line, text in pieces:
        for each in filter(None, _divided(text)):
            given = True
            target = _target(each, line)
            if isinstance(target, Target):
                yield target
            else:
                notes.append(f"{line}: {_shown(each)} {target}; the entry's other targets count")
    if not given:
        notes.append(f"{pieces[0][0]}: there is nothing behind the colon, so that the alias stands for nobody")


def _divided(text: str) -> Iterator[str]:
    """The text between commas, without comments."""
    parts: list[str] = []
    for piece in _PIECE.finditer(text):
        if piece[0] == ",":
            yield "".join(parts).strip()
            parts = []
        elif piece[1] is None:
            parts.append(piece[0])
    yield "".join(parts).strip()


def _target(text: str, line: int) -> Target | str:
    """The target, or why it is none."""
    beginning = text.lstrip('"').lower()
    refused = next((why for prefix, why in _REFUSED if beginning.startswith(prefix)), "")
    if _NOT_UTF8 in text:
        refused = "is not UTF-8"
    elif text.startswith("#"):
        refused = 'is no address: "#" begins a comment at the beginning of a line alone'
    if refused:
        return refused
    bare = text.removeprefix("\\")
    address = parse_address(bare) or parse_address(_without_name(bare))
    return "is no address" if address is None else Target(address, line, final=bare != text)


def _without_name(text: str) -> str:
    """The address alone, without a person's name."""
    bracketed = _BRACKETS.fullmatch(text)
    return bracketed[1] if bracketed else text


def _shown(text: str) -> str:
    """A piece of the file for the log, escaped; forty characters tell which."""
    return ascii(text if len(text) <= 40 else text[:37] + "...")  # noqa: PLR2004 - the docstring says it
