"""The end of a session: sets seen flags, and corrects rows of the index that the session found to be wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import index
from mailserver.store.maildir.files import read_whole, rename, shown
from mailserver.store.maildir.index import CLAIMED, DISTRUSTED, UNTRUSTED, write
from mailserver.store.maildir.listing import PREFIX, Clock, look
from mailserver.store.maildir.rows import Row, Rows
from mailserver.store.maildir.same import Target, found_again


class Lesson:
    """The changes that a session has to write down."""

    __slots__ = ("lied", "mends", "seen")

    def __init__(self) -> None:
        self.lied = False
        """Whether a size in a name was wrong: then no name is trusted, and the next login measures all messages."""
        self.mends: dict[bytes, int | None] = {}
        """By unique-id: the octets counted on the wire, or None when the row must be measured again."""
        self.seen: dict[Target, bytes] = {}
        """The files that are to get the S flag, and their last known paths."""


def settle(root: bytes, lesson: Lesson, others: AbstractSet[int], clock: Clock) -> list[str]:
    """Write the lesson down, under the lock; returns notes for the operator.

    `others` are the inodes of messages that do not get the flag.
    """
    notes = _mark_seen(root, lesson.seen, others, clock)
    try:
        if lesson.mends or lesson.lied:
            _mend(root, lesson)
    except OSError as error:
        notes.append(f"the index cannot be corrected: {error}")
    return notes


def _mend(root: bytes, lesson: Lesson) -> None:
    data = read_whole(root + index.NAME)
    known = index.decode(data)
    if known is None:
        return
    rows = Rows(_mended(row, lesson) for row in known.rows)
    times = (UNTRUSTED, UNTRUSTED) if lesson.lied or None in lesson.mends.values() else (known.new_time, known.cur_time)
    write(root, index.encode(rows, *times, known.basis))


def _mended(row: Row, lesson: Lesson) -> Row:
    if lesson.lied and row.flags & CLAIMED:
        return row._replace(flags=row.flags | DISTRUSTED)
    if row.uidl not in lesson.mends:
        return row
    octets = lesson.mends[row.uidl]
    return row._replace(flags=row.flags | DISTRUSTED) if octets is None else row._replace(octets=octets)


def _mark_seen(root: bytes, files: Mapping[Target, bytes], others: AbstractSet[int], clock: Clock) -> list[str]:
    failed: list[str] = []
    lost = [target for target, path in files.items() if not _marked_or_failed(root, path, failed)]
    try:
        for path in found_again(look(root, clock).files, lost, others).values() if lost else ():
            _marked_or_failed(root, path, failed)
    except OSError as error:
        failed.append(str(error))
    more = f", and {len(failed) - 1} more" if len(failed) > 1 else ""
    return [f"messages cannot be marked as seen: {failed[0]}{more}"] if failed else []


def _marked_or_failed(root: bytes, path: bytes, failed: list[str]) -> bool:
    """As `_marked`; a file's error is added to `failed`, so that the other files are still marked."""
    try:
        return _marked(root, path)
    except OSError as error:
        failed.append(f"{shown(root + path)}: {error.strerror}")
        return True


def _marked(root: bytes, path: bytes) -> bool:
    """Set the flag; answers whether the file was there. A name that another file has already is not overwritten."""
    name = names.seen(path[PREFIX:])
    if name is None or os.path.lexists(root + b"cur/" + name):
        return True
    try:
        rename(root + path, root + b"cur/" + name)
    except FileNotFoundError:
        return False
    return True
