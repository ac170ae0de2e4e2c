"""What a conversion gives: the text of a file of ours, the same without its secrets, and remarks on what could not be taken over."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

MASK: Final = "..."
"""Stands for a secret where people look."""

SecretKind = Literal["passwd-file", "toml"]


class Unconvertible(Exception):
    """The source is not what it was said to be, or cannot be read. The text says what to do, and has no secret."""


class NoProgram(Exception):
    """What reads the source for us is missing. The text says where it is from."""


class Remark(NamedTuple):
    """What the operator should know, about a user or a setting; no secret is among it."""

    about: str
    text: str


@dataclass(frozen=True, slots=True)
class Converted:
    """A file of ours."""

    text: str = field(repr=False)
    """Octets that are not UTF-8 are in it as surrogates (`surrogateescape`)."""
    shown: str
    """The same without its secrets."""
    remarks: Sequence[Remark] = ()


@dataclass(frozen=True, slots=True)
class Setting:
    """A line of a TOML file."""

    table: str
    """As in ``[auth]``; "": above all tables."""
    key: str
    value: str | int | bool | Sequence[str] = field(repr=False)
    why: str = ""
    """A comment above it."""
    secret: bool = False


def toml(settings: Iterable[Setting], head: str, *, masked: bool = False) -> str:
    """The text of a TOML file, with the tables in the order in which they come, and a comment at its head."""
    tables: dict[str, list[Setting]] = {"": []}
    for each in settings:
        tables.setdefault(each.table, []).append(each)
    pieces = ["".join(f"# {line}\n" for line in head.splitlines())]
    for name, lines in tables.items():
        if lines:
            pieces.append("".join([f"[{name}]\n" * bool(name), *(_line(each, masked) for each in lines)]))
    return "\n".join(pieces)


def _line(setting: Setting, masked: bool) -> str:
    value = MASK if masked and setting.secret else setting.value
    return f"# {setting.why}\n" * bool(setting.why) + f"{setting.key} = {written(value)}\n"


def written(value: str | int | bool | Sequence[str]) -> str:
    """A value as TOML has it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str):
        return "[" + ", ".join(map(written, value)) + "]"
    if "\n" in value and "'''" not in value and not value.endswith("'") and not _ESCAPED_IN_LITERAL.search(value):
        return f"'''\n{value}'''"
    return '"' + _ESCAPED.sub(_escape, value) + '"'


_ESCAPED: Final = re.compile(r'["\\\x00-\x1f\x7f]')
_ESCAPED_IN_LITERAL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def _escape(match: re.Match[str]) -> str:
    return f"\\{match[0]}" if match[0] in '"\\' else f"\\u{ord(match[0]):04x}"


def settings_file(settings: Sequence[Setting], head: str, remarks: Sequence[Remark] = ()) -> Converted:
    """A TOML file of these settings."""
    return Converted(toml(settings, head), toml(settings, head, masked=True), remarks)
