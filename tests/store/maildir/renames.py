"""Another program that renames at chosen points of a listing, and a directory that shows such a file under neither name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Renames:
    """In front of `os.scandir`: counts the points of all listings, and calls `act` with each number, from 1 on.

    A point is before each entry, and before each directory. What was listed is what lay there when the directory was opened,
    less what was renamed before it came up: POSIX allows that.
    """

    def __init__(self, act: Callable[[int], object]) -> None:
        self.points = 0
        self.shown: Callable[[Any], Any] = lambda entry: entry
        """What becomes of an entry."""
        self._act = act
        self._scandir = os.scandir

    @contextmanager
    def scandir(self, path: bytes) -> Iterator[Iterator[os.DirEntry[bytes]]]:
        """As `os.scandir`."""
        self._point()
        with self._scandir(path) as entries:
            found = list(entries)
        yield self._entries(found)

    def end(self) -> None:
        """Whatever is listed from now on lies still."""
        self._act = lambda _: None

    def _entries(self, found: list[Any]) -> Iterator[Any]:
        for entry in found:
            self._point()
            if os.path.lexists(entry.path):
                yield self.shown(entry)
        self._point()

    def _point(self) -> None:
        self.points += 1
        self._act(self.points)
