"""The index of a maildrop: measured sizes and names in columns, so that a login to an unchanged maildrop stats no message.

It is a cache. With a wrong magic, version, length, checksum or name it is ignored, and the next login writes a new one.
docs/maildir.md has the format. The rows are in the order of arrival.
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import repeat
from typing import NamedTuple, overload

from mailserver.snapshot import BLOCK, Snapshot
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.files import Identity, rename, unlink_if_there, write_new
from mailserver.store.maildir.same import Target

NAME = b"mailserver-index"

_TEMPORARY = NAME + b".tmp"

UNTRUSTED = -(2**63)
"""Replaces a directory's time: whatever its time is now, the directory must be read again."""

WIRE = 1
"""Flag of a row: the stored bytes are in wire form."""

DISTRUSTED = 2
"""Flag of a row: its name or an old index had wrong sizes, so it must be measured by its contents."""

CLAIMED = 4
"""Flag of a row: its sizes come from the file's name, and were never measured."""

PACKED = 8
"""Flag of a row: the file holds the mail compressed or encrypted (`packed`), and `octets` are those of the mail."""

SEALED = 16
"""Flag of a packed row: the file is damaged, or unpacks to too many octets."""

_MAGIC = b"msrvindx"
_VERSION = 2
_COLUMNS = {1: 3, 2: 4}
"""Numbers in a row, by version: version 1 had no inodes. A scan uses its rows, so that nothing is measured again."""
_HEADER = struct.Struct("=8sIIqqQQ")  # magic, version, rows, times of new/ and cur/ in ns, octets of the two texts
_DIGEST = 16
_WORD = 8
_UIDLS = re.compile(rb"[\x21-\x7e]{1,70}(?:\0[\x21-\x7e]{1,70})*")
_TO_WIRE = bytes(flags & WIRE for flags in range(256))


class Row(NamedTuple):
    """A message as a scan finds it. Rows sort by arrival."""

    arrival: int
    """Microseconds of the epoch, from the file's name or else from its mtime."""
    name: bytes
    """The file, with its directory: ``new/...`` or ``cur/...``."""
    uidl: bytes
    size: int
    """Octets of the file as it is stored."""
    octets: int
    """Octets on the wire."""
    flags: int
    inode: int = 0
    """The file's inode, or 0 where the file system does not tell."""


class Column(Sequence[bytes]):
    """`count` values separated by NULs, split when the first of them is read.

    Most sessions find no new mail and read none: their column costs one object instead of `count`.
    """

    __slots__ = ("_count", "_values")

    def __init__(self, text: bytes, count: int) -> None:
        self._count = count
        self._values: bytes | list[bytes] = text if 0 < count <= BLOCK else self._split(text)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        values = self._values  # read once: a thread may split it at the same time
        if isinstance(values, bytes):
            values = self._values = values.split(b"\0")
        return values[index]

    def _split(self, text: bytes) -> list[bytes]:
        """Split a big column at once, in the thread that loads it: it would take too long in the reactor thread."""
        return text.split(b"\0") if self._count else []


class Index(NamedTuple):
    """A session's data about a maildrop, shared by the sessions that find the maildrop unchanged."""

    new_time: int
    """mtime of new/ in nanoseconds when it was scanned, or UNTRUSTED; likewise of cur/."""
    cur_time: int
    snapshot: Snapshot
    names: Column
    sizes: array[int]
    inodes: array[int]
    flags: bytes

    def target(self, at: int) -> Target:
        """The file of a row, as the index has it."""
        return Target(self.names[at], self.inodes[at], self.sizes[at])

    def others(self, targets: Iterable[Target]) -> frozenset[int]:
        """The inodes of all messages but the targets."""
        return frozenset(self.inodes).difference({target.inode for target in targets}, {0})


def encode(rows: list[Row], new_time: int, cur_time: int) -> bytes:
    """The index file's contents for `rows`."""
    uidls = b"\0".join([row.uidl for row in rows])
    names = b"\0".join([row.name for row in rows])
    data = b"".join(
        [
            _HEADER.pack(_MAGIC, _VERSION, len(rows), new_time, cur_time, len(uidls), len(names)),
            array("Q", [row.arrival for row in rows]).tobytes(),
            array("Q", [row.size for row in rows]).tobytes(),
            array("Q", [row.octets for row in rows]).tobytes(),
            array("Q", [row.inode for row in rows]).tobytes(),
            bytes([row.flags for row in rows]),
            uidls,
            names,
        ]
    )
    return data + _digest(data)


