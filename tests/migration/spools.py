"""Mail laid out in files as other servers lay it out."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final
from zlib import crc32

from mailserver.migration.places import Login, open_source, read_place
from mailserver.migration.source import Source
from tests.corpus import SMALL

ALICE: Final = Login("alice@example.org")
FROM: Final = b"From bob@example.org Wed Dec  2 05:53:22 1992 +0000\n"
ARRIVED: Final = 723275602.0

UNLIKE: Final = {"ends-with-cr", "lone-cr"}
"""What no mbox can hold, since a line end is added: a CR at a message's end becomes half of it."""

MBOXABLE: Final = {name: message for name, message in SMALL.items() if name not in UNLIKE}


class Names:
    """A Maildir of a server without lists, whose names are the unique-ids."""

    def entries(self, root: bytes) -> None:
        """There are none."""

    def unlisted(self, name: bytes) -> bytes:
        """The name up to its first comma or colon."""
        return name.partition(b":")[0].partition(b",")[0]


def opened(place: str, login: Login = ALICE, former: object = None) -> Source:
    """The source of a place."""
    return open_source(read_place(place), login, lambda _: former or Names())


def contents(source: Source) -> list[bytes]:
    """All messages."""
    return [b"".join(source.read(each)) for each in source.messages()]


def ended(message: bytes) -> bytes:
    """With an end of its last line."""
    return message if message.endswith(b"\n") or not message else message + b"\n"


def mbox(messages: Iterable[bytes], line: bytes = FROM) -> bytes:
    """As delivery agents write it, but that no line is quoted."""
    return b"".join(line + ended(message) + b"\n" for message in messages)


def mmdf(messages: Iterable[bytes]) -> bytes:
    """As MMDF's delivery agent writes it."""
    return b"".join(b"\1\1\1\1\n" + ended(message) + b"\1\1\1\1\n" for message in messages)


HEADERS: Final = {6: 76, 7: 76, 8: 92, 9: 96, 10: 96, 12: 128, 13: 128} | dict.fromkeys(range(14, 20), 160) | {20: 192}
RECORDS: Final = {6: 60, 7: 72, 8: 80, 9: 80, 10: 88, 12: 96, 13: 104, 14: 104, 15: 104} | (
    dict.fromkeys(range(16, 20), 112) | {20: 144}
)

SEEN: Final = 1 << 4
DELETED: Final = 1 << 2
ARCHIVED: Final = 1 << 29
UNLINKED: Final = 1 << 30
EXPUNGED: Final = 1 << 31


VALIDITY: Final = 1_100_000_000


def cyrus_index(
    version: int,
    records: Sequence[tuple[int, int, int]],
    *,
    options: int = 1,
    shown_after: int = 0,
    size: int = 0,
) -> bytes:
    """A cyrus.index of records with UID, time and flags."""
    size = size or RECORDS[version]
    header = bytearray(HEADERS[version])
    struct.pack_into(">IIIIII", header, 0, 1, 0, version, HEADERS[version], size, len(records))
    struct.pack_into(">I", header, 92 if version == 20 else 44, VALIDITY)
    struct.pack_into(">I", header, 64 if version >= 19 else 60, options)
    alive = sum(not flags & (UNLINKED | EXPUNGED) for _, _, flags in records)
    if version >= 12:
        struct.pack_into(">I", header, 60 if version >= 19 else 84, alive)
    if version >= 13:
        packed = (">Q", shown_after * 10**9) if version == 20 else (">I", shown_after)
        struct.pack_into(packed[0], header, 112, packed[1])
    return _summed(header, version) + b"".join(_record(version, size, *each) for each in records)


def _record(version: int, size: int, uid: int, time: int, flags: int) -> bytes:
    record = bytearray(size)
    struct.pack_into(">I", record, 0, uid)
    if size == 144:
        struct.pack_into(">Q", record, 8, time * 10**9)
        struct.pack_into(">QII", record, 24, 1000 + uid, 10, flags)
    else:
        struct.pack_into(">III", record, 4, time, time, 1000 + uid)
        struct.pack_into(">I", record, 32, flags)
    return _summed(record, version)


def _summed(part: bytearray, version: int) -> bytes:
    if version >= 12:
        struct.pack_into(">I", part, len(part) - 4, crc32(part[:-4]))
    return bytes(part)


def cyrus_header(name: str) -> bytes:
    """A cyrus.header as Cyrus 3.6 writes it."""
    text = f"%(A %(alice lrswipkxtecda) I 0a1b2c3d N {name} T e U ())\n"
    return (
        b"\xa1\x02\x8b\rCyrus mailbox header\n"
        b'"The best thing about this system was that it had lots of goals."\n\t--Jim Morris on Andrew\n'
    ) + text.encode("latin-1")


def cyrus_mailbox(directory: Path, index: bytes, messages: dict[int, bytes], name: str = "user.alice") -> Path:
    """A directory of the spool."""
    directory.mkdir(parents=True)
    (directory / "cyrus.header").write_bytes(cyrus_header(name))
    (directory / "cyrus.index").write_bytes(index)
    for uid, message in messages.items():
        (directory / f"{uid}.").write_bytes(message)
    return directory
