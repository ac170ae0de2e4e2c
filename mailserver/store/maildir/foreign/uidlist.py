"""Dovecot's list of a Maildir, `dovecot-uidlist`, versions 1 and 3, and Courier's `courierimapuiddb`, which is like version 1.

Version 1 has the line ``1 UIDVALIDITY NEXTUID``, and ``UID NAME`` for each message. Version 3 has ``3 V... N... G...`` and
``UID W... P... :NAME``: the values of a message begin with a capital, such as W for its size, P for its unique-id of POP3, O for
its place in POP3's order, and G for its GUID. Names are without the info.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from mailserver.store.maildir.files import opened as opened_file
from mailserver.store.maildir.files import rename, sync, sync_directory, write_new
from mailserver.store.maildir.foreign.lists import lines, stem, torn, unreadable
from mailserver.store.maildir.pieces import one_by_one

NAME: Final = b"dovecot-uidlist"
COURIER_IMAP: Final = b"courierimapuiddb"

_UIDS: Final = 2**32 - 1
"""UIDs are below this: Dovecot's mark of a message without one."""

_APPENDED: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Record(NamedTuple):
    """A message."""

    uid: int
    name: bytes
    """Without its info."""
    fields: bytes = b""
    """Its values, separated by spaces."""

    def field(self, key: bytes) -> bytes | None:
        """The value of a key; None: it has none, b"": it is empty."""
        if self.fields:
            for field in self.fields.split(b" "):
                if field[:1] == key:
                    return field[1:]
        return None

    def with_field(self, key: bytes, value: bytes | None) -> Record:
        """The record with this value, or with None without one."""
        fields = [field for field in self.fields.split(b" ") if field and field[:1] != key]
        if value is not None:
            fields.append(key + value)
        return self._replace(fields=b" ".join(fields))


class Uidlist(NamedTuple):
    """The whole list."""

    version: int
    validity: int
    next_uid: int
    header: bytes
    """What else its first line has, as the GUID of the mailbox."""
    records: Sequence[Record]
    """By their UIDs. Of several with one name the last is left, as Dovecot has it."""


def read(path: bytes) -> Uidlist:
    """Read a list. Errors: FileNotFoundError; OSError; ValueError, also where Dovecot would throw the list away."""
    each = iter(lines(path))
    version, validity, next_uid, header = _header(path, next(each, b""))
    records: dict[bytes, Record] = {}
    last = 0
    for number, line in enumerate(one_by_one(each), 2):
        record = _record(line, version)
        if record is None:
            raise unreadable(path, f"line {number} cannot be understood")
        if not last < record.uid < _UIDS:
            raise unreadable(path, f"line {number} has the UID {record.uid} after {last}")
        last = record.uid
        records.pop(record.name, None)
        records[record.name] = record
    return Uidlist(version, validity, max(next_uid, last + 1), header, list(records.values()))


def write(root: bytes, found: Uidlist) -> None:
    """Replace the list, durably. Under Dovecot's lock. Errors: OSError."""
    head = b"3 V%d N%d %b\n" % (found.validity, found.next_uid, found.header)
    temporary = root + NAME + b".tmp"  # its name at Dovecot, too, which overwrites one that is left
    write_new(temporary, head + _text(found.records), durable=True)
    rename(temporary, root + NAME)
    sync_directory(root)


def append(root: bytes, found: Uidlist, records: Iterable[Record]) -> None:
    """Add records with the next UIDs, durably. Under Dovecot's lock. Errors: OSError; ValueError."""
    path = root + NAME
    if found.version != 3 or torn(path):  # noqa: PLR2004 - Dovecot writes a new list there as well
        added = list(records)
        write(
            root,
            found._replace(next_uid=added[-1].uid + 1, records=[*found.records, *added], header=found.header or guid()),
        )
        return
    with opened_file(path, _APPENDED) as descriptor:
        data = _text(records)
        if os.write(descriptor, data) != len(data):
            # The next one sees the torn line, and writes the list anew.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(path))
        sync(descriptor, path)


def guid() -> bytes:
    """The header's part for a mailbox that has no GUID yet."""
    return b"G" + os.urandom(16).hex().encode("ascii")


def _text(records: Iterable[Record]) -> bytes:
    return b"".join(b"%d%b%b :%b\n" % (uid, fields and b" ", fields, name) for uid, name, fields in records)


def _header(path: bytes, line: bytes) -> tuple[int, int, int, bytes]:
    version, _, rest = line.partition(b" ")
    if version not in {b"1", b"3"}:
        raise unreadable(path, "its first line is of no version that is known (1 and 3)")
    rests = []
    if version == b"1":
        validity, _, next_uid = rest.partition(b" ")
        next_uid = next_uid.split(b" ")[0]
    else:
        values = {field[:1]: field[1:] for field in rest.split(b" ")}
        validity, next_uid = values.get(b"V", b""), values.get(b"N", b"")
        rests = [field for field in rest.split(b" ") if field[:1] not in {b"V", b"N", b""}]
    numbers = _number(validity), _number(next_uid)
    if not all(numbers):
        raise unreadable(path, "its first line has no UIDVALIDITY, or no next UID")
    return int(version), *numbers, b" ".join(rests)


def _record(line: bytes, version: int) -> Record | None:
    uid, _, rest = line.partition(b" ")
    number, rest = _number(uid), rest.lstrip(b" ")
    fields = b""
    if version == 3 and rest[:1] == b":":  # noqa: PLR2004 - as below
        rest = rest[1:]
    elif version == 3:  # noqa: PLR2004 - the version's own number
        fields, _, rest = rest.partition(b" :")
    name = stem(rest)
    return None if not number or not name or b"/" in name else Record(number, name, fields.rstrip(b" "))


def _number(digits: bytes) -> int:
    """The number; 0 for what is none, or too large."""
    return int(digits) if digits.isdigit() and len(digits) <= len(str(_UIDS)) and int(digits) <= _UIDS else 0
