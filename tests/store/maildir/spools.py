"""Deliveries as a thread makes them, and faults of the calls that they make."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mailserver.interfaces import Quota
from mailserver.store.maildir.making import Making
from mailserver.store.maildir.spool import Place, Spool
from mailserver.store.maildir.unique import UniqueNames

CALLS = ("open", "write", "fsync", "link", "rename", "unlink", "mkdir", "lstat", "stat", "fstat", "scandir", "close")

Fault = Callable[[int, str, bytes], int | None]
"""The errno of this call, by its number, its name and its path; None: it succeeds."""


class Drops:
    """Maildrops below a directory, and deliveries to them. Their homes are there, and no more."""

    def __init__(self, directory: Path, *users: str) -> None:
        self.directory = directory
        self.names = UniqueNames("host")
        self.making = Making()
        for user in users:
            (directory / user).mkdir(exist_ok=True)

    def root(self, user: str) -> Path:
        return self.directory / user / "Maildir"

    def place(self, user: str, quota: Quota | None = None) -> Place:
        home = os.fsencode(self.directory / user)
        return Place(home + b"/Maildir/", home, quota)

    def spool(self, *users: str, quota: Quota | None = None) -> Spool:
        return Spool([self.place(user, quota) for user in users], self.names.name(), self.making)

    def deliver(
        self, message: bytes, *users: str, quota: Quota | None = None, before: Sequence[bytes] = ()
    ) -> list[Exception | None]:
        """Deliver `message`, whose first pieces are written `before` the commit, as those of a large one are."""
        spool = self.spool(*users, quota=quota)
        for piece in before:
            spool.write(piece)
        octets = sum(map(len, [*before, message]))
        names = [self.names.name() + b",S=%d,W=%d" % (octets, octets) for _ in users]
        return spool.deliver(message, names, b"new/")

    def files(self, user: str, *directories: str) -> list[Path]:
        found = [self.root(user) / each for each in directories or ("new", "cur")]
        return [path for each in found if each.is_dir() for path in sorted(each.iterdir())]

    def stored(self, user: str) -> list[bytes]:
        return [path.read_bytes() for path in self.files(user)]

    def tmp(self, *users: str) -> list[Path]:
        return [path for user in users for path in self.files(user, "tmp")]


class Calls:
    """In front of the calls on paths, or on descriptors of paths, below a directory."""

    def __init__(self, below: Path, fault: Fault = lambda _number, _call, _path: None) -> None:
        self._below = os.fsencode(below)
        self._fault = fault
        self._descriptors: dict[int, bytes] = {}
        self.made: list[tuple[str, str]] = []
        """The calls, each with its path below the directory."""

    @contextmanager
    def watched(self) -> Iterator[Calls]:
        real = {name: getattr(os, name) for name in CALLS}
        for name, function in real.items():
            setattr(os, name, self._watch(name, function))
        try:
            yield self
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def _watch(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(on: Any, *arguments: Any, **options: Any) -> Any:
            path = self._descriptors.get(on, b"") if isinstance(on, int) else on
            if name == "link":
                (path,) = arguments  # it changes the directory of the new name
            if not isinstance(path, bytes) or not path.startswith(self._below):
                return function(on, *arguments, **options)
            if name == "close":
                self._descriptors.pop(on, None)
                return function(on)
            self.made.append((name, os.fsdecode(path[len(self._below) + 1 :])))
            error = self._fault(len(self.made), name, path)
            if error is not None:
                raise OSError(error, os.strerror(error), os.fsdecode(path))
            result = function(on, *arguments, **options)
            if name == "open":
                self._descriptors[result] = path
            return result

        return call
