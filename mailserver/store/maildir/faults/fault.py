"""A fault of a maildrop, with the act that mends it; and the acts that several kinds of faults need.

Each act is one change of one name, or replaces a file by a rename, so a crash leaves the maildrop as before or mended. Acts look
again before they change something: other programs go on meanwhile.
"""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH101

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from itertools import count
from typing import Final, NamedTuple

from mailserver.store.maildir.files import make_inside, rename, shown, sync_directory, unlink_if_there
from mailserver.upkeep import Finding

Mend = Callable[[], object]

ASIDE: Final = b"mailserver-aside/"
"""Where things go that are in the way: kept for the operator, served to nobody."""


class Fault(NamedTuple):
    """Something wrong."""

    kind: str
    path: bytes
    """In the maildrop; b"" is the maildrop itself."""
    text: str
    remedy: str
    mend: Mend | None = None
    """None: only the operator can. Errors: OSError."""

    @property
    def key(self) -> tuple[str, bytes]:
        """The same for the same fault at another time."""
        return self.kind, self.path

    @property
    def finding(self) -> Finding:
        """For people."""
        return Finding(self.kind, shown(self.path), self.text, self.remedy, self.mend is not None)


def in_the_way(root: bytes, path: bytes, kind: str, text: str) -> Fault:
    """Something that has the place of something else, and is moved aside."""
    seen = _identity(root, path)
    return Fault(kind, path, text, f"repair moves it to {shown(ASIDE)}", lambda: move_aside(root, path, seen))


def _identity(root: bytes, path: bytes) -> tuple[int, int] | None:
    try:
        status = os.lstat(root + path.rstrip(b"/"))
    except FileNotFoundError:
        return None
    return status.st_ino, stat.S_IFMT(status.st_mode)


def move_aside(root: bytes, path: bytes, seen: tuple[int, int] | None) -> None:
    """Give it a name among what is kept for the operator, which nothing there has yet. Errors: OSError.

    It is left if it is not what was `seen` there any more: another repair may have put the right thing in its place, and somebody
    may hold that lock.
    """
    if seen is None or _identity(root, path) != seen:
        return
    make_inside(root, ASIDE)
    name = path.rstrip(b"/").replace(b"/", b"-")
    names = (name + (b".%d" % number if number else b"") for number in count())
    to = next(each for each in names if not os.path.lexists(root + ASIDE + each))
    rename(root + path.rstrip(b"/"), root + ASIDE + to)
    for directory in (ASIDE, path.rpartition(b"/")[0], b""):
        sync_directory(root + directory)


def removed(root: bytes, path: bytes) -> None:
    """Remove a file that holds nothing of its own, durably. Errors: OSError."""
    unlink_if_there(root + path)
    sync_directory(root + path.rpartition(b"/")[0])


def without_rights(root: bytes, path: bytes, status: os.stat_result, needed: int) -> Iterator[Fault]:
    """The fault of something of ours that denies its owner what is `needed`. What is others' is told as one (`strangers`)."""
    mode = stat.S_IMODE(status.st_mode)
    if mode & needed != needed and not is_strange(status):
        rights = f"its mode {mode:03o} denies its owner what the server needs"
        yield Fault(
            "rights", path, rights, "repair gives its owner the rights", lambda: os.chmod(root + path, mode | needed)
        )


def is_strange(status: os.stat_result) -> bool:
    """Whether it is another user's, whom this process is not."""
    return status.st_uid != os.geteuid() != 0
