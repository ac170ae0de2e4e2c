"""The reader of mailserver.toml and of the flags that stand over it.

`load` reports every problem of both at once: each with its file and line or its flag, and with the near miss where there
is one.
"""

from __future__ import annotations

import dataclasses
import math
import re
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal

from mailserver.config.settings import Config, Key, Network, contradictions, near_miss
from mailserver.errors import ConfigError


class Misread(ConfigError):
    """Not all of the settings can be used. By `config`, what can, a start may find out what else is wrong, and is not to serve.

    Of the settings `unsound`, dotted names, it has the default or a value that cannot stand.
    """

    def __init__(self, problems: Sequence[str], config: Config, unsound: frozenset[str]) -> None:
        super().__init__(problems)
        self.config = config
        self.unsound = unsound


Place = Callable[[Key], str]
"""Says where a setting was given, for a message to the operator."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A setting given on the command line: the flag's name, for error messages, and its value."""

    name: str
    value: object


def load(path: str | None, flags: Mapping[Key, Flag]) -> Config:
    """The settings of the file, if one is given, with the flags over them. Errors: ConfigError, Misread where it can be."""
    text = _read(path) if path else ""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+)", str(error))
        line = found[1] if found else len(text.splitlines())
        raise ConfigError([f"{path}:{line}: this is not TOML: {error}"]) from None
    for key, flag in flags.items():
        _put(data, key, flag.value)
    lines = _lines(text)

    def where(key: Key) -> str:
        while key and key not in flags and key not in lines:
            key = key[:-1]
        if key in flags:
            return flags[key].name
        return f"{path}:{lines[key]}" if key else path or "command line"

    return decode(data, where, {".".join(map(str, key)): where(key) for key in (*lines, *flags)})


def revive(data: Mapping[str, Any]) -> Config:
    """The settings that `plain` took apart."""
    settings = {name: value for name, value in data.items() if name != "places"}
    return decode(settings, places=data["places"])


def decode(
    data: Mapping[str, object], place: Place = lambda _: "configuration", places: Mapping[str, str] | None = None
) -> Config:
    """The settings of a plain mapping, as TOML gives it. Errors: Misread, each problem with its `place`."""
    reader = _Reader()
    config: Config = dataclasses.replace(reader.table(Config, data, ()), places=places or {})
    against = [(key, text) for key, text in contradictions(config) if key[0] not in reader.misfits]
    problems = [f"{place(key)}: {text}" for key, text in (*reader.problems, *against)]
    if problems:
        raise Misread(problems, config, frozenset(_dotted(key) for key in (*reader.unsound, *dict(against))))
    return config


def plain(config: Config) -> dict[str, object]:
    """The settings as `revive` reads them, fit for JSON."""
    return dataclasses.asdict(config, dict_factory=lambda pairs: {key: _plain_value(value) for key, value in pairs})


def _plain_value(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain_value(item) for name, item in value.items()}
    return str(value) if isinstance(value, IPv4Network | IPv6Network) else value


class _Misfit(Exception):
    """A value that does not fit its setting: the rest of the sentence that begins with the setting's name."""


