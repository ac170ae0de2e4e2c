"""The reader of mailserver.toml and of the flags that stand over it.

`load` reports every problem of both at once: each with its file and line or its flag, and with the near miss where there
is one.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from mailserver.config.checks import contradictions
from mailserver.config.settings import Config
from mailserver.errors import ConfigError, Unusable
from mailserver.toml import Fitted, dotted, fit, plain
from mailserver.toml_text import Document, Key

__all__ = ["Flag", "Misread", "decode", "load", "plain", "revive"]


class Misread(ConfigError):
    """Not all of the settings can be used. By `config`, what can, a start may find out what else is wrong, and is not to serve.

    Of the settings `unsound`, dotted names, it has the default or a value that cannot stand.
    """

    def __init__(self, problems: Sequence[str], config: Config, unsound: frozenset[str]) -> None:
        super().__init__(problems)
        self.config = config
        self.unsound = unsound


@dataclass(frozen=True, slots=True)
class Flag:
    """A setting given on the command line: the flag's name, for error messages, and its value."""

    name: str
    value: object


def load(path: str | None, flags: Mapping[Key, Flag]) -> Config:
    """The settings of the file, if one is given, with the flags over them. Errors: ConfigError, Misread where it can be."""
    try:
        document = Document.read(path) if path else Document.parse("", "command line")
    except Unusable as error:
        hint = "; --config names another" if path and not os.path.lexists(path) else ""
        raise ConfigError([f"{each}{hint}" for each in error.problems]) from None
    for key, flag in flags.items():
        document.lay_over(key, flag.value, flag.name)
    return _checked(document)


def revive(data: Mapping[str, Any], *, sound: bool = True) -> Config:
    """The settings that `plain` took apart; not `sound`: also those that cannot stand. Errors: Misread, of what should be sound."""
    try:
        config = decode({name: value for name, value in data.items() if name != "places"})
    except Misread as error:
        if sound:
            raise
        config = error.config
    return dataclasses.replace(config, places=data["places"])


def decode(data: Mapping[str, Any]) -> Config:
    """The settings of a plain mapping, as TOML gives it. Errors: Misread."""
    return _checked(Document("configuration", dict(data), {}))


_TOGETHER: Final = frozenset({"tls", "kerberos"})
"""Tables whose settings contradict one another; those of others stand or fall by themselves."""


def _follows(key: Key, fitted: Fitted[Config]) -> bool:
    """Whether a contradiction may only come of what does not fit in its table, since that has its default."""
    together = key[0] in _TOGETHER and any(misfit[0] == key[0] for misfit, _ in fitted.misfits)
    return together or any(each[: len(key)] == key[: len(each)] for each in fitted.unsound)


def _checked(document: Document) -> Config:
    fitted = fit(Config, document.data)
    places = {".".join(map(str, key)): place for key, place in document.places.items()}
    config = dataclasses.replace(fitted.value, places=places)
    against = [(key, text) for key, text in contradictions(config) if not _follows(key, fitted)]
    problems = [f"{document.place(key, given=True)}: {text}" for key, text in fitted.misfits]
    problems += [f"{document.place(key)}: {text}" for key, text in against]
    if problems:
        unsound = frozenset(dotted(key) for key in (*fitted.unsound, *dict(against)))
        raise Misread(list(dict.fromkeys(problems)), config, unsound)
    return config
