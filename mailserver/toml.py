"""A TOML table as a dataclass. All that does not fit is told at once: each with its line, and with the name that was probably meant.

A file of settings is a frozen, keyword-only dataclass whose fields all have a default. A checker's own file is read so::

    @dataclass(frozen=True, slots=True, kw_only=True)
    class SqlSettings:
        url: str = field(default="", repr=False)                    # it holds a password
        timeout_seconds: float = above(0, default=5)
        queries: Mapping[str, Query] = field(default_factory=dict)  # [queries.NAME], each a Query: a dataclass, too
    settings = read("/etc/mailserver/sql.toml", SqlSettings, contradictions)

A field is a bool, int, float, str, Literal of strings, IP network, dataclass (a table), tuple (an array, also of tables), Mapping by
names, or one of these or None. Numbers have the limits that `at_least` and `above` give. No message quotes a value, which may be a
secret, but what should be a network.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, ip_network
from operator import or_
from typing import Any, Final, Generic, Literal, TypeVar

from mailserver.errors import Unusable
from mailserver.toml_text import Document, Key

Network = IPv4Network | IPv6Network
T = TypeVar("T")
Contradictions = Callable[[T], Iterable[tuple[Key, str]]]
"""What is wrong with settings that all fit: where, and what to do."""


def at_least(minimum: float, default: float, at_most: float = math.inf) -> Any:
    """A field for a number of at least `minimum`; of an array or a mapping, for each of its numbers."""
    return field(default=default, metadata={"minimum": minimum, "maximum": at_most})


def above(limit: float, default: float) -> Any:
    """A field for a number above `limit`."""
    return field(default=default, metadata={"above": limit})


def read(path: str, cls: type[T], contradictions: Contradictions[T] = lambda _: ()) -> T:
    """The settings of a file. Errors: Unusable, with a line for each problem. Contradictions are sought where all else fits."""
    document = Document.read(path)
    fitted = fit(cls, document.data)
    wrong = [f"{document.place(key, given=True)}: {text}" for key, text in fitted.misfits]
    wrong = wrong or [f"{document.place(key)}: {text}" for key, text in contradictions(fitted.value)]
    if wrong:
        raise Unusable("\n".join(dict.fromkeys(wrong)))
    return fitted.value


def near_miss(name: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown `name`: the known one that was probably meant, if there is one."""
    matches = difflib.get_close_matches(name, list(known), n=1)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def dotted(key: Key) -> str:
    """A setting's name, as messages have it: without indices, and on one line."""
    return ".".join(_shown(part) for part in key if isinstance(part, str))


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


@dataclass(frozen=True, slots=True)
class Fitted(Generic[T]):
    """What became of a table: `value` has what fits, and the defaults of what does not."""

    value: T
    misfits: tuple[tuple[Key, str], ...]
    """Where, and what to do; in the order of the text."""
    unsound: frozenset[Key]
    """What has its default and was perhaps given: the value does not fit, or an unknown name may have meant it."""


def fit(cls: type[T], data: object) -> Fitted[T]:
    """The table `data`, as tomllib gives it, as the dataclass `cls`. A field with metadata ``{"setting": False}`` is no part of it."""
    fitting = _Fitting()
    value = fitting.table(cls, data, ())
    return Fitted(value, tuple(fitting.misfits), frozenset(fitting.unsound))


def plain(value: object) -> Any:
    """A dataclass as `fit` takes it, fit for JSON."""
    if dataclasses.is_dataclass(value):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Network) else value


class _Misfit(Exception):
    """A value that does not fit its setting: the rest of the sentence that begins with the setting's name."""


