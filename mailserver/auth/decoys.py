"""The work of a refusal: what an unknown user costs must be what a known one does."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from mailserver.auth.schemes import Secret, read_secret

FIRST: Final = b"{PBKDF2}$1$QUhyTjBsZ2dFbEtk$5000$0a3e3e6ac51adce4a4ad8bf2c47b6e4e9b4f9d9c"
"""A secret of milliseconds, of nobody, until a user's own was seen."""

COSTS: Final = 20
"""Kinds of secrets that are counted; a site has two or three."""

ENOUGH: Final = 1000
"""Users after whom the counts are halved, so that a site that changes its scheme is followed."""


class Decoys:
    """Counts the kinds of secrets that logins have read; the commonest is what an unknown user's password is verified with.

    A database or a directory has them all, but it is not asked for all.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[object, ...], tuple[int, Secret]] = OrderedDict()
        self._first = read_secret(FIRST)
        self._total = 0

    @property
    def commonest(self) -> Secret:
        """The commonest slow one, if there are slow ones."""
        found = list(self._seen.values())
        slow = [each for each in found if each[1].slow]
        return max(slow or found, key=lambda each: each[0])[1] if found else self._first

    def note(self, secret: Secret) -> None:
        """Count a user's secret."""
        times, _ = self._seen.get(secret.cost, (0, secret))
        self._seen[secret.cost] = times + 1, secret
        self._seen.move_to_end(secret.cost)
        self._total += 1
        if len(self._seen) > COSTS:
            self._seen.popitem(last=False)
        if self._total >= ENOUGH:
            self._total //= 2
            for cost, (times, kept) in tuple(self._seen.items()):
                self._seen[cost] = max(times // 2, 1), kept
