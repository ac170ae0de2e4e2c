"""Why an endpoint string is invalid, for the operator: Twisted's errors name the arguments of its own functions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_EXAMPLES: Final = {
    "tcp": "tcp:110 or tcp:110:interface=192.0.2.1",
    "tcp6": "tcp6:110",
    "unix": "unix:/run/mailserver/pop3",
    "systemd": "systemd:domain=INET:name=pop3",
}

_SAID: Final[tuple[tuple[str, Callable[[re.Match[str]], str]], ...]] = (
    (r"missing \d+ required positional arguments?: '(\w+)'", lambda found: f"its {found[1]} is missing"),
    (r"unexpected keyword argument '(.*)'", lambda found: f'it has no option "{found[1]}"'),
    (r"multiple values for argument '(\w+)'", lambda found: f"its {found[1]} is given twice"),
    (r"positional arguments? but \d+ were given", lambda _: "it has too many parts between colons"),
    (r"invalid literal for int\(\) with base \d+: '(.*)'", lambda found: f'"{found[1]}" is no number'),
    (r"Unknown endpoint type: '(.*)'", lambda found: f'there is no kind "{found[1]}"'),
    (r"port must be 0-65535", lambda _: "ports go from 0 to 65535"),
)
"""Texts of Twisted and Python, and their meanings for the operator."""


def unfit(endpoint: str, error: Exception) -> str:
    """The problem with an endpoint string that Twisted refused with `error`, and an example."""
    kind = endpoint.removeprefix("haproxy:").partition(":")[0]
    example = _EXAMPLES.get(kind, _EXAMPLES["tcp"])
    return f'"{endpoint}" is not an endpoint such as {example}: {_meaning(str(error))}'


def _meaning(said: str) -> str:
    for pattern, meaning in _SAID:
        if found := re.search(pattern, said):
            return meaning(found)
    return "its parts do not fit" if "_parse" in said else said
