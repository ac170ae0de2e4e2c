"""Finds the files of a Maildir in a list that names them as they once were: the map, or a former server's list.

Flags, sizes and directories of a name change, the unique part does not. But several files may have one unique part (`twins`), and
then only their bases tell them apart. A file that two entries could mean, or an entry that could mean two files, finds none: a
client would take the one message for the other, and never fetch it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable
from typing import Generic, Protocol, TypeVar

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.pieces import one_by_one


class Named(Protocol):
    """An entry of a list."""

    @property
    def name(self) -> bytes: ...  # noqa: D102 - as former.Entry.name
    @property
    def uidl(self) -> bytes: ...  # noqa: D102 - as former.Entry.uidl


T = TypeVar("T", bound=Named)


class Stems:
    """The bases of messages' names, counted in each way in which a list may mean them."""

    def __init__(self, paths: Iterable[bytes]) -> None:
        self.bases: Counter[bytes] = Counter(names.base(path[PREFIX:]) for path in one_by_one(paths))
        self.parts: Counter[bytes] = Counter()
        self.cut: Counter[bytes] = Counter()
        for stem, number in self.bases.items():
            self.parts[stem.partition(b",")[0]] += number
            if b":" in stem:
                self.cut[stem.partition(b":")[0]] += number


class List(Generic[T]):
    """A list's entries, by unique part: all, or those with the unique parts that are `wanted`."""

    def __init__(self, entries: Iterable[T], wanted: Container[bytes] | None = None) -> None:
        self._parts: dict[bytes, list[tuple[bytes, T]]] = {}
        for entry in one_by_one(entries):
            stem = names.base(entry.name)
            part = stem.partition(b",")[0]
            if wanted is None or part in wanted:
                self._parts.setdefault(part, []).append((stem, entry))

    def __bool__(self) -> bool:
        return bool(self._parts)

    def __contains__(self, part: bytes) -> bool:
        return part in self._parts

    def find(self, stem: bytes, stems: Stems) -> T | None:
        """The one entry that means the message with this base; `stems` are those of all messages."""
        part = stem.partition(b",")[0]
        entries = self._parts.get(part)
        if entries is None:
            return self._find_cut(stem, stems)
        if len(entries) == 1 == stems.parts[part]:
            name, entry = entries[0]
            return entry if name == stem or _may_be(name, stem) else None
        same = [entry for name, entry in entries if name == stem]
        return same[0] if len(same) == stems.bases[stem] == 1 else None

    def _find_cut(self, stem: bytes, stems: Stems) -> T | None:
        """The entry with the name up to its first colon, which other servers take for the beginning of an info."""
        cut = stem.partition(b":")[0]
        entries = self._parts.get(cut, ()) if cut != stem else ()
        return entries[0][1] if len(entries) == stems.cut[cut] == 1 and entries[0][0] == cut else None


def _may_be(one: bytes, other: bytes) -> bool:
    """Whether names with the same unique part may be of one message: programs add sizes, but do not change them."""
    return all(a is None or b is None or a == b for a, b in zip(names.sizes(one), names.sizes(other), strict=True))
