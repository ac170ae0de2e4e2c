"""The rows of a maildrop, in columns: a list of 100,000 rows would be as many objects for each garbage collection to visit."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from typing import NamedTuple, TypeVar, overload

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.pieces import in_order, one_by_one

_T = TypeVar("_T")


class Row(NamedTuple):
    """A message as a scan finds it."""

    arrival: int
    """Microseconds of the epoch, from the file's name or else from its mtime."""
    name: bytes
    """The file, with its directory: ``new/...`` or ``cur/...``."""
    uidl: bytes
    size: int
    """Octets of the file as it is stored."""
    octets: int
    """Octets on the wire."""
    flags: int
    inode: int = 0
    """The file's inode, or 0 where the file system does not tell."""
    rank: int = 0
    """The message's place in the order of a former server, whose messages come first; 0: it has none."""


class _Piece(NamedTuple):
    """Rows that follow each other in the result of a merge: first old ones, then added ones."""

    old: slice
    added: slice


class Rows(Sequence[Row]):
    """Rows, mostly in their order: those with a rank by it, then the others by arrival, then by base, then by unique-id."""

    __slots__ = ("arrivals", "flags", "inodes", "names", "octets", "ranks", "sizes", "uidls")

    def __init__(self, rows: Iterable[Row] = ()) -> None:
        self.arrivals = array("Q")
        self.names: list[bytes] = []
        self.uidls: list[bytes] = []
        self.sizes = array("Q")
        self.octets = array("Q")
        self.inodes = array("Q")
        self.ranks = array("Q")
        self.flags = bytearray()
        for row in one_by_one(rows):
            self.append(row)

    def append(self, row: Row) -> None:
        """Add a row at the end."""
        arrival, name, uidl, size, octets, flags, inode, rank = row
        self.arrivals.append(arrival)
        self.names.append(name)
        self.uidls.append(uidl)
        self.sizes.append(size)
        self.octets.append(octets)
        self.flags.append(flags)
        self.inodes.append(inode)
        self.ranks.append(rank)

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        return Row(
            self.arrivals[at],
            self.names[at],
            self.uidls[at],
            self.sizes[at],
            self.octets[at],
            self.flags[at],
            self.inodes[at],
            self.ranks[at],
        )

    @property
    def ranked(self) -> int:
        """The number of rows with a rank, when the rows are in their order: they are the first ones."""
        return bisect_left(range(len(self)), True, key=lambda at: not self.ranks[at])

    def in_order(self) -> Rows:
        """The rows in their order."""
        keys = list(one_by_one(map(_key, self.ranks, self.arrivals, self.names, self.uidls)))
        return Rows(map(self.__getitem__, in_order(keys)))

    def merged(self, gone: Sequence[int], added: Rows) -> Rows:
        """These rows, which are in their order, without those at `gone`; and the `added` ones, which are in theirs."""
        if len(gone) == len(self):
            return added
        pieces = list(self._pieces(gone, added))
        merged = Rows()
        _splice(merged.arrivals, self.arrivals, added.arrivals, pieces)
        _splice(merged.names, self.names, added.names, pieces)
        _splice(merged.uidls, self.uidls, added.uidls, pieces)
        _splice(merged.sizes, self.sizes, added.sizes, pieces)
        _splice(merged.octets, self.octets, added.octets, pieces)
        _splice(merged.inodes, self.inodes, added.inodes, pieces)
        _splice(merged.ranks, self.ranks, added.ranks, pieces)
        _splice(merged.flags, self.flags, added.flags, pieces)
        return merged

    def _pieces(self, gone: Sequence[int], added: Rows) -> Iterator[_Piece]:
        places = list(self._places(added))
        leaving = frozenset(gone)
        start = done = 0
        for at in sorted({*gone, *places}):
            until = bisect_right(places, at, done)
            yield _Piece(slice(start, at), slice(done, until))
            start, done = at + (at in leaving), until
        yield _Piece(slice(start, len(self)), slice(done, done))

    def _places(self, added: Rows) -> Iterator[int]:
        """For each added row, the index of the row that it goes before."""
        place, ranked = 0, self.ranked
        for rank, arrival, name in one_by_one(zip(added.ranks, added.arrivals, added.names, strict=True)):
            if rank:
                place = bisect_left(self.ranks, rank, place, ranked)
                yield place
                continue
            place = bisect_left(self.arrivals, arrival, max(place, ranked))
            same = bisect_right(self.arrivals, arrival, place)
            place = bisect_left(self.names, _base(name), place, same, key=_base)
            yield place


def _splice(column: MutableSequence[_T], old: Sequence[_T], added: Sequence[_T], pieces: Iterable[_Piece]) -> None:
    for piece in pieces:
        column.extend(old[piece.old])
        column.extend(added[piece.added])


def _base(name: bytes) -> bytes:
    return names.base(name[PREFIX:])


def _key(rank: int, arrival: int, name: bytes, uidl: bytes) -> bytes:
    """Octets that sort as the row does: no name has a NUL, so a base sorts before all that it begins."""
    first = b"\0" + rank.to_bytes(8, "big") if rank else b"\1"
    return b"%b%b%b\0%b" % (first, arrival.to_bytes(8, "big"), _base(name), uidl)
