"""Cyrus' ``cyrus.index``: the UIDs of a mailbox's messages, their times and flags.

It has a header and records of one size, of numbers in network order. Nineteen years of Cyrus have left fourteen versions of it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple
from zlib import crc32

_START: Final = struct.Struct(">8xIIII")
"""Version, octets of the header and of a record, number of records: at the same place in all versions."""

_SEEN: Final = 1 << 4
_ARCHIVED: Final = 1 << 29
_GONE: Final = 1 << 30 | 1 << 31
"""Unlinked, or expunged: the record stays for clients that synchronise."""
_DELETED: Final = 1 << 2

_NEW_UIDL: Final = 1
"""An option of a mailbox, which is not set in those that are older than unique-ids with a UIDVALIDITY."""

_OF_OWNER: Final = 12
"""Since this version, the index has whether the owner has seen a message, and records of expunged messages; and checksums."""

_RECORD: Final = struct.Struct(">II4xI16xI")
_RECORD_20: Final = struct.Struct(">I4xQ8xQ4xI")
"""UID, time, size, flags."""
_NANOSECONDS: Final = 1_000_000_000


class _Layout(NamedTuple):
    header: int
    record: int
    validity: int = 44
    options: int = 60
    shown_after: int = 0
    """0: there is none."""


def _layouts() -> dict[int, _Layout]:
    found = {6: _Layout(76, 60), 7: _Layout(76, 72), 8: _Layout(92, 80), 9: _Layout(96, 80), 10: _Layout(96, 88)}
    found |= {12: _Layout(128, 96), 13: _Layout(128, 104, shown_after=112)}
    found |= dict.fromkeys((14, 15), _Layout(160, 104, shown_after=112))
    found |= dict.fromkeys((16, 17, 18), _Layout(160, 112, shown_after=112))
    return found | {19: _Layout(160, 112, 44, 64, 112), 20: _Layout(192, 144, 92, 64, 112)}


_LAYOUTS: Final = _layouts()
_NANO: Final = 20
"""Since this version, times are of 64 bits, in nanoseconds."""


class Record(NamedTuple):
    """A message."""

    uid: int
    received: float
    octets: int
    seen: bool
    deleted: bool
    """Whether it is marked to be expunged."""
    archived: bool
    """Whether its file is in the archive's partition."""


class Index(NamedTuple):
    """A mailbox."""

    version: int
    validity: int
    new_uidls: bool
    """Whether unique-ids may have the UIDVALIDITY in them."""
    records: list[Record]
    """Of the messages that POP3 shows, in their order."""
    hidden: int
    """How many messages POP3 does not show, because they came before the annotation pop3showafter says."""

    @property
    def knows_seen(self) -> bool:
        """Whether the records tell what the owner has seen."""
        return self.version >= _OF_OWNER


def read_index(data: bytes) -> Index:
    """Errors: ValueError, whose text says what is wrong with the file."""
    if len(data) < _START.size:
        raise ValueError("it is cut off within its header")
    version, header, size, count = _START.unpack_from(data)
    layout = _LAYOUTS.get(version)
    if layout is None:
        raise ValueError(f"its version is {version}, and known are {min(_LAYOUTS)} to {max(_LAYOUTS)}")
    if header != layout.header or size not in _sizes(version) or len(data) < header + size * count:
        raise ValueError("it is cut off, or its header has wrong numbers")
    if version >= _OF_OWNER:
        _check(data[:header], "its header")
    shown_after = _time(data, layout.shown_after, version) if layout.shown_after else 0.0
    records = list(_records(data, version, range(header, header + size * count, size), size))
    options = _number(data, layout.options)
    shown = [each for each in records if not shown_after or each.received > shown_after]
    validity = _number(data, layout.validity)
    return Index(version, validity, bool(options & _NEW_UIDL), shown, len(records) - len(shown))


def _sizes(version: int) -> set[int]:
    """Some of version 19 have the records of 20."""
    return {_LAYOUTS[version].record, *([_LAYOUTS[20].record] if version == 19 else [])}  # noqa: PLR2004 - these two alone


def _records(data: bytes, version: int, places: range, size: int) -> Iterator[Record]:
    wide = size == _LAYOUTS[_NANO].record
    previous = 0
    for number, at in enumerate(places, 1):
        if version >= _OF_OWNER:
            _check(data[at : at + size], f"its record {number}")
        uid, received, octets, flags = (_RECORD_20 if wide else _RECORD).unpack_from(data, at)
        if uid <= previous:
            raise ValueError(f"its record {number} has a UID that does not rise")
        previous = uid
        if version >= _OF_OWNER and flags & _GONE:
            continue
        time = received / _NANOSECONDS if wide else float(received)
        seen = version >= _OF_OWNER and bool(flags & _SEEN)
        yield Record(uid, time, octets, seen, bool(flags & _DELETED), bool(flags & _ARCHIVED))


def _check(part: bytes, name: str) -> None:
    if crc32(part[:-4]) != _number(part, len(part) - 4):
        raise ValueError(f"{name} has a wrong checksum")


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _time(data: bytes, at: int, version: int) -> float:
    return int.from_bytes(data[at : at + 8], "big") / _NANOSECONDS if version >= _NANO else float(_number(data, at))
