"""A TOML text: what it says, and in which line each of its tables and settings stands."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from mailserver.errors import Unusable

Key = tuple[str | int, ...]
"""Where a setting stands: ``("limits", "idle_seconds")``; a number is the index in an array of tables."""


@dataclass(frozen=True, slots=True)
class Document:
    """A TOML text: its values, and where its tables and settings stand, in the order of the text."""

    path: str
    data: dict[str, Any]
    places: dict[Key, str]
    """``FILE:LINE`` of each."""

    @classmethod
    def read(cls, path: str) -> Document:
        """A file. Errors: Unusable."""
        try:
            return cls.parse(Path(path).read_text(encoding="utf-8"), path)
        except OSError as error:
            raise Unusable(f"{path}: cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise Unusable(f"{path}: is not UTF-8") from None

    @classmethod
    def parse(cls, text: str, path: str) -> Document:
        """A text; `path` is for messages. Errors: Unusable."""
        try:
            data = tomllib.loads(text)
            return cls(path, data, {key: f"{path}:{line}" for key, line in _lines(text).items()})
        except ValueError as error:  # also of a number of thousands of digits, which names no line
            found = re.search(r"at line (\d+)", str(error))
            line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
            raise Unusable(f"{path}:{line}: this is not TOML: {error}") from None
        except RecursionError:
            raise Unusable(f"{path}: this is not TOML that can be read: it is nested too deeply") from None

    def lay_over(self, key: Key, value: object, place: str) -> None:
        """Set `value`, which was given elsewhere; a "table" above it that is none stays, and does not fit later."""
        data = self.data
        *tables, name = map(str, key)
        for table in tables:
            data = data.setdefault(table, {})
            if not isinstance(data, dict):
                return
        data[name] = value
        self.places[key] = place

    def place(self, key: Key, given: bool = False) -> str:
        """Where a setting stands or, if it is left out, its table: at least the file. One that is `given` is in some line."""
        if given and key not in self.places:  # a table without a header: its first setting
            key = next((each for each in self.places if each[: len(key)] == key), key)
        while key and key not in self.places:
            key = key[:-1]
        return self.places[key] if key else self.path


_QUOTED = r""""(?:\\.|[^"\\\n])*"|'[^'\n]*'"""
_NAME = rf"[A-Za-z0-9_-]+|{_QUOTED}"
_NAMES = rf"((?:{_NAME})(?:[ \t]*\.[ \t]*(?:{_NAME}))*)"
_TABLE = re.compile(rf"\s*(\[\[?)\s*{_NAMES}\s*\]")
_SETTING = re.compile(rf"\s*{_NAMES}\s*=")
_OPAQUE = re.compile(rf"""\"{{3}}(?:\\.|[^\\])*?\"{{3,5}}|'{{3}}.*?'{{3,5}}|({_QUOTED}|\#[^\n]*)""", re.DOTALL)
"""Strings of many lines; in the group what has one: strings and comments. No brackets inside of them count."""


def _lines(text: str) -> dict[Key, int]:
    """Where each table and setting of a text that is TOML stands, but for those of inline tables: tomllib keeps no lines."""
    text = _OPAQUE.sub(lambda match: match[1] or "\n" * match[0].count("\n"), text)
    bare = _OPAQUE.sub("", text).split("\n")
    open_brackets = accumulate((sum(map(line.count, "[{")) - sum(map(line.count, "]}")) for line in bare), initial=0)
    found: dict[Key, int] = {}
    last: dict[Key, int] = {}
    table: Key = ()
    for number, (line, inside) in enumerate(zip(text.split("\n"), open_brackets, strict=False), 1):
        if inside:
            continue  # of an array
        if match := _TABLE.match(line):
            *above, name = _parts(match[2])
            table = (*_below((), above, last), name)
            if match[1] == "[[":
                found.setdefault(table, number)
                last[table] = last.get(table, -1) + 1
                table = (*table, last[table])
            found.setdefault(table, number)
        elif match := _SETTING.match(line):
            found.setdefault(_below(table, _parts(match[1]), last), number)
    return found


def _below(table: Key, names: Iterable[str], last: Mapping[Key, int]) -> Key:
    """A key in TOML's words is one below `table`; in an array of tables it means the `last`."""
    for name in names:
        table = (*table, name)
        if table in last:
            table = (*table, last[table])
    return table


def _parts(names: str) -> list[str]:
    found = []
    value: Any = tomllib.loads(f"{names} = 0")
    while isinstance(value, dict):
        [(name, value)] = value.items()
        found.append(name)
    return found
