"""The UPDATE state, all or nothing: promise the deletions durably, keep the promise, then forget it.

A crash before the promise is durable deletes nothing. After it, the next login reads the journal and deletes the rest.
The journal names messages by their keys (`names.key`), because other programs rename files meanwhile.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Set as AbstractSet
from contextlib import suppress
from hashlib import sha256

from mailserver.errors import MaildropUnavailable, OutcomeUnknown
from mailserver.store import index, names
from mailserver.store.files import read_whole, rename, shown, sync_directory, unlink, unlink_if_there, write_new
from mailserver.store.scan import DIRECTORIES, PREFIX, matching

NAME = b"mailserver-journal"

_MAGIC = b"mailserver-journal 1"

_PASSES = 100
"""Readings of the directories, each after a file moved away under our hands; the loop ends long before."""


def commit(root: bytes, keys: AbstractSet[bytes]) -> int:
    """Delete the messages with these keys; returns how many could not be removed.

    Errors: MaildropUnavailable when nothing was deleted and nothing will be; OutcomeUnknown when the next login finishes.
    """
    try:
        _promise_somehow(root, keys)
    except OSError as error:
        _withdraw(root, error)
    try:
        return _keep(root, keys)
    except OSError as error:
        raise OutcomeUnknown(f"the deletions in {shown(root)} wait for the next login: {error}") from error


def recover(root: bytes) -> int | None:
    """Finish the commit that a crash cut short; returns how many messages could not be removed, None without a journal."""
    try:
        data = read_whole(root + NAME)
    except FileNotFoundError:
        return None
    keys = decode(data)
    if keys is None:
        unlink(root + NAME)  # torn: it was never durable, so nobody was promised anything
        return None
    return _keep(root, keys)


def encode(keys: AbstractSet[bytes]) -> bytes:
    """The file that promises to delete `keys`, of which there is at least one."""
    body = b"\0".join(sorted(keys))
    return b"\0".join([_MAGIC, sha256(body).hexdigest().encode("ascii"), body])


def decode(data: bytes) -> frozenset[bytes] | None:
    """The keys in the file's contents; None when it is torn."""
    magic, _, rest = data.partition(b"\0")
    digest, _, body = rest.partition(b"\0")
    if magic != _MAGIC or digest != sha256(body).hexdigest().encode("ascii"):
        return None
    return frozenset(body.split(b"\0"))


def _promise_somehow(root: bytes, keys: AbstractSet[bytes]) -> None:
    try:
        _promise(root, keys)
    except OSError as error:
        # Deleting is how a user makes room on a full disk: the index is a cache, and longer than the journal.
        if error.errno not in {errno.ENOSPC, errno.EDQUOT} or not index.drop(root):
            raise
        _promise(root, keys)


def _promise(root: bytes, keys: AbstractSet[bytes]) -> None:
    temporary = root + NAME + b".tmp"
    write_new(temporary, encode(keys), durable=True)
    rename(temporary, root + NAME)
    sync_directory(root)


def _withdraw(root: bytes, cause: OSError) -> None:
    """Take back a promise that may not be durable."""
    where = shown(root)
    with suppress(OSError):  # an orphan does no harm: the next commit writes over it
        unlink_if_there(root + NAME + b".tmp")
    try:
        unlink_if_there(root + NAME)
    except OSError as error:
        if os.path.lexists(root + NAME):
            raise OutcomeUnknown(f"the journal in {where} cannot be withdrawn: {error}") from cause
    raise MaildropUnavailable(f"nothing was deleted in {where}: {cause}") from cause


def _keep(root: bytes, keys: AbstractSet[bytes]) -> int:
    left = _remove(root, keys)
    for directory in DIRECTORIES:
        sync_directory(root + directory)
    unlink(root + NAME)
    sync_directory(root)
    return left


def _remove(root: bytes, keys: AbstractSet[bytes]) -> int:
    """Unlink until a listing shows no message with these keys but those that cannot be removed; returns their number."""
    for _ in range(_PASSES):
        found = matching(root, keys)
        if not [path for path in found if _unlinked(root + path)]:
            return len({key for path in found for key in names.keys(path[PREFIX:]) if key in keys})
    raise OSError(errno.EAGAIN, "messages move faster than they can be removed", os.fsdecode(root))


def _unlinked(path: bytes) -> bool:
    """Whether the file is gone, or another program moved it; False when we may not remove it."""
    try:
        unlink_if_there(path)
    except PermissionError:
        return False
    return True
