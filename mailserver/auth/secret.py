"""What a reader of stored secrets answers, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mailserver.auth.scram_keys import MAX_ITERATIONS

Verify = Callable[[bytes], bool]


class SchemeError(Exception):
    """A secret that cannot serve; the text tells the operator why, and never holds any of the secret."""


class Read(NamedTuple):
    """What a reader makes of a secret."""

    verify: Verify
    cost: tuple[object, ...] = ()


def rounds(text: bytes | int) -> int:
    """A number of rounds, if it can be one. Errors: ValueError."""
    number = int(text)
    if not 1 <= number <= MAX_ITERATIONS:
        raise ValueError
    return number
