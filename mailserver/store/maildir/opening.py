"""Opening a maildrop: quickly if it is unchanged, thoroughly in all other cases."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar

from mailserver.errors import MaildropUnavailable
from mailserver.store.maildir import index, journal
from mailserver.store.maildir.cache import IndexCache, Kept
from mailserver.store.maildir.files import Identity, identity, make_below, read_whole, shown, unsynced
from mailserver.store.maildir.index import UNTRUSTED, Basis, Index
from mailserver.store.maildir.listing import DIRECTORIES, Clock, directory_times
from mailserver.store.maildir.locking import NAME, lock
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.renewal import renewal
from mailserver.store.maildir.scan import Scan, scan

SMALL = 64 * 1024
"""Octets of an index that may be read and parsed in the reactor thread: about 500 messages, half a millisecond."""

_OWNER = "the maildrop and everything in it must belong to uid {uid}, and be writable"
_REMEDIES = {
    errno.EACCES: _OWNER,
    errno.EPERM: _OWNER,
    errno.ENOENT: "create the directory in which the maildrop is to be made",
    errno.ENOTDIR: "a Maildir and its new, cur and tmp must be directories, not links to directories",
    errno.EAGAIN: "try again; if it stays locked, stop the program that holds it",
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "raise the quota of uid {uid}",
    errno.EROFS: "mount its file system writable: a session holds a lock there",
}


T = TypeVar("T")


class Opened(NamedTuple):
    """A locked maildrop, handed over by a thread."""

    lock: int
    found: Index
    identity: Identity | None
    """The index file's identity; None when it could not be written."""
    notes: list[str]
    """Notes for the operator."""


Namings = Callable[[bytes, Basis], Naming]
"""Makes the decisions on unique-ids for a maildrop's root, and what the ids of its last index were taken from."""


ALONE: Final[Namings] = partial(Naming, former=None, extends=False)
"""Without a former server."""


def unchanged(root: bytes, cache: IndexCache, former: bytes | None = None) -> Index | None:
    """The index of an unchanged maildrop; None when only `thoroughly` can open it. Bounded work.

    `former` is the mark of the former server that must have been asked for unique-ids; None: none.
    """
    try:
        if os.access(root + journal.NAME, os.F_OK):
            return None
        status = os.lstat(root + index.NAME)
        key = identity(status)
        found = cache.get(root, key)
        if found is None and status.st_size <= SMALL:
            found = index.decode(read_whole(root + index.NAME))
            if found is not None:
                cache.put(root, key, found)
        if found is not None and directory_times(root) == found[:2] and former in {None, found.basis.former}:
            return found
    except OSError:
        return None  # `thoroughly` will find the error again, and report it
    return None


def thoroughly(  # noqa: PLR0913, PLR0917  # it runs in a thread, which takes plain data
    root: bytes,
    anchor: bytes,
    owner: str,
    held: int | None,
    clock: Callable[[bytes], int],
    kept: Kept | None = None,
    namings: Namings = ALONE,
) -> Opened:
    """Lock, finish a commit that a crash interrupted, and update the index. Unbounded work: for a thread.

    `clock` answers the time by the clock of a root's file system, in nanoseconds. `held` is the lock, if it was taken
    already; every error releases it. `kept` is an index of the cache, which saves reading its file if it is still that.
    `namings` decides unique-ids.
    """
    if held is None:
        held = make(root, anchor, owner)
    try:
        return _refresh(root, held, partial(clock, root), kept, namings)
    except OSError as error:
        os.close(held)
        raise unavailable(error) from error
    except BaseException:
        os.close(held)
        raise


class Done(NamedTuple, Generic[T]):
    """What was done under a maildrop's lock, handed over by a thread."""

    answer: T
    notes: list[str]
    """Notes for the operator."""


def locked(
    root: bytes, owner: str, clock: Callable[[bytes], int], function: Callable[..., T], *arguments: Any
) -> Done[T] | None:
    """The answer of `function` under the lock; a commit that a crash interrupted is finished first. None: there is no maildrop.

    Unbounded work: for a thread.
    """
    try:
        held = lock(root, owner)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unavailable(error) from error
    try:
        notes = journal.recover(root, partial(clock, root))
        return Done(function(*arguments), [*notes, *unsynced()])
    except OSError as error:
        raise unavailable(error) from error
    finally:
        os.close(held)


def unavailable(error: OSError) -> MaildropUnavailable:
    """The error of a maildrop that cannot be opened, with the remedy for the operator."""
    where = shown(os.fsencode(error.filename)) if error.filename else "the maildrop"
    remedy = _REMEDIES.get(error.errno or 0, "see that its disk is sound")
    return MaildropUnavailable(f"{where}: {error.strerror}; {remedy.format(uid=os.geteuid())}")


def make(root: bytes, anchor: bytes, owner: str, name: bytes = NAME) -> int:
    """Make the missing directories of the Maildir below `anchor`, which must exist, and take the lock of this name."""
    try:
        make_below(anchor, root)
        return lock(root, owner, name)
    except OSError as error:
        raise unavailable(error) from error


def _refresh(root: bytes, held: int, clock: Clock, kept: Kept | None, namings: Namings) -> Opened:
    for directory in DIRECTORIES:
        make_below(root, root + directory[:-1])
    notes = [*_make_tmp(root), *journal.recover(root, clock), *unsynced()]
    last = _last(root, kept)
    before = index.NOTHING if last is None else last.found.basis
    naming = namings(root, before)
    if last is not None and last.found[:2] == directory_times(root) and not naming.renames:
        return Opened(held, last.found, last.identity, notes)
    known = index.decode_rows(read_index(root)) if last is None else last.found.rows
    scanned = scan(root, known, clock, naming)
    now = clock()  # listed files are older than the lock's mtime, later ones are not
    basis, durable = naming.written(scanned.rows, clock)
    basis = basis._replace(renewed=renewal(known, kept, scanned.rows, naming, now) or before.renewed)
    if not durable:
        scanned = scanned._replace(new_time=UNTRUSTED, cur_time=UNTRUSTED)  # the next login tries again
    notes += naming.notes
    if scanned.skipped:
        notes.append(f"{scanned.skipped} entries are not regular files and were skipped")
    return _written(root, held, scanned, basis, notes)


def _last(root: bytes, kept: Kept | None) -> Kept | None:
    """The last index: the kept one if its file is still there, else that in the file; None when that cannot be used."""
    try:
        there = identity(os.lstat(root + index.NAME))
    except OSError:
        return None
    if kept is not None and kept.identity == there:
        return kept
    found = index.decode(read_index(root))
    return None if found is None else Kept(there, found)


def _make_tmp(root: bytes) -> list[str]:
    """Make tmp/ for delivery agents; the server does not need it."""
    try:
        make_below(root, root + b"tmp")
    except OSError as error:
        return [f"{shown(root)}tmp cannot be made: {error.strerror}"]
    return []


def read_index(root: bytes) -> bytes:
    """The index file as it is; b"" where it cannot be read."""
    try:
        return read_whole(root + index.NAME)
    except OSError:
        return b""  # there is none yet, or it is unusable and will be replaced


def _written(root: bytes, held: int, scanned: Scan, basis: Basis, notes: list[str]) -> Opened:
    data = index.encode(scanned.rows, scanned.new_time, scanned.cur_time, basis)
    written = None
    try:
        written = index.write(root, data)
    except OSError as error:
        notes.append(f"the index cannot be written, so every login reads the directories: {error}")
    return Opened(held, Index.of(scanned.rows, scanned.new_time, scanned.cur_time, basis), written, notes)
