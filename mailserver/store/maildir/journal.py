"""The UPDATE state, all or nothing: promise the deletions durably, keep the promise, then forget it.

A crash before the promise is durable deletes nothing. After a later crash, the next login reads the journal and deletes the
rest. The journal has the files' listed names and inodes, because other programs rename files meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import NoReturn, cast

from mailserver.errors import MaildropUnavailable, OutcomeUnknown
from mailserver.store.maildir import maildirsize, overwritten, promise
from mailserver.store.maildir.files import read_whole, rename, shown, sync_directory, unlink_if_there, write_new
from mailserver.store.maildir.listing import DIRECTORIES, Clock, Listing, look, look_until_complete
from mailserver.store.maildir.places import NOWHERE
from mailserver.store.maildir.removal import Removal, remove
from mailserver.store.maildir.same import Target, candidates, is_proven
from mailserver.store.maildir.twins import same_contents

NAME = b"mailserver-journal"

_TEMPORARY = NAME + b".tmp"
_CORRUPT = NAME + b".corrupt"

_UNPROMISED = (
    "the disk was too full for a journal, so messages were deleted one by one: a crash meanwhile would have left some"
)


def commit(
    root: bytes, targets: Sequence[Target], others: frozenset[int], clock: Clock, place: bytes = NOWHERE
) -> Removal:
    """Delete the messages whose files are the `targets`, and their copies; `others` are the inodes of other messages.

    They are kept at the `place`.

    Errors: MaildropUnavailable when nothing was deleted and nothing will be; OutcomeUnknown when the next login finishes.
    """
    try:
        listing = look(root, clock)
        whole = [*targets, *_copies(root, targets, listing, others, clock)]
        promised = _promise_somehow(root, whole, place)
    except OSError as error:
        _withdraw(root, error)
    try:
        left, notes = _ended(root, remove(root, whole, clock, listing, others, place))
    except OSError as error:
        fate = "wait for the next login" if promised else "were not all made, and are not promised on a full disk"
        raise OutcomeUnknown(f"the deletions in {shown(root)} {fate}: {error}") from error
    return Removal(min(left, len(targets)), notes if promised else [*notes, _UNPROMISED])


def recover(root: bytes, clock: Clock) -> list[str]:
    """Finish the commit that a crash interrupted; returns notes for the operator, none without a journal.

    Errors: MaildropUnavailable for a journal of another version of this program; OSError.
    """
    try:
        data = read_whole(root + NAME)
    except FileNotFoundError:
        data = overwritten.read(root)
        if not data:
            return []
    sync_directory(root)  # the rename may not be durable yet, and must be before any file is removed
    if _is_corrupt(root, data):
        return [_set_aside(root)]
    targets, notes = promise.decode(data), list[str]()
    if targets is None:
        targets, notes = promise.decode_names(root, data, look_until_complete(root, (), clock))
    removal = _ended(root, remove(root, targets, clock, place=promise.place(data)))
    maildirsize.forget(root)  # nobody knows what of it the earlier session has counted out
    done = len(targets) - removal.left
    return [
        f"finished the deletions of an earlier session: {done} of {len(targets)} files",
        *notes,
        *removal.notes,
    ]


def is_promised(root: bytes) -> bool:
    """Whether `recover` would find something; nothing is changed. Errors: as of `recover`."""
    try:
        data = read_whole(root + NAME)
    except FileNotFoundError:
        return overwritten.is_promise(root)
    _is_corrupt(root, data)
    return True


def promised(root: bytes, clock: Clock) -> list[Target]:
    """What `recover` would remove, by reading alone. Errors: as of `recover`."""
    try:
        data = read_whole(root + NAME)
    except FileNotFoundError:
        data = overwritten.whole(root)
    if not data or _is_corrupt(root, data):
        return []
    targets = promise.decode(data)
    return promise.decode_names(root, data, look(root, clock))[0] if targets is None else targets


def _is_corrupt(root: bytes, data: bytes) -> bool:
    """Whether the journal is damaged. Errors: MaildropUnavailable for one of another version of this program."""
    kind = promise.kind(data)
    if kind is promise.Kind.FOREIGN:
        raise MaildropUnavailable(
            f"{shown(root + NAME)} holds deletions that another version of this server promised: log in by that version to"
            " finish them, or remove the file to keep the messages"
        )
    return kind is promise.Kind.CORRUPT


def _set_aside(root: bytes) -> str:
    """Keep a damaged journal for the operator. It was durable before it got its name, so a crash is not the cause."""
    names = (_CORRUPT + (b".%d" % number if number else b"") for number in count())
    aside = next(name for name in names if not os.path.lexists(root + name))
    rename(root + NAME, root + aside)
    sync_directory(root)
    return f"the journal is damaged, so its deletions were not made; it is kept as {shown(aside)}"


def _copies(
    root: bytes, targets: Sequence[Target], listing: Listing, others: frozenset[int], clock: Clock
) -> Iterator[Target]:
    """The copies of targets: files with a target's unique part, size and contents that are no message of their own."""
    files, inodes, now = listing.files, others | {target.inode for target in targets}, clock()
    named = candidates(files, targets)
    for target in targets:
        paths = named[target.unique]
        copies = [path for path in paths if files[path] and files[path] not in inodes]
        ours = next((path for path in paths if copies and _is_there(root, target, path, files, clock)), None)
        for path in copies if ours is not None else ():
            if same_contents(root, cast("bytes", ours), path):
                yield Target(path, files[path], target.size, now)


def _is_there(root: bytes, target: Target, path: bytes, files: Mapping[bytes, int], clock: Clock) -> bool:
    try:
        return is_proven(root, target, path, files, clock)
    except FileNotFoundError:
        return False


def _promise_somehow(root: bytes, targets: Sequence[Target], place: bytes) -> bool:
    """Promise the deletions; answers False if a full disk cannot hold the promise.

    Deletions must work on a full disk, since that is how a user makes room.
    """
    data = promise.encode(targets, place)
    try:
        _promise(root, data)
    except OSError as error:
        if not overwritten.want_of_room(error):
            raise
        _drop_temporary(root)
        return overwritten.write(root, data)
    return True


def _promise(root: bytes, data: bytes) -> None:
    write_new(root + _TEMPORARY, data, durable=True)
    rename(root + _TEMPORARY, root + NAME)
    sync_directory(root)


def _withdraw(root: bytes, cause: OSError) -> NoReturn:
    """Take back a promise that may not be durable."""
    where = shown(root)
    _drop_temporary(root)
    try:
        if _unlinked(root + NAME):
            sync_directory(root)  # else a power cut could bring it back, and the next login would keep it
        overwritten.forget(root)
    except OSError as error:
        raise OutcomeUnknown(f"the journal in {where} cannot be withdrawn: {error}") from cause
    raise MaildropUnavailable(f"nothing was deleted in {where}: {cause}") from cause


def _drop_temporary(root: bytes) -> None:
    with suppress(OSError):  # an orphan is harmless: the next commit overwrites it
        unlink_if_there(root + _TEMPORARY)


def _unlinked(path: bytes) -> bool:
    """Unlink the file; answers whether there was one, also on a read-only file system. Errors: OSError."""
    try:
        return unlink_if_there(path)
    except OSError:
        try:
            os.lstat(path)
        except FileNotFoundError:
            return False
        raise


def _ended(root: bytes, removal: Removal) -> Removal:
    """Make the removal durable, and forget the promise, which is kept now."""
    for directory in DIRECTORIES:
        sync_directory(root + directory)
    unlink_if_there(root + NAME)
    overwritten.forget(root)
    sync_directory(root)
    return removal
