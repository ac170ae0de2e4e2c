"""What a power cut may leave of recorded work on Maildirs.

A `Recorder` writes down each change of a name, each new contents of a file, and each fsync. `states` tells what the disk may
hold when the power goes after some of these: of the names in a directory that were changed since its last fsync, any may be
as before (weak), or those after a point in time (ordered); a file that was written since its last fsync may have its old
contents, its new ones, a piece of both, or zeros. A directory that was made may be missing, with all that is in it.
`wrongs` judges all of that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

File = int
"""Which file a name means, whatever its names are."""

DIRECTORY: File = -1
"""It is none."""

State = tuple[tuple[str, bytes | File], ...]
"""By name below the root: the contents of a file that may have been written, or which message it is, or `DIRECTORY`."""

Relied = TypeVar("Relied", bound=Hashable)

ALL_SUBSETS = 6
"""Changes whose every combination is tried; of more, those that lack two or have two. A commit has less under way."""


class Killed(BaseException):
    """The process ends here: nothing that it would do is done."""


@dataclass(frozen=True)
class Name:
    """A name is made (`old` is ""), changed within its directory, or removed (`new` is "")."""

    old: str
    new: str
    file: File

    @property
    def directory(self) -> str:
        """Where it is."""
        return (self.old or self.new).rpartition("/")[0]


@dataclass(frozen=True)
class Data:
    """A file has these contents."""

    file: File
    contents: bytes


@dataclass(frozen=True)
class Sync:
    """What was done to this directory, or file, is durable."""

    what: str | File


@dataclass(frozen=True)
class Told:
    """Somebody relies on it from now on: the messages are deleted, or all there."""

    deleted: bool


@dataclass(frozen=True)
class Answered:
    """Somebody relies on it from now on: this user has this message."""

    user: str
    message: bytes


Step = Name | Data | Sync | Told | Answered

WATCHED = (
    "open",
    "close",
    "write",
    "copy_file_range",
    "ftruncate",
    "fsync",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
)


class Recorder:
    """In front of the calls that change Maildirs at `root` or below. One call may fail, or be the last; a call's number is that
    of those watched. Threads may call side by side.
    """

    def __init__(self, root: Path) -> None:
        self._prefix = os.fsencode(root) + b"/"
        self.names: dict[str, File] = {}
        self.contents: dict[File, bytes] = {}
        self._messages: set[File] = set()
        for path in sorted(root.rglob("*")):
            if path.is_file():
                name = os.path.relpath(path, root)
                self.names[name] = len(self.names)
                if not path.name.startswith(("mail", "dovecot-", "courier")):  # what is ours, or another server's list
                    self._messages.add(self.names[name])
                self.contents[self.names[name]] = path.read_bytes()
        self.base = dict(self.names), dict(self.contents)
        self.steps: list[Step] = []
        self.calls = 0
        self.fault: Callable[[int, str, str], BaseException | None] = lambda _number, _call, _name: None
        self._descriptors: dict[int, tuple[str, File]] = {}
        self._lock = RLock()
        self._dead = False

    @property
    def messages(self) -> frozenset[File]:
        """Those files that are messages."""
        return frozenset(self._messages)

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Watch what is done in it."""
        real = {name: getattr(os, name) for name in WATCHED}
        self._dead = False
        for name, function in real.items():
            setattr(os, name, self._watched(name, function, getattr(self, f"_{name}")))
        try:
            yield
        finally:
            for name, function in real.items():
                setattr(os, name, function)

    def told(self, *, deleted: bool) -> None:
        """Somebody was told, and may rely on it."""
        self.steps.append(Told(deleted))

    def answered(self, user: str, message: bytes) -> None:
        """The same of a delivery."""
        self.steps.append(Answered(user, message))

    def _watched(self, call: str, function: Callable[..., Any], then: Callable[..., None]) -> Callable[..., Any]:
        def watched(on: Any, *arguments: Any, **options: Any) -> Any:
            with self._lock:
                object_ = arguments[0] if call == "copy_file_range" else on  # its first is where it reads
                what = self._descriptors.get(object_) if isinstance(object_, int) else self._name(object_)
                if what is None:
                    return function(on, *arguments, **options)
                if call == "close":
                    del self._descriptors[on]
                    return function(on, *arguments, **options)
                self._meet(call, what if isinstance(what, str) else what[0])
                result = function(on, *arguments, **options)
                then(what, result, *arguments)
                return result

        return watched

    def _meet(self, call: str, name: str) -> None:
        self.calls += 1
        fault = Killed() if self._dead else self.fault(self.calls, call, name)
        self._dead = isinstance(fault, Killed)
        if fault is not None:
            raise fault

    def _name(self, path: bytes) -> str | None:
        return os.fsdecode(path[len(self._prefix) :]).rstrip("/") if path.startswith(self._prefix) else None

    def _open(self, name: str, descriptor: int, flags: int, *_: int) -> None:
        if flags & os.O_CREAT and name not in self.names:
            self.names[name] = len(self.contents)
            self.contents[self.names[name]] = b""
            self.steps.append(Name("", name, self.names[name]))
        self._descriptors[descriptor] = name, self.names.get(name, DIRECTORY)
        if flags & os.O_TRUNC and self.contents[self.names[name]]:
            self._write((name, self.names[name]))

    def _close(self) -> None:
        """Nothing becomes durable by it."""

    def _write(self, what: tuple[str, File], *_: object) -> None:
        file = what[1]
        for name in (name for name, it in self.names.items() if it == file):
            with open(self._prefix + os.fsencode(name), "rb") as stream:  # noqa: PTH123 - its octets are not of a text
                self.contents[file] = stream.read()
            self.steps.append(Data(file, self.contents[file]))
            return

    def _copy_file_range(self, what: tuple[str, File], *_: object) -> None:
        self._write(what)

    def _ftruncate(self, what: tuple[str, File], *_: object) -> None:
        self._write(what)

    def _fsync(self, what: tuple[str, File], *_: object) -> None:
        name, file = what
        self.steps.append(Sync(name if file == DIRECTORY else file))

    def _rename(self, old: str, _: None, path: bytes) -> None:
        new = self._name(path)
        assert new is not None
        if old not in self.names:
            self._rename_directory(old, new)
            return
        file = self.names[new] = self.names.pop(old)
        if old.rpartition("/")[0] == new.rpartition("/")[0]:
            self.steps.append(Name(old, new, file))
        else:
            self.steps += [Name("", new, file), Name(old, "", file)]

    def _rename_directory(self, old: str, new: str) -> None:
        self.steps.append(Name(old, new, DIRECTORY))
        self.names = _moved(self.names, old, new)

    def _link(self, old: str, _: None, path: bytes, **_options: object) -> None:
        new = self._name(path)
        assert new is not None
        self.names[new] = self.names[old]
        self.steps.append(Name("", new, self.names[old]))

    def _unlink(self, name: str, _: None) -> None:
        self.steps.append(Name(name, "", self.names.pop(name)))

    def _mkdir(self, name: str, *_: object) -> None:
        self.steps.append(Name("", name, DIRECTORY))

    def _rmdir(self, name: str, _: None) -> None:
        self.steps.append(Name(name, "", DIRECTORY))


