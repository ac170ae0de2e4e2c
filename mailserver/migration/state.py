"""What has been moved: a file for each user and each place that mail was moved from, which outlives the maildrop's own memory.

By it a message that its user has deleted at the new server does not come back with the next run, and a source that numbers its
messages anew doubles none. A line says what one message is called at the source, and which contents it had; it is written after
the message is durable in the maildrop, so at worst it is missing, and then the maildrop is asked. Each line has a checksum, since a
wrong one would lose a message. A file is locked as long as a run uses it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple, Self
from urllib.parse import quote
from zlib import crc32

_BEGINNING: Final = b"mailserver-moved 1 "
_LINE: Final = re.compile(rb"([0-9a-f]{8}) (([\x21-\x7e]+) ([0-9a-f]{40}|-))\Z")
_LONGEST_NAME: Final = 120
"""Octets of a user's name in a file's name, which may have 255."""


class StateError(Exception):
    """The state cannot be read or written. The text says what the operator should do."""


class InUse(StateError):
    """Another run moves this user's mail."""


class Moved(NamedTuple):
    """A message that has been moved."""

    key: bytes
    """What it is called at the source: its unique-id there, or one that was made of its contents."""
    digest: bytes
    """Of its contents (`contents.Reading.digest`); b"": nobody has read it again."""


class State:
    """What has been moved of one user from one place. It is blocking code. To close it unlocks it."""

    def __init__(self, descriptor: int, path: Path, known: Mapping[bytes, bytes], size: int, damaged: int) -> None:
        self._descriptor = descriptor
        self.path = path
        self._size = size
        self.known = known
        """The digest of each key, as it was when the state was opened."""
        self.damaged = damaged
        """Lines that could not be read, by a disk's fault or another program's."""

    @classmethod
    def open(cls, directory: Path, user: str, origin: str) -> Self:
        """Lock and read the state, or begin one. Errors: StateError, InUse."""
        path = directory / _file_name(user, origin)
        try:
            directory.mkdir(mode=0o700, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                return cls._opened(descriptor, path, user, origin)
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            raise _unusable(path, error) from None

    @classmethod
    def glance(cls, directory: Path, user: str, origin: str) -> Self:
        """The state for a dry run: nothing is locked or made, and nothing can be added. Errors: StateError."""
        path = directory / _file_name(user, origin)
        try:
            known, size, damaged = _parsed(path.read_bytes(), path)
        except FileNotFoundError:
            known, size, damaged = {}, 0, 0
        except OSError as error:
            raise _unusable(path, error) from None
        return cls(-1, path, known, size, damaged)

    @classmethod
    def _opened(cls, descriptor: int, path: Path, user: str, origin: str) -> Self:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse(f"another run moves the mail of {user!r}: wait for its end ({path} is locked)") from None
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
        known, end, damaged = _parsed(data, path)
        state = cls(descriptor, path, known, end, damaged)  # a line that a crash has cut is overwritten
        if not end:
            state._append(_BEGINNING + ascii(f"{user} from {origin}").encode("ascii") + b"\n")
            _sync_directory(path.parent)
            _sync_directory(path.parent.parent)
        return state

    def add(self, moved: Iterable[Moved]) -> None:
        """Note that these were moved, durably. Errors: StateError; then none of them is noted."""
        try:
            self._append(b"".join(map(_line, moved)))
        except OSError as error:
            raise _unusable(self.path, error) from None

    def _append(self, data: bytes) -> None:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.pwrite(self._descriptor, rest, self._size + len(data) - len(rest)) :]
            os.fsync(self._descriptor)
        except OSError:
            with suppress(OSError):  # a part of a line that stays would be cut by the next run
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _file_name(user: str, origin: str) -> str:
    digest = sha256(f"{user}\0{origin}".encode("utf-8", "surrogateescape")).hexdigest()
    return f"{quote(user, safe='@+=', errors='surrogateescape')[:_LONGEST_NAME]}-{digest[:16]}"


def _line(moved: Moved) -> bytes:
    text = b"%b %b" % (moved.key, moved.digest or b"-")
    return b"%08x %b\n" % (crc32(text), text)


def _parsed(data: bytes, path: Path) -> tuple[dict[bytes, bytes], int, int]:
    """What is known, where the next line goes, and how many lines are damaged. Errors: StateError for a file that is none of ours."""
    end = data.rfind(b"\n") + 1
    if not end:
        return {}, 0, 0
    if not data.startswith(_BEGINNING):
        raise StateError(f"{path} is not what a run has left there: give another directory by --state")
    known, damaged = {}, 0
    for line in data[:end].split(b"\n")[1:-1]:
        found = _LINE.match(line)
        if found is None or int(found[1], 16) != crc32(found[2]):
            damaged += 1
        else:
            known[found[3]] = b"" if found[4] == b"-" else found[4]
    return known, end, damaged


def _sync_directory(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        return  # who may not read it has most likely made nothing in it
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(path: Path, error: OSError) -> StateError:
    return StateError(
        f"{path}: {error.strerror}: --state names a directory, with room, that the user that serves may write"
    )
