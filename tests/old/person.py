"""Who has mail at the old server, and soon at ours."""

from __future__ import annotations

from typing import Protocol


class Person(Protocol):
    """Who logs in."""

    name: str
    password: str