def wrongs(
    recorder: Recorder,
    steps: Sequence[Step],
    relied: Callable[[Sequence[Step]], Relied],
    verdict: Callable[[Recorder, State, Relied], str],
    verdicts: dict[tuple[State, Relied], str],
) -> list[str]:
    """What goes wrong wherever the power goes: the `verdict` on each state, with what is `relied` on after the steps so far.

    A state is judged once for as long as the `verdicts` are kept; "" is the good one.
    """
    found = []
    for end in range(len(steps) + 1):
        before = relied(steps[:end])
        for weak in (False, True):
            for state in states(recorder, steps[:end], weak=weak):
                if (state, before) not in verdicts:
                    verdicts[state, before] = verdict(recorder, state, before)
                if verdicts[state, before]:
                    found.append(f"after {steps[max(0, end - 3) : end]}: {verdicts[state, before]}")
    return found


def states(recorder: Recorder, steps: Sequence[Step], *, weak: bool) -> Iterator[State]:
    """What the disk may hold when the power goes after these steps."""
    names: dict[str, File] = dict(recorder.base[0])
    changes = [step for step in steps if isinstance(step, Name)]
    lately = [
        each for at, each in enumerate(steps) if isinstance(each, Name) and Sync(each.directory) not in steps[at:]
    ]
    under_way = [step for step in lately if step.directory.rpartition("/")[2] != "tmp"]  # what is there, nobody reads
    contents = {file: _contents(file, first, steps) for file, first in _firsts(recorder, steps).items()}
    made = [change.new for change in changes if change.file == DIRECTORY and not change.old]
    for missing in _missing(under_way, weak=weak):
        left = _named(names, [step for step in changes if step not in missing])
        lost = tuple(f"{name}/" for name in made if name not in left)
        left = {name: file for name, file in left.items() if not name.startswith(lost)} if lost else left
        written = sorted(set(left.values()) - recorder.messages - {DIRECTORY})
        for each in product(*(contents[file] for file in written)):
            found = dict(zip(written, each, strict=True))
            yield tuple(sorted((name, found.get(file, file)) for name, file in left.items()))


def _firsts(recorder: Recorder, steps: Sequence[Step]) -> Mapping[File, bytes]:
    made = {step.file: b"" for step in steps if isinstance(step, Name) and not step.old and step.file != DIRECTORY}
    return made | recorder.base[1]


def _named(names: Mapping[str, File], changes: Sequence[Name]) -> dict[str, File]:
    left = dict(names)
    for change in changes:
        if change.file == DIRECTORY and change.old and change.new:
            left = _moved(left, change.old, change.new)
            continue
        if left.get(change.old) == change.file:
            del left[change.old]
        if change.new:
            left[change.new] = change.file
    return left


def _moved(names: Mapping[str, File], old: str, new: str) -> dict[str, File]:
    """The names, where this directory has another."""
    return {f"{new}{name[len(old) :]}" if name.startswith(f"{old}/") else name: it for name, it in names.items()}


def _missing(under_way: Sequence[Name], *, weak: bool) -> Iterator[tuple[Name, ...]]:
    if not weak:
        yield from (tuple(under_way[at:]) for at in range(len(under_way) + 1))
        return
    count = len(under_way)
    sizes = range(count + 1) if count <= ALL_SUBSETS else {0, 1, 2, count - 2, count - 1, count}
    for size in sizes:
        yield from combinations(under_way, size)


def _contents(file: File, first: bytes, steps: Sequence[Step]) -> list[bytes]:
    """What the file may hold; each version that was not made durable may have come whole, in part, or as zeros."""
    possible = [first]
    for step in steps:
        if step == Sync(file):
            possible = possible[-1:]
        elif isinstance(step, Data) and step.file == file:
            new, old = step.contents, possible[-1]
            half = len(new) // 2
            possible = [*possible[:-1], old, new[:half] + old[half:], new[:half], bytes(len(new)), new]
            possible = [*dict.fromkeys(possible[:-1]), new]
    return possible
