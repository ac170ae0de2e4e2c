"""Which message that one protocol lists is which that the other lists: by order, octets and headers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeVar

Key = TypeVar("Key", bound=Hashable)


class Side(NamedTuple):
    """What one protocol lists."""

    octets: Sequence[int]
    """Of each message, in its order."""
    likenesses: Callable[[Sequence[int]], Sequence[bytes | None]]
    """Of messages by their indexes; None: it cannot be read."""


def match(one: Side, other: Side) -> dict[int, int]:
    """Indexes of `one` and of `other` that are one message; the others have no match.

    A size that each has once is proof enough, as long as both list such messages in one order; of the others the headers are read.
    Messages with the same header are told apart by their octets, and, where these are equal too, by their order.
    """
    certain = _by_size(one.octets, other.octets)
    left, right = (
        [index for index in range(len(octets)) if index not in known]
        for octets, known in ((one.octets, set(certain)), (other.octets, set(certain.values())))
    )
    if not left or not right:
        return certain
    headers = _known(left, one.likenesses(left)), _known(right, other.likenesses(right))
    exact = _paired(
        *(
            {i: (each, side.octets[i]) for i, each in known.items()}
            for known, side in zip(headers, (one, other), strict=True)
        )
    )
    found = set(exact.values())
    rest = _paired(
        {index: each for index, each in headers[0].items() if index not in exact},
        {index: each for index, each in headers[1].items() if index not in found},
    )
    return certain | exact | rest


def _by_size(one: Sequence[int], other: Sequence[int]) -> dict[int, int]:
    """Pairs of those whose size nobody else has; none if the two have them in different orders."""
    once = [{size for size, times in Counter(sizes).items() if times == 1} for sizes in (one, other)]
    places = {size: index for index, size in enumerate(other) if size in once[1]}
    found = {index: places[size] for index, size in enumerate(one) if size in once[0] and size in places}
    return found if all(before < after for before, after in pairwise(found.values())) else {}


def _known(indexes: Sequence[int], likenesses: Sequence[bytes | None]) -> dict[int, bytes]:
    return {index: each for index, each in zip(indexes, likenesses, strict=True) if each is not None}


def _paired(one: dict[int, Key], other: dict[int, Key]) -> dict[int, int]:
    """Those with equal keys, the first with the first."""
    places: dict[Key, list[int]] = defaultdict(list)
    for index, key in reversed(other.items()):
        places[key].append(index)
    return {index: places[key].pop() for index, key in one.items() if places[key]}
