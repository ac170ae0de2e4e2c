"""What clients that leave their mail at the server would do after a move: which messages they would download again.

Such a client knows messages by their unique-ids alone (RFC 1939 section 7): it downloads what has an id that it does not know,
and takes what has a known id for the message that it has. Both can be wrong after a move. Sizes tell which message is which, as
far as both servers count alike, and headers tell the rest: they are read only where sizes leave a doubt.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple, Protocol

EXAMPLES: Final = 3
"""Messages of each kind that are named, so that an operator sees in which way unique-ids differ."""


class Listed(NamedTuple):
    """A message as a server lists it."""

    uidl: bytes
    """b"": it has none."""
    octets: int | None
    """None: the server does not say."""


class Side(Protocol):
    """A user's maildrop at one of the two servers. It is read, and nothing in it changes."""

    def listing(self) -> Sequence[Listed]:
        """Its messages, in their order. Errors: SourceError."""

    def likenesses(self, indexes: Sequence[int]) -> Sequence[bytes | None]:
        """What `likeness.likeness` makes of these messages, counted from 0; None: this one cannot be read. Errors: SourceError."""

    def measured(self, index: int) -> int:
        """The octets on the wire of a message of which the listing does not say them; 0: it cannot be read. Errors: SourceError."""

    def close(self) -> None:
        """Idempotent; it does not raise."""


@dataclass(frozen=True, slots=True)
class Amount:
    """Messages, and their octets at the new server; at the old one where the new one does not say or does not have them."""

    messages: int = 0
    octets: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.messages + other.messages, self.octets + other.octets)


class Example(NamedTuple):
    """A message that `Comparison` counts. A message-number of None: it is not there."""

    kind: str
    """The field of `Comparison`."""
    old_number: int | None
    old_uidl: bytes
    new_number: int | None
    new_uidl: bytes


@dataclass(frozen=True, slots=True)
class Comparison:
    """What was found out about one user, or about several."""

    same: Amount = Amount()
    """They have the unique-ids that they had."""
    again: Amount = Amount()
    """Clients have them, and would download them again: their unique-ids are others, or they are there twice."""
    another: Amount = Amount()
    """They have the unique-id of another message, so that clients would never download them, or delete the wrong one."""
    missing: Amount = Amount()
    """The old server alone has them."""
    new: Amount = Amount()
    """The new server alone has them: each client downloads them once, as it should."""
    resized: int = 0
    """Of `same`: how many the two servers say different sizes of."""
    unproved: int = 0
    """Messages with one unique-id of which it is not known whether they are the same, since a header could not be read."""
    in_order: bool = True
    """Whether the new server lists them in the order of the old one."""
    examples: tuple[Example, ...] = ()
    """Of several users: none."""

    @property
    def safe(self) -> bool:
        """Whether no client would download anything again, or miss anything."""
        return not (self.again.messages or self.another.messages or self.missing.messages or self.unproved)

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(
            self.same + other.same,
            self.again + other.again,
            self.another + other.another,
            self.missing + other.missing,
            self.new + other.new,
            self.resized + other.resized,
            self.unproved + other.unproved,
            self.in_order and other.in_order,
        )


def compare(old: Side, new: Side, *, thorough: bool = False) -> Comparison:
    """Compare a user's maildrop at two servers; `thorough`: by all headers, also where sizes are equal. Errors: SourceError."""
    return _Comparing(_Maildrop(old), _Maildrop(new)).run(thorough)