class _Fitting:
    """Turns TOML's values into the fields' types, and collects what does not fit."""

    def __init__(self) -> None:
        self.misfits: list[tuple[Key, str]] = []
        self.unsound: set[Key] = set()

    def table(self, cls: Any, data: object, key: Key) -> Any:
        """An instance of the dataclass `cls`; what is missing, unknown or wrong keeps its default."""
        if not isinstance(data, Mapping):
            header = f"[[{dotted(key)}]]" if isinstance(key[-1], int) else f"[{dotted(key)}]"
            self._misfit(key, f"{dotted(key)} must be a table, as in {header}")
            return cls()
        known = {item.name: item for item in dataclasses.fields(cls) if item.metadata.get("setting", True)}
        hints = typing.get_type_hints(cls)
        values = {}
        for name, value in data.items():
            where = (*key, name)
            if name not in known:
                self._misfit(where, f'unknown setting "{dotted(where)}"{near_miss(name, known)}')
                self.unsound |= {(*key, each) for each in known.keys() - data.keys()}
                continue
            try:
                values[name] = self._value(hints[name], value, where, known[name].metadata)
            except _Misfit as error:
                self._misfit(where, f"{dotted(where)} {error}")
        return cls(**values)

    def _misfit(self, key: Key, text: str) -> None:
        self.misfits.append((key, text))
        self.unsound.add(key)

    def _value(self, hint: Any, value: object, key: Key, limits: Mapping[str, Any]) -> object:
        """`value` as `hint` wants it. Errors: _Misfit."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if types.NoneType in arguments:  # which no TOML has, but `plain`
            inner = reduce(or_, (each for each in arguments if each is not types.NoneType))
            return None if value is None else self._value(inner, value, key, limits)
        if dataclasses.is_dataclass(hint):
            return self.table(hint, value, key)
        if origin is tuple:
            return self._array(arguments[0], value, key, limits)
        if origin is Mapping:
            return self._mapping(arguments[1], value, key, limits)
        return _choice(value, arguments) if origin is Literal else _single(hint, value, limits)

    def _array(self, hint: Any, value: object, key: Key, limits: Mapping[str, Any]) -> tuple[object, ...]:
        choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
        if choices and not (isinstance(value, list) and all(item in choices for item in value)):
            raise _Misfit(f"must be a list out of {', '.join(choices)}")
        if not isinstance(value, list):
            raise _Misfit("must be an array, as in [...]")
        return tuple(self._each(hint, enumerate(value), key, limits).values())

    def _mapping(self, hint: Any, value: object, key: Key, limits: Mapping[str, Any]) -> dict[Any, object]:
        """Its names are the operator's; a table for each is written as ``[quota.NAME]``."""
        name = f"{dotted(key)}.NAME" if dataclasses.is_dataclass(hint) else dotted(key)
        kind, words = _VALUES.get(hint, (object, f", as in [{name}]"))
        if not isinstance(value, dict) or not all(isinstance(each, kind) for each in value.values()):
            raise _Misfit(f"must be a table{words}")
        return self._each(hint, value.items(), key, limits)

    def _each(
        self, hint: Any, items: Iterable[tuple[str | int, object]], key: Key, limits: Mapping[str, Any]
    ) -> dict[str | int, object]:
        """Those that fit; each of the others is told."""
        fitting = {}
        for name, item in items:
            where = (*key, name)
            try:
                fitting[name] = self._value(hint, item, where, limits)
            except _Misfit as error:
                self._misfit(where, f"{dotted(where)} {error}")
        return fitting


_VALUES: Final[dict[Any, tuple[type, str]]] = {
    str: (str, ' of strings, as in { name = "value" }'),
    tuple[str, ...]: (list, ' of arrays of strings, as in { name = ["value"] }'),
}
"""Mappings that are written in one line: of which TOML values, and the words for them."""


def _choice(value: object, choices: tuple[str, ...]) -> str:
    if isinstance(value, str) and value in choices:
        return value
    raise _Misfit(f"must be one of {', '.join(choices)}{near_miss(str(value), choices)}")


def _truth(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise _Misfit("must be true or false")


def _string(value: object) -> str:
    if isinstance(value, str):
        return value
    raise _Misfit("must be a string, in quotes")


def _network(value: object) -> Network:
    text = _string(value)
    try:
        return ip_network(text)
    except ValueError:
        raise _Misfit(f'holds "{_shown(text)}", which is no network such as 192.0.2.0/24') from None


def _single(hint: Any, value: object, limits: Mapping[str, Any]) -> object:
    if hint in (int, float):
        return _number(value, hint, limits)
    return _SINGLE[hint](value)


_SINGLE: Final[dict[Any, Callable[[object], object]]] = {bool: _truth, str: _string, Network: _network}


def _number(value: object, kind: type, limits: Mapping[str, Any]) -> float:
    minimum, above, maximum = (limits.get(name) for name in ("minimum", "above", "maximum"))
    if (
        isinstance(value, int if kind is int else int | float)
        and not isinstance(value, bool)
        and _finite(value)
        and (minimum is None or value >= minimum)
        and (above is None or value > above)
        and (maximum is None or value <= maximum)
    ):
        return value
    words = ["a whole number" if kind is int else "a number"]
    words += [f"of at least {minimum}"] * (minimum is not None) + [f"above {above}"] * (above is not None)
    words += [f"and at most {maximum}"] * (maximum not in (None, math.inf))
    raise _Misfit(f"must be {' '.join(words)}")


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an int that no float can hold
        return False