class _Reader:
    """Turns TOML's values into the fields' types, and collects what does not fit."""

    def __init__(self) -> None:
        self.problems: list[tuple[Key, str]] = []
        self.unsound: set[Key] = set()
        """What has its default and was perhaps given: the value does not fit, or an unknown name may have meant it."""

    @property
    def misfits(self) -> set[str | int]:
        """The tables of which something kept its default for want of a fitting value."""
        return {key[0] for key, _ in self.problems}

    def table(self, cls: Any, data: object, key: Key) -> Any:
        """An instance of the dataclass `cls`; what is missing, unknown or wrong keeps its default."""
        if not isinstance(data, Mapping):
            self._misfit(key, f"{_dotted(key)} must be a table, as in [{_dotted(key)}]")
            return cls()
        fields = {item.name: item for item in dataclasses.fields(cls) if item.metadata.get("setting", True)}
        hints = typing.get_type_hints(cls)
        values = {}
        for name, value in data.items():
            if name not in fields:
                self._misfit((*key, name), f'unknown setting "{_dotted((*key, name))}"{near_miss(name, fields)}')
                self.unsound |= {(*key, each) for each in fields.keys() - data.keys()}
                continue
            try:
                values[name] = self._value(hints[name], value, (*key, name), fields[name].metadata)
            except _Misfit as error:
                self._misfit((*key, name), f"{_dotted((*key, name))} {error}")
        return cls(**values)

    def _misfit(self, key: Key, text: str) -> None:
        self.problems.append((key, text))
        self.unsound.add(key)

    def _value(self, hint: Any, value: object, key: Key, metadata: Mapping[str, Any]) -> object:
        """`value` as `hint` wants it. Errors: _Misfit, the rest of a sentence about the setting."""
        if dataclasses.is_dataclass(hint):
            return self.table(hint, value, key)
        origin = typing.get_origin(hint)
        if origin is tuple:
            if not isinstance(value, list):
                raise _Misfit("must be an array, as in [...]")
            inner = typing.get_args(hint)[0]
            return tuple(self._value(inner, item, (*key, index), {}) for index, item in enumerate(value))
        if origin is Literal:
            return _choice(value, typing.get_args(hint))
        if origin is Mapping:
            return self._mapping(typing.get_args(hint)[1], value, key)
        if hint in (bool, int, float):
            return _truth(value) if hint is bool else _number(value, hint, metadata["minimum"])
        if not isinstance(value, str):
            raise _Misfit("must be a string, in quotes")
        return _network(value) if origin is types.UnionType or origin is typing.Union else value

    def _mapping(self, hint: Any, value: object, key: Key) -> dict[str, object]:
        kind = "strings, as in { name = " + ('"value" }' if hint is str else '["value"] }')
        if not isinstance(value, dict) or not all(
            isinstance(each, str if hint is str else list) for each in value.values()
        ):
            raise _Misfit(f"must be a table of {kind if hint is str else 'arrays of ' + kind}")
        return {name: self._value(hint, each, (*key, name), {}) for name, each in value.items()}


def _choice(value: object, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise _Misfit(f"must be one of {', '.join(choices)}{near_miss(str(value), choices)}")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _Misfit("must be true or false")


def _number(value: object, kind: type, minimum: float) -> float:
    kinds = int if kind is int else int | float
    if isinstance(value, kinds) and not isinstance(value, bool) and math.isfinite(value) and value >= minimum:
        return value
    raise _Misfit(f"must be {'a whole number' if kind is int else 'a number'} of at least {minimum}")


def _network(value: str) -> Network:
    try:
        return ip_network(value)
    except ValueError:
        raise _Misfit(f'holds "{value}", which is no network such as 192.0.2.0/24') from None


def _dotted(key: Key) -> str:
    return ".".join(str(part) for part in key if isinstance(part, str))


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError:
        raise ConfigError([f"{path}: is not UTF-8"]) from None


def _put(data: dict[str, Any], key: Key, value: object) -> None:
    """Lay `value` over `data` at `key`; a "table" that is none stays, and is refused later."""
    *tables, name = (str(part) for part in key)
    for table in tables:
        data = data.setdefault(table, {})
    if isinstance(data, dict):
        data[name] = value


_NAME = r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'"""
_TABLE = re.compile(rf"\s*(\[\[?)\s*((?:{_NAME})(?:\s*\.\s*(?:{_NAME}))*)\s*\]")
_SETTING = re.compile(rf"\s*((?:{_NAME})(?:\s*\.\s*(?:{_NAME}))*)\s*=")


def _lines(text: str) -> dict[Key, int]:
    """Where each table and each setting of a TOML text stands: tomllib keeps no lines.

    It reads line by line, so what looks like a setting inside of a multi-line string counts too; the first one wins.
    """
    found: dict[Key, int] = {}
    table: Key = ()
    arrays: dict[Key, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if match := _TABLE.match(line):
            table = _parts(match[2])
            found.setdefault(table, number)
            if match[1] == "[[":
                arrays[table] = arrays.get(table, -1) + 1
                table = (*table, arrays[table])
                found[table] = number
        elif match := _SETTING.match(line):
            found.setdefault((*table, *_parts(match[1])), number)
    return found


def _parts(dotted: str) -> Key:
    return tuple(part.strip("\"'") for part in re.findall(_NAME, dotted))
