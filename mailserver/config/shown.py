"""What of the settings is shown to people: what may be a secret is not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Final, NamedTuple

from mailserver.config.settings import Config
from mailserver.toml import plain

MASKED: Final = "..."
"""Instead of what may hold a secret."""

OURS: Final = frozenset({"passwd-file", "kerberos-password", "dovecot-auth", "pam", "oauth2", "sql", "ldap"})
"""Checkers that are named by a file or a service, never by a secret."""


class Setting(NamedTuple):
    """One of the settings, as it is shown."""

    name: str
    value: Any
    place: str
    """Where it is set, as FILE:LINE or a flag; "": it is the default."""


def shown_checker(description: str) -> str:
    """A checker as the settings name it, without what may be a secret."""
    kind = description.partition(":")[0]
    return description if kind in OURS else f"{kind}:{MASKED}"


def shown_settings(config: Config) -> Iterator[Setting]:
    """All settings, in their order, by their dotted names."""
    return _settings(config, "", config.places)


def _settings(table: Any, prefix: str, places: Mapping[str, str]) -> Iterator[Setting]:
    for each in fields(table):
        if not each.metadata.get("setting", True):
            continue
        value, name = getattr(table, each.name), prefix + each.name
        if is_dataclass(value):
            yield from _settings(value, f"{name}.", places)
        else:
            yield Setting(name, _shown(name, value, secret=not each.repr), _place(name, places))


def _shown(name: str, value: Any, *, secret: bool) -> Any:
    if name == "auth.checkers":
        return list(map(shown_checker, value))
    return MASKED if secret and value else plain(value)


def _place(name: str, places: Mapping[str, str]) -> str:
    """Where a setting is set; a table's own line counts for a whole that has lines of its own."""
    return places.get(name) or next((where for key, where in places.items() if key.startswith(f"{name}.")), "")
