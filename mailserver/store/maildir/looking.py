"""What the next login would find in a Maildir: as far as it can be seen without the lock, and without a change.

The steps are those of `opening`, in its order, by its functions where these only read.
"""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH112, PTH116, PTH120, PTH208

from __future__ import annotations

import errno
import os

from mailserver.errors import MaildropInUse, StoreError
from mailserver.foresight import Sight
from mailserver.store.maildir import journal
from mailserver.store.maildir.cache import IndexCache
from mailserver.store.maildir.files import opened, shown
from mailserver.store.maildir.former import Former, mark
from mailserver.store.maildir.holding import held
from mailserver.store.maildir.listing import DIRECTORIES, directory_times
from mailserver.store.maildir.locking import NAME
from mailserver.store.maildir.opening import read_index, unavailable, unchanged
from mailserver.store.maildir.ours import Ours


def look(root: bytes, anchor: bytes, former: Former | None) -> Sight:
    """What the maildrop at `root` is like; `anchor` must exist before it is made. Unbounded work: for a thread."""
    exists, holder = os.path.isdir(root), ""
    remarks: list[str] = []
    messages: int | None = None
    refusal: StoreError | None = None
    try:
        _lockable(root, anchor)
        for lock in (each for each in held(root) if each.purpose == "session"):
            holder = f"pid {lock.pid} {lock.holder or lock.program}".strip()
            refusal = MaildropInUse(f"{shown(root)} is locked by {holder!r}")
        if refusal is None:
            messages = _listed(root, former, remarks) if exists else 0
    except OSError as error:
        refusal = unavailable(error)
    except StoreError as error:
        refusal = error
    return Sight(shown(root), exists, holder, refusal, remarks, messages)


def _lockable(root: bytes, anchor: bytes) -> None:
    """See that the lock's file can be opened, or made with what is missing above it. Errors: OSError."""
    try:
        with opened(root + NAME, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC):
            return
    except FileNotFoundError:
        if not os.path.isdir(root):
            os.stat(anchor)
        _writable(root)


def _writable(path: bytes) -> None:
    """See that something can be made in the directory, or else in the nearest one above it that exists. Errors: OSError."""
    path = path.rstrip(b"/")
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    usable = os.access(path, os.W_OK | os.X_OK, effective_ids=True)
    for number, is_so in ((errno.ENOTDIR, os.path.isdir(path)), (errno.EACCES, usable)):
        if not is_so:
            raise OSError(number, os.strerror(number), os.fsdecode(path))


def _listed(root: bytes, former: Former | None, remarks: list[str]) -> int:
    """The number of messages. Errors: StoreError, OSError."""
    missing = [each[:-1] for each in DIRECTORIES if not os.path.isdir(root + each)]
    for each in missing:
        if os.path.lexists(root + each):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(root + each))
        _writable(root)
    if journal.is_promised(root):
        remarks.append("the next login finishes the deletions of an earlier session")
    if missing:
        there = [each for each in DIRECTORIES if each[:-1] not in missing]
        return sum(not name.startswith(b".") for each in there for name in os.listdir(root + each))
    found = unchanged(root, IndexCache(), None if former is None else mark(former))
    if found is not None:
        return len(found.rows)
    directory_times(root)
    return len(Ours(former).rows(root, read_index(root)))
