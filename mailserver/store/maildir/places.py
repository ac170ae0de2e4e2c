"""Where deleted messages lie in a maildrop: in the trash, or with what a session has deleted and the store keeps.

A place is a directory in the maildrop, with a slash at its end; b"" is none, for what is removed for good. A file gets a second
name in its place, which is made durable, before its name in the maildrop goes: no power cut leaves it without both.
"""

from __future__ import annotations

import errno
import os
import re
from typing import Final, NamedTuple

from mailserver.store.deleting import Deleting
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.files import (
    directory_status,
    link_or_rename,
    make_inside,
    opened,
    sync,
    sync_directory,
    write_new,
)
from mailserver.store.maildir.listing import Clock
from mailserver.store.maildir.twins import same_contents

NOWHERE: Final = b""

TRASH: Final = b".Trash/cur/"
"""The Maildir++ folder that IMAP servers and mail programs know as the trash."""

KEPT: Final = b"mailserver-kept/"
"""What the store keeps, one directory for each session. Without a dot it is no Maildir++ folder, so nothing else shows it."""

_FOLDER: Final = b"maildirfolder"
"""The file by which Maildir++ tells a folder from a Maildir of its own."""

_PLACE: Final = re.compile(rb"\.Trash/cur/|mailserver-kept/[0-9]{1,20}-[0-9]{1,5}/")

_RETURNING: Final = b"undelete-"

_SESSION: Final = re.compile(rb"(?P<returning>undelete-)?(?P<ended>[0-9]{1,20})-(?P<days>[0-9]{1,5})")

_SECOND: Final = 1_000_000_000

_NAMES: Final = 100
"""Names that are tried for a file whose own name is taken by a different one there, which takes a broken maildrop."""


def place_for(deleting: Deleting, root: bytes, clock: Clock) -> bytes:
    """The place of what a session deletes that ends now. Errors: OSError."""
    if deleting.act == "trash":
        return TRASH
    if deleting.act != "keep":
        return NOWHERE
    last = max((session.ended for session in kept_sessions(root)), default=0)
    return b"%b%d-%d/" % (
        KEPT,
        max(clock(), last + 1),
        deleting.days,
    )  # the last one stays the last, whatever the clock says


def is_place(text: bytes) -> bool:
    """Whether it is one of these: a journal must not lead elsewhere."""
    return _PLACE.fullmatch(text) is not None


class KeptSession(NamedTuple):
    """What one session has deleted: its directory's name tells when it ended, and for how many days that is kept."""

    ended: int
    """In nanoseconds of the epoch."""
    days: int
    path: bytes
    """The directory in the maildrop, with a slash at its end."""
    returning: bool
    """Whether it is on its way back: a crash has left the rest of it."""

    def coming_back(self) -> KeptSession:
        """The same on its way back."""
        return self._replace(path=b"%b%b%d-%d/" % (KEPT, _RETURNING, self.ended, self.days), returning=True)

    def is_over(self, now: float) -> bool:
        """Whether its days are over, `now` in seconds. What was promised when it was deleted counts, not today's setting."""
        return self.ended / _SECOND + self.days * 86_400 < now


def kept_sessions(root: bytes) -> list[KeptSession]:
    """The sessions whose deletions are kept, the last one last. Errors: OSError, NotADirectoryError also for a link.

    A link to a session's directory is none: it could lead to another maildrop's.
    """
    try:
        directory_status(root + KEPT)
        with os.scandir(root + KEPT) as entries:
            listed = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
    found = ((name, _SESSION.fullmatch(name)) for name in listed)
    return sorted(
        KeptSession(int(it["ended"]), int(it["days"]), KEPT + name + b"/", bool(it["returning"]))
        for name, it in found
        if it
    )


def make(root: bytes, place: bytes) -> None:
    """Make the place and its name durable; idempotent. Errors: OSError."""
    inside = place[: place.index(b"/") + 1]
    folder = root + inside
    make_inside(root, inside)
    make_inside(root, place)
    if place == TRASH and not os.path.lexists(folder + _FOLDER):
        make_inside(root, inside + b"new/")
        make_inside(root, inside + b"tmp/")
        write_new(folder + _FOLDER, b"", durable=False)
    sync_directory(folder)  # also where it was there: a crash may have come before the syncs of who made it
    sync_directory(root)


def put(root: bytes, path: bytes, place: bytes) -> bool:
    """Give the file at `path` a name in the place as well; answers whether it has no other, as where the file system has no links.

    It is not durable before the place is synced. Errors: FileNotFoundError, if the file is not there; OSError.
    """
    name = path.rpartition(b"/")[2]
    if place == TRASH and names.base(name) == name:
        name += b":2,"  # a file in cur must have flags; it gets none: T would tell IMAP's clients to hide it
    return link(root, path, place + name)


def link(root: bytes, path: bytes, goal: bytes) -> bool:
    """The same for one name, or a similar one where a different file has it. The file may have it already: idempotent."""
    for number in range(_NAMES):
        to = _numbered(goal, number)
        try:
            return link_or_rename(root + path, root + to)
        except FileExistsError:
            if _is_same(root, path, to):
                return False
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(root + goal))


def _is_same(root: bytes, one: bytes, other: bytes) -> bool:
    if os.path.samestat(os.lstat(root + one), os.lstat(root + other)):
        return True
    return same_contents(root, one, other)


def _numbered(goal: bytes, number: int) -> bytes:
    """Another name with another unique part, but the same time and sizes."""
    if not number:
        return goal
    directory, slash, name = goal.rpartition(b"/")
    unique = names.unique_part(name)
    return b"%b%b%b_%d%b" % (directory, slash, unique, number, name[len(unique) :])


def sync_place(root: bytes, place: bytes) -> None:
    """Make the names in the place durable. Errors: OSError."""
    with opened(root + place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) as descriptor:
        sync(descriptor, root + place)