def write(root: bytes, data: bytes) -> Identity:
    """Replace the index file atomically. It need not be durable: a damaged one is rebuilt."""
    try:
        written = write_new(root + _TEMPORARY, data, durable=False)
        rename(root + _TEMPORARY, root + NAME)
    except OSError:
        with suppress(OSError):  # half an index must not take up a full disk
            unlink_if_there(root + _TEMPORARY)
        raise
    return written


def decode(data: bytes) -> Index | None:
    """The index in the file's contents; None when they are damaged, inconsistent, or of another version."""
    parts = _parts(data)
    if parts is None or parts.version != _VERSION:
        return None
    version, count, new_time, cur_time, numbers, texts = parts
    flags = data[_flags_at(version, count) :][:count]
    uidls, names = Column(texts[0], count), Column(texts[1], count)
    return Index(
        new_time,
        cur_time,
        Snapshot(uidls, numbers[2 * count : 3 * count], flags.translate(_TO_WIRE)),
        names,
        numbers[count : 2 * count],
        numbers[3 * count :],
        flags,
    )


def decode_rows(data: bytes) -> list[Row]:
    """The rows in the file's contents, also of version 1; none when they are damaged or inconsistent."""
    parts = _parts(data)
    if parts is None or not parts.rows:
        return []
    version, count, _, _, numbers, (uidls, names) = parts
    flags_at = _flags_at(version, count)
    sizes, octets, inodes = (numbers[at * count : (at + 1) * count] for at in (1, 2, 3))
    texts = names.split(b"\0"), uidls.split(b"\0")
    flags = data[flags_at : flags_at + count]
    rows = list(map(Row, numbers[:count], *texts, sizes, octets, flags, inodes or repeat(0)))
    return list(map(_claimed, rows)) if version == 1 else rows


def _claimed(row: Row) -> Row:
    """A row of version 1, which did not record whether the file had been measured."""
    if names.sizes(row.name) != (row.size, row.octets):
        return row
    return row._replace(flags=row.flags | CLAIMED)


class _Parts(NamedTuple):
    version: int
    rows: int
    new_time: int
    cur_time: int
    numbers: array[int]
    texts: tuple[bytes, bytes]


def _flags_at(version: int, count: int) -> int:
    return _HEADER.size + _COLUMNS[version] * _WORD * count


def _parts(data: bytes) -> _Parts | None:
    if len(data) < _HEADER.size + _DIGEST or _digest(memoryview(data)[:-_DIGEST]) != data[-_DIGEST:]:
        return None
    magic, version, count, new_time, cur_time, uidls_size, names_size = _HEADER.unpack_from(data)
    if magic != _MAGIC or version not in _COLUMNS:
        return None
    uidls_at = _flags_at(version, count) + count
    names_at = uidls_at + uidls_size
    if names_at + names_size + _DIGEST != len(data):
        return None
    uidls, files = data[uidls_at:names_at], data[names_at : names_at + names_size]
    if not (_are_uidls(uidls, count) and _are_names(files, count)):
        return None
    numbers = array("Q")
    numbers.frombytes(memoryview(data)[_HEADER.size : _flags_at(version, count)])
    return _Parts(version, count, new_time, cur_time, numbers, (uidls, files))


def _are_uidls(text: bytes, count: int) -> bool:
    if not count:
        return not text
    return _UIDLS.fullmatch(text) is not None and len(set(text.split(b"\0"))) == count


def _are_names(text: bytes, count: int) -> bool:
    """Whether each name is directly in new/ or cur/: a forged index must not open files elsewhere."""
    if not count:
        return not text
    inside = (b"\0" + text).count(b"\0new/") + (b"\0" + text).count(b"\0cur/")
    return text.count(b"\0") == count - 1 and inside == text.count(b"/") == count and b"/." not in text


def _digest(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
