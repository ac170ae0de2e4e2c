"""What a session learned about its messages, written down when it ends: seen flags, and rows that were wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from mailserver.store import index, names
from mailserver.store.files import read_whole, rename
from mailserver.store.index import DISTRUSTED, UNTRUSTED, Row, write
from mailserver.store.scan import PREFIX, matching


class Lesson:
    """What is to be written down."""

    __slots__ = ("mends", "seen")

    def __init__(self) -> None:
        self.mends: dict[bytes, int | None] = {}
        """By unique-id: the octets that were counted on the wire, or None when the row cannot be believed at all."""
        self.seen: dict[bytes, bytes] = {}
        """The file of a message that is to get the S flag, by its key."""


def settle(root: bytes, lesson: Lesson, deleted: AbstractSet[bytes]) -> list[str]:
    """Write the lesson down, under the lock, but for the keys just deleted; returns what the operator should know."""
    notes = _mark_seen(root, {key: path for key, path in lesson.seen.items() if key not in deleted})
    try:
        if lesson.mends:
            _mend(root, lesson.mends)
    except OSError as error:
        notes.append(f"the index cannot be mended: {error}")
    return notes


def _mend(root: bytes, mends: Mapping[bytes, int | None]) -> None:
    data = read_whole(root + index.NAME)
    known = index.decode(data)
    if known is None:
        return
    rows = [_mended(row, mends) for row in index.decode_rows(data)]
    times = (UNTRUSTED, UNTRUSTED) if None in mends.values() else (known.new_time, known.cur_time)
    write(root, index.encode(rows, *times))


def _mended(row: Row, mends: Mapping[bytes, int | None]) -> Row:
    if row.uidl not in mends:
        return row
    octets = mends[row.uidl]
    return row._replace(flags=row.flags | DISTRUSTED) if octets is None else row._replace(octets=octets)


def _mark_seen(root: bytes, files: Mapping[bytes, bytes]) -> list[str]:
    lost = set()
    try:
        lost = {key for key, path in files.items() if not _marked(root, path)}
        for path in matching(root, lost) if lost else ():
            _marked(root, path)
    except OSError as error:
        return [f"messages cannot be marked as seen: {error}"]
    return []


def _marked(root: bytes, path: bytes) -> bool:
    """Whether the file was there. A name that another file has already is left to it."""
    name = names.seen(path[PREFIX:])
    if name is None or os.path.lexists(root + b"cur/" + name):
        return True
    try:
        rename(root + path, root + b"cur/" + name)
    except FileNotFoundError:
        return False
    return True
