"""Members that are looked at once in a round, in the order of their last looks, some of them at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Final, TypeVar

SLICE: Final = 200
"""Members of a slice: a look at a connection takes 4 us, so a slice takes less than a millisecond."""

_T = TypeVar("_T")


class Rounds(dict[_T, int]):
    """The members, each with the round of its last look. One that comes during a round waits for the next one.

    It is a dict, as what each connection does with it should cost no call; those of this round are at its end.
    """

    __slots__ = ("_round",)

    def __init__(self) -> None:
        super().__init__()
        self._round = 0

    def add(self, member: _T) -> None:
        """Add a member."""
        self[member] = self._round

    def begin(self) -> None:
        """Begin a round."""
        self._round += 1

    @property
    def over(self) -> bool:
        """Whether no member is left in this round."""
        return next(iter(self.values()), self._round) == self._round

    def slice(self) -> Iterator[_T]:
        """The next members of this round, at most `SLICE`. Any member may leave meanwhile, and then it is not among them."""
        this = self._round
        for member in tuple(islice(self, SLICE)):
            if self.get(member, this) != this:
                del self[member]  # to come in at the end
                self[member] = this
                yield member
