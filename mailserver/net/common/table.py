"""A table of fixed size in an octet string that several processes share: records of numbers, and counts of each process.

A key is found in the 16 slots of its bucket alone. So nothing is linked, nothing is moved, and a process that is killed in the
middle of a change leaves at worst one record that is half old. The caller holds the bucket around each use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_UN, lockf
from mmap import mmap
from struct import Struct
from typing import Any, Final

KEY: Final = 8
"""Octets of a key, which is a keyed hash: of 65,536 keys, two are the same once in 8,000 million starts."""

WAYS: Final = 16
"""Slots of a bucket: one is found by a search through 128 octets, 0.2 us, and among so many there is one worth forgetting."""

BUCKET: Final = WAYS * KEY
"""Octets of a bucket's keys."""

COUNT: Final = 4
"""Octets of a count."""

_EMPTY: Final = bytes(KEY)
_ONE_KEY: Final = Struct(f"{KEY}s")


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a table: at least so many `entries`, a record of `octets` for each, and so many `counts` of each process."""

    entries: int
    octets: int
    counts: int = 0

    @property
    def slots(self) -> int:
        """A power of two, so that the bucket is some bits of the key."""
        return max(WAYS, 1 << (self.entries - 1).bit_length())

    def size(self, processes: int) -> int:
        """Octets of the table, a multiple of eight."""
        return self.slots * (KEY + self.octets + COUNT * self.counts * processes) + 7 & ~7


class Table:
    """The table of a shape in the memory of `descriptor`, mapped as `octets`, from the offset `at`, as the process `number` sees it.

    A bucket is named by its first slot. Its lock is POSIX's lock of one octet of the file, from `locks` on, there or not.
    """

    __slots__ = (
        *("_counts", "_descriptor", "_keys", "_locks", "_mask", "_number", "_processes", "_records", "_row", "_size"),
        *("_view", "octets", "slots"),
    )

    def __init__(  # noqa: PLR0913 - where it is, and whose it is
        self, descriptor: int, octets: mmap, shape: Shape, *, at: int, locks: int, processes: int, number: int
    ) -> None:
        self.octets = octets
        self.slots = shape.slots
        self._descriptor = descriptor
        self._view = memoryview(octets).cast("I")
        self._mask = shape.slots // WAYS - 1
        self._keys = at
        self._records = at + shape.slots * KEY
        self._size = shape.octets
        self._counts = (self._records + shape.slots * shape.octets) // COUNT
        self._processes = processes
        self._row = processes * shape.counts
        self._number = number
        self._locks = locks

    def bucket(self, key: bytes) -> int:
        """The bucket of a key."""
        return (int.from_bytes(key, "little") & self._mask) * WAYS

    def hold(self, bucket: int) -> None:
        """Exclude the other processes from a bucket, for some microseconds. The kernel takes the lock back from one that dies.

        Who needs two takes the lower one first, and those of an earlier table before others.
        """
        lockf(self._descriptor, LOCK_EX, 1, self._locks + bucket)

    def let_go(self, bucket: int) -> None:
        """Give the lock of a bucket back."""
        lockf(self._descriptor, LOCK_UN, 1, self._locks + bucket)

    def find(self, key: bytes, bucket: int) -> int:
        """The slot of a key in its bucket; -1: it has none. One between two keys is as likely as two keys that are the same."""
        start = self._keys + bucket * KEY
        at = self.octets.find(key, start, start + BUCKET)
        return -1 if at < 0 else (at - self._keys) // KEY

    def _vacant(self, bucket: int) -> int:
        start = self._keys + bucket * KEY
        at = self.octets.find(_EMPTY, start, start + BUCKET)
        while at >= 0 and (at - start) % KEY:  # begins with the zeros at the end of a key
            at = self.octets.find(_EMPTY, at + 1, start + BUCKET)
        return -1 if at < 0 else (at - self._keys) // KEY

    def claim(self, key: bytes, bucket: int, worth: Callable[[int], object]) -> int:
        """A slot for a key that has none, with a record of zeros; -1: all of its bucket are counted by some process.

        If no slot is empty, the one of the least `worth` among those that no process counts is taken.
        """
        slot = self._vacant(bucket)
        if slot < 0:
            idle = [each for each in range(bucket, bucket + WAYS) if self._idle(each)]
            if not idle:
                return -1
            slot = min(idle, key=worth)  # type: ignore[arg-type]  # whatever can be compared
        start, at = self._records + slot * self._size, self._keys + slot * KEY
        self.octets[start : start + self._size] = bytes(self._size)  # first, lest the key has another's record
        self.octets[at : at + KEY] = key
        return slot

    def free(self, slot: int) -> None:
        """Give a slot back, which no process counts."""
        at = self._keys + slot * KEY
        self.octets[at : at + KEY] = _EMPTY

    def record(self, slot: int) -> int:
        """The offset of a slot's record."""
        return self._records + slot * self._size

    def records(self, form: Struct) -> Iterator[tuple[Any, ...]]:
        """The records of all keys, as `form` has them: its octets are the shape's."""
        octets, end = memoryview(self.octets), self._records + self.slots * self._size
        keys = _ONE_KEY.iter_unpack(octets[self._keys : self._records])
        records = form.iter_unpack(octets[self._records : end])
        return (record for (key,), record in zip(keys, records, strict=True) if key != _EMPTY)

    def count(self, slot: int, which: int = 0) -> int:
        """The sum of all processes' counts of a kind."""
        start = self._counts + slot * self._row + which * self._processes
        return sum(self._view[start : start + self._processes])

    def own(self, slot: int, which: int = 0) -> int:
        """This process's count."""
        return self._view[self._counts + slot * self._row + which * self._processes + self._number]

    def set_own(self, slot: int, count: int, which: int = 0) -> None:
        """Change this process's count."""
        self._view[self._counts + slot * self._row + which * self._processes + self._number] = count

    def counted(self, which: int = 0) -> list[int]:
        """The slots that this process counts: at its start, those of a predecessor that was killed."""
        start = self._counts + which * self._processes + self._number
        counts = self._view[start : self._counts + self.slots * self._row : self._row].tolist()
        return [slot for slot, count in enumerate(counts) if count]

    def _idle(self, slot: int) -> bool:
        start = self._counts + slot * self._row
        return not any(self._view[start : start + self._row])

    @property
    def used(self) -> int:
        """The number of slots with a key."""
        keys = self.octets[self._keys : self._records]
        return sum(keys[at : at + KEY] != _EMPTY for at in range(0, len(keys), KEY))
