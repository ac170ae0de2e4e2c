"""The durable map of unique-ids: those that the names of their files do not give.

They come from the lists of a former server, or from names that claim one unique-id twice. The map is no cache: it is written
whole and is durable before a session sees what it says. docs/maildir.md has the format.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from hashlib import blake2b
from itertools import count
from typing import Final, NamedTuple

from mailserver.store.maildir.files import (
    Identity,
    identity,
    read_whole,
    rename,
    sync_directory,
    unlink_if_there,
    write_new,
)
from mailserver.store.maildir.pieces import one_by_one

NAME: Final = b"mailserver-uidls"

_TEMPORARY: Final = NAME + b".tmp"
_CORRUPT: Final = NAME + b".corrupt"
_MAGIC: Final = b"mailserver-uidls "
_VERSION: Final = b"1"
_HEAD: Final = re.compile(rb"mailserver-uidls ([0-9]{1,9})\0([0-9a-f]{64})\0")
_ROW: Final = re.compile(rb"([0-9]{1,18}) ([0-9]{1,9}) ([\x21-\x7e]{1,255}) ([^/\0]{0,255})", re.DOTALL)
_UIDL: Final = re.compile(rb"[\x21-\x7e]{1,255}")

_NAME: Final = 255
"""Octets of a file's name, by every file system."""

_SLASH: Final = ord("/")


class Damaged(Exception):
    """The map's octets are not those that were written."""


class Foreign(Exception):
    """A later version of this program has written the map."""


class Entry(NamedTuple):
    """A message and its unique-id."""

    name: bytes
    """The base of its file's name, as it was once; the unique part stays."""
    uidl: bytes
    rank: int
    """As `Row.rank`."""
    gone: int = 0
    """The day, since the epoch, on which the file was missed; 0: it was there. Its unique-id is given to no other message."""


def is_valid(entry: Entry) -> bool:
    """Whether the map can hold the entry: lists of other servers are not to be trusted."""
    return bool(_UIDL.fullmatch(entry.uidl)) and len(entry.name) <= _NAME and not {0, _SLASH} & {*entry.name}


class Uidls(NamedTuple):
    """The map's contents."""

    former: bytes
    """The `former.mark` of the server whose list was read; zeros: of none."""
    entries: list[Entry]


def there(root: bytes) -> Identity | None:
    """The identity of the map's file; None when there is none. Errors: OSError."""
    try:
        return identity(os.lstat(root + NAME))
    except FileNotFoundError:
        return None


def read(root: bytes) -> Uidls | None:
    """The map; None when there is none. Errors: Damaged, Foreign, OSError."""
    try:
        return decode(read_whole(root + NAME))
    except FileNotFoundError:
        return None


def write(root: bytes, uidls: Uidls) -> Identity:
    """Replace the map atomically and durably. Errors: OSError; then the old one is there, durably or not."""
    try:
        written = write_new(root + _TEMPORARY, encode(uidls), durable=True)
        rename(root + _TEMPORARY, root + NAME)
    except OSError:
        with suppress(OSError):  # half a map must not take up a full disk
            unlink_if_there(root + _TEMPORARY)
        raise
    sync_directory(root)
    return written


def set_aside(root: bytes) -> bytes:
    """Give a damaged map another name, under which nothing overwrites it; answers the name. Errors: OSError."""
    for number in count():
        name = _CORRUPT + (b".%d" % number if number else b"")
        if not os.path.lexists(root + name):
            rename(root + NAME, root + name)
            return name
    raise AssertionError  # count() does not end


def encode(uidls: Uidls) -> bytes:
    """The contents of the map's file."""
    rows = (b"%d %d %b %b" % (entry.rank, entry.gone, entry.uidl, entry.name) for entry in one_by_one(uidls.entries))
    body = b"\0".join([uidls.former.hex().encode("ascii"), *rows])
    return b"%b%b\0%b\0%b" % (_MAGIC, _VERSION, _digest(body), body)


def decode(data: bytes) -> Uidls:
    """The map in the file's contents. Errors: Damaged, Foreign."""
    head = _HEAD.match(data)
    if head is None or head[2] != _digest(memoryview(data)[head.end() :]):
        raise Damaged
    if head[1] != _VERSION:
        raise Foreign
    mark, *rows = data[head.end() :].split(b"\0")
    entries = list(_entries(rows))
    if len({entry.uidl for entry in one_by_one(entries)}) != len(rows) or not re.fullmatch(rb"[0-9a-f]{32}", mark):
        raise Damaged  # somebody has written it by hand
    return Uidls(bytes.fromhex(mark.decode("ascii")), entries)


def _entries(rows: Iterable[bytes]) -> Iterable[Entry]:
    for row in one_by_one(rows):
        found = _ROW.fullmatch(row)
        if found is None:
            raise Damaged
        yield Entry(found[4], found[3], int(found[1]), int(found[2]))


def _digest(body: bytes | memoryview) -> bytes:
    return blake2b(body, digest_size=32).hexdigest().encode("ascii")
