"""One message on its way into Maildirs: its file in tmp/, and its names in new/. All of it runs in threads, one call at a time."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple
from zlib import crc32

from mailserver.errors import MaildropUnavailable, StoreError, StoreFull
from mailserver.interfaces import Quota
from mailserver.store.maildir import maildirsize
from mailserver.store.maildir.files import LINKLESS, link_or_rename, sync, sync_directory, unlink_if_there, write_all
from mailserver.store.maildir.making import Making
from mailserver.store.maildir.opening import unavailable

_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_PIECE: Final = 1024 * 1024
"""Octets of a copy's piece."""


class Place(NamedTuple):
    """Where a user's copy goes."""

    root: bytes
    anchor: bytes
    """The directory that must exist already."""
    quota: Quota | None


class Spool:
    """A message's file, in the tmp/ of the first of the `places` that can hold it.

    What goes wrong at one place is this place's error. If it is the one with the file, the next one takes over what was written.
    """

    def __init__(self, places: Sequence[Place], name: bytes, making: Making) -> None:
        self._places = places
        self._name = name
        self._making = making
        self._errors: dict[int, Exception] = {}
        self._delivered: set[int] = set()
        self._holder = -1
        self._descriptor = -1
        self._path = b""
        self._sum = 0
        self.octets = 0
        """Octets written."""

    @property
    def begun(self) -> bool:
        """Whether there is a file that must be finished or discarded."""
        return self._descriptor >= 0

    def write(self, data: bytes) -> None:
        """Add canonical octets."""
        self._hold(lambda: write_all(self._descriptor, data))
        self._sum = crc32(data, self._sum)
        self.octets += len(data)

    def deliver(self, data: bytes, names: Sequence[bytes], directory: bytes) -> list[Exception | None]:
        """Add the last octets, and give the message these names in `directory`, new/ or cur/, of each place.

        Answers the error of each place, None where the message is there, durably. Nothing of it is left elsewhere.
        """
        try:
            self.write(data)
            self._hold(lambda: sync(self._descriptor, self._path))
            if self._descriptor >= 0:
                self._enter_all(names, directory)
        finally:
            self.discard()
        return [None if at in self._delivered else self._error(at) for at in range(len(self._places))]

    def discard(self) -> None:
        """Remove the file in tmp/, and make no other; idempotent."""
        self._holder = len(self._places)
        self._drop()

    def _drop(self) -> None:
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
            with suppress(OSError):  # the sweep removes it
                unlink_if_there(self._path)

    # The file.

    def _hold(self, act: Callable[[], object]) -> None:
        """Act on the file, at the first place where this, and what was done before, can be done."""
        while self._descriptor >= 0 or self._begin():
            try:
                act()
            except OSError as error:
                self._fail(self._holder, error)
                self._move()
            else:
                return

    def _begin(self) -> bool:
        """Make the file at the next place that can; False if there is none."""
        for at in range(self._holder + 1, len(self._places)):
            self._holder = at
            try:
                self._path = self._places[at].root + b"tmp/" + self._name
                self._descriptor = self._create(self._places[at], self._path)
            except OSError as error:
                self._fail(at, error)
            else:
                return True
        return False

    def _move(self) -> None:
        """Leave the place that failed, with what was written, for the next that can hold it.

        Only if that is still what it was: after an fsync that failed the disk may have lost any of it, which shows as soon as the
        memory is needed for other things.
        """
        old, path, self._descriptor = self._descriptor, self._path, -1
        try:
            while self._begin():
                try:
                    copy(old, self._descriptor, self.octets)
                    if checksum(self._descriptor, self.octets) != self._sum:
                        raise OSError(errno.EIO, "the disk has lost octets of the message", os.fsdecode(path))
                except OSError as error:
                    self._fail(self._holder, error)
                    self._drop()
                else:
                    return
        finally:
            os.close(old)
            with suppress(OSError):
                unlink_if_there(path)

    def _create(self, place: Place, path: bytes) -> int:
        """The descriptor of a new file in tmp/."""
        self._making.make(place.root, place.anchor)
        try:
            return os.open(path, _NEW, 0o600)
        except FileNotFoundError:  # somebody has removed the Maildir since
            self._making.make(place.root, place.anchor, again=True)
            return os.open(path, _NEW, 0o600)

    # The names.

    def _enter_all(self, names: Sequence[bytes], directory: bytes) -> None:
        """Give the message its names, that of the file's own place last: where links do not serve, the file moves there."""
        done: list[tuple[int, bytes]] = []
        roots = {self._places[self._holder].root}
        for at in sorted(range(len(self._places)), key=self._holder.__eq__):
            if at in self._errors:
                continue
            place, name = self._places[at], directory + names[at]
            try:
                if at == self._holder:
                    self._enter(place, self._path, place.root + name)
                elif place.root in roots or not self._link(place, name):
                    self._copy(place, names[at], place.root + name)  # two names of one file would be one message
            except (OSError, StoreError) as error:
                self._fail(at, error)
            else:
                roots.add(place.root)
                done.append((at, place.root + name))
        for at, path in done:  # after all links: one commit of the file system's journal serves all
            self._settle(at, path, directory)

    def _link(self, place: Place, name: bytes) -> bool:
        """Link the file to another place; False where that does not serve."""
        self._making.make(place.root, place.anchor)
        try:
            self._charge(place, partial(os.link, self._path, place.root + name))
        except OSError as error:
            if error.errno not in LINKLESS:
                raise
            return False
        return True

    def _copy(self, place: Place, name: bytes, target: bytes) -> None:
        path = place.root + b"tmp/" + name
        descriptor = self._create(place, path)
        try:
            copy(self._descriptor, descriptor, self.octets)
            sync(descriptor, path)
            self._enter(place, path, target)
        finally:
            os.close(descriptor)
            with suppress(OSError):
                unlink_if_there(path)

    def _enter(self, place: Place, path: bytes, target: bytes) -> None:
        """Give a file of this place its name, from which on it is visible."""
        self._charge(place, partial(link_or_rename, path, target))

    def _charge(self, place: Place, enter: Callable[[], object]) -> None:
        try:
            maildirsize.charge(place.root, place.quota, self.octets, enter)
        except FileNotFoundError:  # somebody has removed new/ since
            self._making.make(place.root, place.anchor, again=True)
            maildirsize.charge(place.root, place.quota, self.octets, enter)

    def _settle(self, at: int, path: bytes, directory: bytes) -> None:
        """Make the name durable, or take it back."""
        root = self._places[at].root
        try:
            sync_directory(root + directory)
        except OSError as error:
            self._fail(at, error)
            discount = maildirsize.Discount(root)
            try:
                with suppress(OSError):
                    if unlink_if_there(path):
                        discount.take(self.octets, 1)
            finally:
                discount.close()
        else:
            self._delivered.add(at)

    def _error(self, at: int) -> Exception:
        return self._errors.get(at) or RuntimeError("a message was neither delivered nor refused")

    def _fail(self, at: int, error: Exception) -> None:
        self._errors[at] = trouble(error, self._places[at].root) if isinstance(error, OSError) else error


def trouble(error: OSError, root: bytes) -> MaildropUnavailable:
    """The error of the maildrop at `root` that cannot take a message, with the remedy for the operator."""
    if not error.filename:  # of a call on a descriptor
        error.filename = os.fsdecode(root)
    told = unavailable(error)
    return StoreFull(str(told)) if error.errno in _FULL else told


def checksum(descriptor: int, octets: int) -> int:
    """The CRC-32 of the first octets of a file. Errors: OSError."""
    found = 0
    for at in range(0, octets, _PIECE):
        found = crc32(os.pread(descriptor, min(_PIECE, octets - at), at), found)
    return found


def copy(source: int, target: int, octets: int) -> None:
    """Copy the first octets of a file into an empty one: as a reflink where the file system can. Errors: OSError."""
    done = 0
    with suppress(OSError):  # other file systems, old kernels: then in the plain way, from here on
        while done < octets and (step := os.copy_file_range(source, target, octets - done, done, done)):
            done += step
    os.lseek(target, done, os.SEEK_SET)
    while done < octets:
        data = os.pread(source, min(_PIECE, octets - done), done)
        if not data:
            raise OSError(errno.EIO, "the file in tmp/ was made shorter by another program")
        write_all(target, data)
        done += len(data)
