"""The index of a maildrop: measured sizes and names in columns, so that a login to an unchanged maildrop stats no message.

It is a cache. With a wrong magic, version, length, checksum or name it is ignored, and the next login writes a new one.
docs/maildir.md has the format. The rows are in their order (`rows`).
"""

from __future__ import annotations

import re
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Final, NamedTuple, overload

from mailserver.snapshot import BLOCK, Renewed, Snapshot
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.files import Identity, rename, unlink_if_there, write_new
from mailserver.store.maildir.pieces import in_pieces, joined, split, texts
from mailserver.store.maildir.rows import Row, Rows
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

OTHER = 32
"""Flag of a row: its unique-id is not the unique part of its file's name."""

_MAGIC = b"msrvindx"
_VERSION = 3
_COLUMNS = {1: 3, 2: 4, 3: 4}
"""Numbers in a row, by version: version 1 had no inodes. A scan uses its rows, so that nothing is measured again."""
_HEADER = struct.Struct("=8sIIqqQQ")  # magic, version, rows, times of new/ and cur/ in ns, octets of the two texts
_MORE = struct.Struct(
    "=16sQqqQQ16s"
)  # since version 3: the former server's mark, the map's identity, rows with a rank, `Renewed`
_DIGEST = 16
_WORD = 8
_UIDLS = re.compile(rb"[\x21-\x7e]{1,255}(?:\0[\x21-\x7e]{1,255})*")
"""Our own have 70 octets at most; former servers have given out whole file names."""
_TO_WIRE = bytes(flags & WIRE for flags in range(256))