class _Maildrop:
    """One side, with the headers that were read of it."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._likenesses: dict[int, bytes | None] = {}
        self.messages = side.listing()

    def octets(self, index: int) -> int | None:
        return self.messages[index].octets

    def measured(self, index: int) -> int:
        return self._side.measured(index)

    def read(self, indexes: Iterable[int]) -> Mapping[int, bytes | None]:
        """The likenesses that are known, those of these messages among them."""
        wanted = [index for index in indexes if index not in self._likenesses]
        self._likenesses.update(zip(wanted, self._side.likenesses(wanted) if wanted else (), strict=True))
        return self._likenesses


class _Comparing:
    def __init__(self, old: _Maildrop, new: _Maildrop) -> None:
        self._old = old
        self._new = new
        self._examples: dict[str, list[Example]] = defaultdict(list)
        self._unproved = self._resized = 0

    def run(self, thorough: bool) -> Comparison:
        pairs, doubles, unknown, lost = self._paired()
        same, wrong = self._judged(pairs, thorough)
        matched = self._matched(unknown, [*lost, *(old for old, _ in wrong)])
        unknown = [index for index in unknown if index not in matched]
        lost = sorted(set(lost).difference(matched.values()))
        matched.update(self._twice(unknown, {**{new: old for old, new in same}, **matched}))
        return Comparison(
            same=self._amount("same", same),
            again=self._amount("again", sorted((old, new) for new, old in matched.items())),
            another=self._amount("another", [*wrong, *doubles]),
            missing=self._amount("missing", [(old, None) for old in lost]),
            new=self._amount("new", [(None, index) for index in unknown if index not in matched]),
            resized=self._resized,
            unproved=self._unproved,
            in_order=all(before < after for (before, _), (after, _) in pairwise(pairs)),
            examples=tuple(each for found in self._examples.values() for each in found),
        )

    def _paired(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]], list[int], list[int]]:
        """The messages with one unique-id, further ones at the new server with it, and what is without a partner here and there.

        Of several messages with one id, which RFC 1939 forbids, the first here is that of the first there.
        """
        left: dict[bytes, deque[int]] = defaultdict(deque)
        for index, message in enumerate(self._old.messages):
            left[message.uidl].append(index)
        first = {uidl: indexes[0] for uidl, indexes in left.items() if uidl}
        pairs, doubles, unknown = [], [], []
        for index, message in enumerate(self._new.messages):
            if message.uidl not in first:
                unknown.append(index)
            elif left[message.uidl]:
                pairs.append((left[message.uidl].popleft(), index))
            else:
                doubles.append((first[message.uidl], index))
        return pairs, doubles, unknown, sorted(index for indexes in left.values() for index in indexes)

    def _judged(
        self, pairs: list[tuple[int, int]], thorough: bool
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Those of the pairs that are one message, and the others."""
        doubtful = {pair for pair in pairs if thorough or not self._same_size(*pair)}
        old = self._old.read(index for index, _ in doubtful)
        new = self._new.read(index for _, index in doubtful)
        same: list[tuple[int, int]] = []
        wrong: list[tuple[int, int]] = []
        for pair in pairs:
            equal = pair not in doubtful or self._equal(pair, old[pair[0]], new[pair[1]])
            (same if equal else wrong).append(pair)
        return same, wrong

    def _equal(self, pair: tuple[int, int], old: bytes | None, new: bytes | None) -> bool:
        """Whether a pair in doubt is one message, by what its headers are like."""
        sizes = (self._old.octets(pair[0]), self._new.octets(pair[1]))
        differ = None not in sizes and sizes[0] != sizes[1]
        if old is None or new is None:
            self._unproved += 1
            return not differ
        if old == new and differ:
            self._resized += 1
            self._note("resized", *pair)
        return old == new

    def _same_size(self, old: int, new: int) -> bool:
        octets = self._old.octets(old)
        return octets is not None and octets == self._new.octets(new)

    def _matched(self, unknown: Sequence[int], lost: Sequence[int]) -> dict[int, int]:
        """Those messages of the new server that are one of the lost ones of the old server, each with that."""
        by_size = _assigned(unknown, self._new.octets, lost, self._old.octets)
        if len(by_size) == min(len(unknown), len(lost)):
            return by_size
        # Something is new and something is missing; or the servers count octets differently, and equal sizes mean nothing.
        new, old = self._new.read(unknown), self._old.read(lost)
        matched = _assigned(unknown, new.get, lost, old.get)
        taken = set(matched.values())
        for here, there in by_size.items():
            if here not in matched and there not in taken and None in {new[here], old[there]}:
                matched[here] = there
        return matched

    def _twice(self, unknown: Sequence[int], partners: Mapping[int, int]) -> dict[int, int]:
        """Those messages of the new server that are there once more, with a partner; each with this partner."""
        sizes = {self._new.octets(index) for index in unknown}
        there = [index for index in partners if self._new.octets(index) in sizes]
        sizes = {self._new.octets(index) for index in there}
        here = [index for index in unknown if self._new.octets(index) in sizes]
        known = self._new.read([*here, *there])
        by_likeness = {known[index]: partners[index] for index in there}
        by_likeness.pop(None, None)
        return {index: by_likeness[known[index]] for index in here if known[index] in by_likeness}

    def _amount(self, kind: str, pairs: Sequence[tuple[int | None, int | None]]) -> Amount:
        """The amount of these messages, of which some become examples."""
        told = kind in {"again", "another", "missing"}
        if told:
            for pair in pairs:
                self._note(kind, *pair)
        return Amount(len(pairs), sum(self._octets(old, new, read=told) for old, new in pairs))

    def _octets(self, old: int | None, new: int | None, *, read: bool) -> int:
        """The octets of a message as a listing says them, or as many as it has when it is `read`; else 0."""
        sides = [(side, index) for side, index in ((self._new, new), (self._old, old)) if index is not None]
        listed = [octets for side, index in sides if (octets := side.octets(index)) is not None]
        if listed or not read:
            return next(iter(listed), 0)
        side, index = sides[0]
        return side.measured(index)

    def _note(self, kind: str, old: int | None, new: int | None) -> None:
        if len(self._examples[kind]) < EXAMPLES:
            self._examples[kind].append(
                Example(
                    kind,
                    None if old is None else old + 1,
                    b"" if old is None else self._old.messages[old].uidl,
                    None if new is None else new + 1,
                    b"" if new is None else self._new.messages[new].uidl,
                )
            )


def _assigned(
    new: Iterable[int], key_of_new: Callable[[int], Hashable], old: Iterable[int], key_of_old: Callable[[int], Hashable]
) -> dict[int, int]:
    """Each new message with the first old one that has its key, where there is one left. None is no key."""
    left: dict[Hashable, deque[int]] = defaultdict(deque)
    for index in old:
        left[key_of_old(index)].append(index)
    left.pop(None, None)
    return {index: left[key].popleft() for index in new if left[key := key_of_new(index)]}
