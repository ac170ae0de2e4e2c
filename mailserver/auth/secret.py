"""The result of reading a stored secret, and the error when it cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mailserver.auth.scram_keys import MAX_ITERATIONS

Verify = Callable[[bytes], bool]


class SchemeError(Exception):
    """A secret that cannot be used; the text tells the operator why, and contains nothing of the secret."""


class Read(NamedTuple):
    """How to verify passwords against a secret, and what that costs (see `schemes.Secret.cost`)."""

    verify: Verify
    cost: tuple[object, ...] = ()


def rounds(text: bytes | int) -> int:
    """A number of rounds, from 1 to `MAX_ITERATIONS`. Errors: ValueError."""
    number = int(text)
    if not 1 <= number <= MAX_ITERATIONS:
        raise ValueError
    return number
