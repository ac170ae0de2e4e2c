"""File names in a Maildir: the facts about a message that they contain, and the unique-ids derived from them.

``1700000000.M123456P42.host,S=2048,W=2090:2,FS`` has the unique part, sizes that the delivery agent measured (Maildir++), and
the info with the flags, which other programs change at any time. A message that came with a unique-id of another server has it
in a field ``,U=``. Only ``:2,`` and ``:1,`` begin an info; any other colon
belongs to the name, as in ``2024-01-01T10:00:00.eml``. Systems without colons in names write ``;`` or ``!``. The base is the
name without its info; the unique part is the base up to the first comma.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

from mailserver.snapshot import MICROSECONDS, NO_UIDL, UIDL

_INFO = re.compile(rb"[:;!][12],")
_UNIQUE = re.compile(rb"[^,:;!]*(?:[:;!](?![12],)[^,:;!]*)*")
_TIME = re.compile(rb"(\d{1,11})(?!\d)(?:\.(?:[A-Z][0-9a-f]*)*?[MH](\d{1,6})(?![0-9A-Fa-f]))?")
"""Seconds, and microseconds as M (Dovecot, Courier, Postfix after its V and I fields) or H (Exim) gives them.

A capital always begins a field, even if it is a hexadecimal digit: with two readings, a name of n capitals would have 2**n.
"""
_SIZES = re.compile(rb",([SW])=(\d{1,15})(?=[,:]|$)")
_GIVEN = re.compile(rb",U=([0-9A-Za-z_-]{2,94})(?=,|$)")
"""A unique-id in base64url without padding, since it may have a slash or a colon: 70 octets are 94 digits."""

HASH = ord(",")
"""The first octet of a unique-id that is a hash; no unique part contains it."""


def unique_part(name: bytes) -> bytes:
    """The part of the name that never changes."""
    return _UNIQUE.match(name)[0]  # type: ignore[index]  # the pattern matches everywhere


def base(name: bytes) -> bytes:
    """The name without its info."""
    info = _INFO.search(name)
    return name if info is None else name[: info.start()]


def arrival(name: bytes) -> int | None:
    """The time of the delivery, in microseconds of the epoch; None when the name does not contain it."""
    time = _TIME.match(name)
    return None if time is None else int(time[1]) * MICROSECONDS + int(time[2] or 0)


def sizes(name: bytes) -> tuple[int | None, int | None]:
    """The file's size and the octets on the wire; None for what the name does not contain."""
    if b"=" not in name:
        return None, None
    found = dict(_SIZES.findall(base(name)))
    return (int(found[b"S"]) if b"S" in found else None), (int(found[b"W"]) if b"W" in found else None)


def without_sizes(name: bytes) -> bytes:
    """The name without the sizes that it contains."""
    stem = base(name)
    return _SIZES.sub(b"", stem) + name[len(stem) :]


def flags(name: bytes) -> str:
    """The flags in the name's info, as letters; "" where it has none."""
    info = _INFO.search(name)
    return "" if info is None else name[info.end() :].decode("ascii", "replace")


def seen(name: bytes) -> bytes | None:
    """The name with the S flag added; None when it has the flag already, or an info without flags."""
    info = _INFO.search(name)
    if info is None:
        return name + b":2,S"
    flags = name[info.end() :]
    if info[0][1:] != b"2," or b"S" in flags:
        return None
    return name[: info.end()] + bytes(sorted(flags + b"S"))


def alive(name: bytes) -> bytes:
    """The name without the flag T, by which IMAP servers mark what their clients have deleted."""
    info = _INFO.search(name)
    return name if info is None or info[0][1:] != b"2," else name[: info.end()] + name[info.end() :].replace(b"T", b"")


def is_seen(name: bytes) -> bool:
    """Whether the name has the S flag."""
    info = _INFO.search(name)
    return info is not None and info[0][1:] == b"2," and b"S" in name[info.end() :]


def field_for(uidl: bytes) -> bytes:
    """The field of a name that gives its message this unique-id. Errors: ValueError, if POP3 does not allow it as one."""
    if not UIDL.fullmatch(uidl):
        raise ValueError(NO_UIDL)
    return b",U=" + urlsafe_b64encode(uidl).rstrip(b"=")


def given(name: bytes) -> bytes | None:
    """The unique-id that the name's field gives; None when it has none, or several, or one that `field_for` would not make."""
    if b",U=" not in name:
        return None
    stem = base(name)
    fields = _GIVEN.findall(stem)
    if len(fields) != 1 or stem.count(b",U=") != 1:
        return None
    uidl = urlsafe_b64decode(fields[0] + b"=" * (-len(fields[0]) % 4)) if len(fields[0]) % 4 != 1 else b""
    return uidl if UIDL.fullmatch(uidl) and field_for(uidl)[3:] == fields[0] else None


def own_id(name: bytes) -> bytes:
    """The unique-id that the name alone gives: that of its field, or else that of its unique part."""
    return given(name) or unique_id(unique_part(name))


def unique_id(unique: bytes) -> bytes:
    """The unique-id for a unique part: the part itself, or a hash where POP3 does not allow it as a unique-id.

    A hash begins with a comma, which no unique part contains, so the two kinds never collide.
    """
    return unique if UIDL.fullmatch(unique) else _hashed(unique)


def is_hash(uidl: bytes) -> bool:
    """Whether a unique-id is a hash, and no unique part."""
    return uidl[0] == HASH


def unique_id_of_base(stem: bytes) -> bytes:
    """The unique-id of a message whose unique part another message has already: a hash of its base."""
    return _hashed(stem + b":")


def unique_id_of_contents(stem: bytes, digest: bytes) -> bytes:
    """The unique-id of a message whose base another message has, too: it includes the contents.

    No file name has a NUL, so it collides with no hash of a name.
    """
    return _hashed(stem + b"\0" + digest)


def _hashed(name: bytes) -> bytes:
    return b"," + sha256(name).hexdigest().encode("ascii")