class Column(Sequence[bytes]):
    """Values that are kept as one text, separated by NULs, and split when the first of them is read.

    Most sessions find no new mail and read none: their column costs one object instead of one for each value.
    """

    __slots__ = ("_count", "_values")

    def __init__(self, values: bytes | list[bytes], count: int) -> None:
        self._count = count
        self._values = values

    @classmethod
    def of(cls, values: list[bytes]) -> Column:
        """The column of these values. A big one stays split: that would take too long in the reactor thread."""
        return cls(b"\0".join(values) if 0 < len(values) <= BLOCK else values, len(values))

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> list[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | list[bytes]:
        return self.values()[index]

    def __contains__(self, value: object) -> bool:
        return value in self.values()

    def values(self) -> list[bytes]:
        """All values, not to be changed."""
        values = self._values  # read once: a thread may split it at the same time
        if isinstance(values, bytes):
            values = self._values = values.split(b"\0")
        return values


class Basis(NamedTuple):
    """What the unique-ids of an index were taken from, besides the names."""

    former: bytes
    """The `former.mark` of the server whose lists were asked for."""
    uidls: Identity
    """The identity of the durable map (`uidls`)."""
    renewed: Renewed | None = None
    """When and why they were others before."""


NO_MAP: Final = (0, 0, 0)

NOTHING: Final = Basis(bytes(16), NO_MAP)
"""The names alone."""


class Index(NamedTuple):
    """A session's data about a maildrop, shared by the sessions that find the maildrop unchanged."""

    new_time: int
    """mtime of new/ in nanoseconds when it was scanned, or UNTRUSTED; likewise of cur/."""
    cur_time: int
    snapshot: Snapshot
    names: Column
    uidls: Column
    """Those of the snapshot."""
    arrivals: array[int]
    """Those of the snapshot."""
    sizes: array[int]
    octets: array[int]
    """Those of the snapshot."""
    inodes: array[int]
    flags: bytes
    ranks: array[int]
    """Those of the first rows, which are in a former server's order; the others have none."""
    basis: Basis = NOTHING

    @classmethod
    def of(cls, rows: Rows, new_time: int, cur_time: int, basis: Basis = NOTHING) -> Index:
        """The index of `rows`, the same as in their file."""
        names, uidls, flags, ranks = Column.of(rows.names), Column.of(rows.uidls), bytes(rows.flags), _ranks(rows)
        numbers = rows.arrivals, rows.sizes, rows.octets, rows.inodes
        return cls(
            new_time,
            cur_time,
            _snapshot(uidls, numbers, flags, ranks, basis),
            names,
            uidls,
            *numbers,
            flags,
            ranks,
            basis,
        )

    @property
    def rows(self) -> Rows:
        """The rows, not to be changed."""
        rows = Rows()
        rows.names, rows.uidls, rows.flags = self.names.values(), self.uidls.values(), bytearray(self.flags)
        rows.arrivals, rows.sizes, rows.octets, rows.inodes = self.arrivals, self.sizes, self.octets, self.inodes
        rows.ranks = self.ranks + array("Q", bytes(_WORD * (len(self.names) - len(self.ranks))))
        return rows

    def target(self, at: int) -> Target:
        """The file of a row, as the index has it."""
        return Target(self.names[at], self.inodes[at], self.sizes[at])

    def others(self, targets: Iterable[Target]) -> frozenset[int]:
        """The inodes of all messages but the targets."""
        return frozenset(self.inodes).difference({target.inode for target in targets}, {0})


def _ranks(rows: Rows) -> array[int]:
    return rows.ranks[: rows.ranked]


def _snapshot(uidls: Column, numbers: Sequence[array[int]], flags: bytes, ranks: array[int], basis: Basis) -> Snapshot:
    arrivals, _, octets, _ = numbers
    wire = flags.translate(_TO_WIRE)
    return Snapshot(uidls, octets, wire, arrivals, unordered=len(ranks), renewed=basis.renewed)


def encode(rows: Sequence[Row], new_time: int, cur_time: int, basis: Basis = NOTHING) -> bytes:
    """The index file's contents for `rows`, which are in their order."""
    columns = rows if isinstance(rows, Rows) else Rows(rows)
    uidls, names = joined(columns.uidls), joined(columns.names)
    ranks = _ranks(columns)
    numbers = columns.arrivals, columns.sizes, columns.octets, columns.inodes, ranks
    header = _HEADER.pack(_MAGIC, _VERSION, len(rows), new_time, cur_time, len(uidls), len(names))
    reason, when = basis.renewed or ("", 0)
    more = _MORE.pack(basis.former, *basis.uidls, len(ranks), when, reason.encode("ascii"))
    parts = [header, more, *(column.tobytes() for column in numbers), bytes(columns.flags), uidls, names]
    digest = blake2b(digest_size=_DIGEST)
    for part in parts:
        digest.update(part)
    return b"".join([*parts, digest.digest()])


def write(root: bytes, data: bytes, *, durable: bool = False) -> Identity:
    """Replace the index file atomically. It need not be `durable`: a damaged one is rebuilt."""
    try:
        written = write_new(root + _TEMPORARY, data, durable=durable)
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
    _, count, new_time, cur_time, numbers, flags, names, uidls, basis = parts
    columns = [numbers[at * count : (at + 1) * count] for at in range(4)]
    arrivals, sizes, octets, inodes = columns
    ranks = numbers[4 * count :]
    snapshot = _snapshot(uidls, columns, flags, ranks, basis)
    return Index(new_time, cur_time, snapshot, names, uidls, arrivals, sizes, octets, inodes, flags, ranks, basis)


def is_damaged(data: bytes) -> bool:
    """Whether the file's contents are no index of any version."""
    return _parts(data) is None


def distrusted(data: bytes) -> bytes:
    """The same index, all of whose messages must be listed and measured again; their unique-ids stay. Errors: ValueError, as of no index."""
    found = decode(data)
    if found is None:
        raise ValueError("there is no index")
    rows = found.rows
    rows.flags = bytearray(flags | DISTRUSTED for flags in rows.flags)
    return encode(rows, UNTRUSTED, UNTRUSTED, found.basis)


def decode_rows(data: bytes) -> Rows:
    """The rows in the file's contents, also of versions 1 and 2; none when they are damaged or inconsistent."""
    found = decode(data)
    if found is not None:
        return found.rows
    parts = _parts(data)
    return Rows() if parts is None else Rows(_old_rows(parts))


def _old_rows(parts: _Parts) -> Iterator[Row]:
    """The rows of version 2; or of version 1, which did not record either whether a file had been measured."""
    columns = [parts.numbers[at * parts.rows : (at + 1) * parts.rows] for at in range(_COLUMNS[parts.version])]
    arrivals, sizes, octets, *inodes = columns
    rows = map(Row, arrivals, parts.names, parts.uidls, sizes, octets, parts.flags, *inodes)
    return rows if inodes else map(_claimed, rows)


def _claimed(row: Row) -> Row:
    if names.sizes(row.name) != (row.size, row.octets):
        return row
    return row._replace(flags=row.flags | CLAIMED)


class _Parts(NamedTuple):
    version: int
    rows: int
    new_time: int
    cur_time: int
    numbers: array[int]
    flags: bytes
    names: Column
    uidls: Column
    basis: Basis


def _parts(data: bytes) -> _Parts | None:
    if len(data) < _HEADER.size + _DIGEST or _digest(memoryview(data)[:-_DIGEST]) != data[-_DIGEST:]:
        return None
    magic, version, count, new_time, cur_time, uidls_size, names_size = _HEADER.unpack_from(data)
    if magic != _MAGIC or version not in _COLUMNS:
        return None
    numbers_at, ranked, basis = _HEADER.size, 0, NOTHING
    if version == _VERSION and len(data) >= _HEADER.size + _MORE.size:
        former, inode, mtime, size, ranked, when, reason = _MORE.unpack_from(data, _HEADER.size)
        renewed = Renewed(reason.rstrip(b"\0").decode("ascii", "replace"), when) if when else None
        numbers_at, basis = _HEADER.size + _MORE.size, Basis(former, (inode, mtime, size), renewed)
    flags_at = numbers_at + (_COLUMNS[version] * count + ranked) * _WORD
    uidls_at = flags_at + count
    names_at = uidls_at + uidls_size
    if names_at + names_size + _DIGEST != len(data) or ranked > count:
        return None
    uidls = _uidls(data[uidls_at:names_at], count)
    files = _names(data[names_at : names_at + names_size], count)
    if uidls is None or files is None:
        return None
    numbers = array("Q")
    numbers.frombytes(memoryview(data)[numbers_at:flags_at])
    return _Parts(version, count, new_time, cur_time, numbers, data[flags_at:uidls_at], files, uidls, basis)


def _uidls(text: bytes, count: int) -> Column | None:
    """The unique-ids in the text; None unless they are different and allowed."""
    column = _column(text, count, lambda piece: _UIDLS.fullmatch(piece) is not None)
    distinct: set[bytes] = set()
    for values in in_pieces(column.values() if column is not None else []):
        distinct.update(values)
    return column if len(distinct) == count else None


def _names(text: bytes, count: int) -> Column | None:
    """The names in the text; None unless each is directly in new/ or cur/: a forged index must not open files elsewhere."""
    return _column(text, count, _are_names)


def _are_names(text: bytes) -> bool:
    inside = (b"\0" + text).count(b"\0new/") + (b"\0" + text).count(b"\0cur/")
    return text.count(b"\0") + 1 == inside == text.count(b"/") and b"/." not in text


def _column(text: bytes, count: int, allowed: Callable[[bytes], bool]) -> Column | None:
    """The `count` values in the text; None when it has another number of them, or some that are not `allowed`."""
    if not count:
        return None if text else Column([], 0)
    if text.count(b"\0") != count - 1 or not all(map(allowed, texts(text))):
        return None
    return Column(text if count <= BLOCK else split(text), count)


def _digest(data: bytes | memoryview) -> bytes:
    return blake2b(data, digest_size=_DIGEST).digest()
