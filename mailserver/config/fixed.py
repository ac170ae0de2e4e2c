"""Which settings a running server cannot change, and what else differs between two."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from mailserver.config.checks import contradictions
from mailserver.config.problems import Problems
from mailserver.config.reading import plain
from mailserver.config.settings import Config
from mailserver.toml import dotted

_FIXED: Final = ("workers", "user", "log", "listen")
"""Ports, processes and rights are those of the start, and the log's file belongs to twist or twistd."""


def fixed_as(config: Config, present: Config, problems: Problems) -> Config:
    """The settings as far as they can be changed now, each where it was set when it took effect. What they and the others of `present` contradict is among the problems."""
    mixed = replace(config, **{name: getattr(present, name) for name in _FIXED})
    if mixed != config:
        known = {text for _, text in contradictions(config)}
        for key, text in contradictions(mixed):
            if text not in known:
                problems.add(
                    f"{dotted(key)}: {text}; or restart the server, to apply what has changed in it and in listen"
                )
    places = {name: where for name, where in config.places.items() if not is_fixed(name)}
    return replace(mixed, places=places | {name: where for name, where in present.places.items() if is_fixed(name)})


def differences(one: Config, other: Config) -> list[str]:
    """The dotted names of the settings that differ, without their values, since some are secrets."""
    before, after = _flat(one), _flat(other)
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def is_fixed(name: str) -> bool:
    """Whether only a restart changes the setting."""
    return name.partition(".")[0] in _FIXED


def _flat(config: Config) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in plain(config).items():
        if name == "places":
            continue
        if isinstance(value, dict):
            found.update({f"{name}.{setting}": each for setting, each in value.items()})
        else:
            found[name] = value
    return found
