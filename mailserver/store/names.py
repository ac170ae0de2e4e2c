"""File names in a Maildir: what they say of a message, and the unique-ids that come of them.

``1700000000.M123456P42.host,S=2048,W=2090:2,FS``: the unique part up to the first comma or colon, sizes that the delivery
agent measured (Maildir++), and after the colon the info with the flags, which other programs change at will. The name
without its info is the base.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

_UNIQUE = re.compile(rb"[^:,]*")
_PLAIN = re.compile(rb"[\x21-\x7e]{1,70}")
_TIME = re.compile(rb"(\d{1,11})(?!\d)(?:\.(?:[A-Z][0-9a-f]*)*?[MH](\d{1,6})(?![0-9A-Fa-f]))?")
"""Seconds, and microseconds as M (Dovecot, Courier, Postfix after its V and I fields) or H (Exim) gives them.

A capital always begins a field, hexadecimal or not: were there two readings of it, a name of n capitals had 2**n.
"""
_SIZES = re.compile(rb",([SW])=(\d{1,15})(?=[,:]|$)")

_MICROSECONDS = 1_000_000


def unique_part(name: bytes) -> bytes:
    """What stays the same whatever becomes of the message."""
    return _UNIQUE.match(name)[0]  # type: ignore[index]  # the pattern matches everywhere


def base(name: bytes) -> bytes:
    """The name without its info."""
    return name.partition(b":")[0]


def arrival(name: bytes) -> int | None:
    """When the message came, in microseconds of the epoch; None when the name does not tell."""
    time = _TIME.match(name)
    return None if time is None else int(time[1]) * _MICROSECONDS + int(time[2] or 0)


def sizes(name: bytes) -> tuple[int | None, int | None]:
    """Size of the file and octets on the wire, as far as the name tells them."""
    found = dict(_SIZES.findall(base(name)))
    return (int(found[b"S"]) if b"S" in found else None), (int(found[b"W"]) if b"W" in found else None)


def seen(name: bytes) -> bytes | None:
    """The name with the S flag set; None when it is set already, or the info is of a kind that has no flags."""
    stem, colon, info = name.partition(b":")
    if colon and not info.startswith(b"2,"):
        return None
    flags = info[2:]
    if b"S" in flags:
        return None
    return b"%b:2,%b" % (stem, bytes(sorted(flags + b"S")))


def unique_ids(bases: Iterable[bytes]) -> dict[bytes, bytes]:
    """The unique-id of every base of one maildrop; different for different bases.

    A hash begins with a comma, which no unique part contains, and that of a base is taken with its colon, as `key` has it:
    so that no two kinds ever meet.
    """
    bases = list(bases)
    uniques = [unique_part(name) for name in bases]
    if len(set(uniques)) == len(bases):
        return {name: _octets_of(unique) for name, unique in zip(bases, uniques, strict=True)}
    taken: set[bytes] = set()
    shared = {unique for unique in uniques if unique in taken or taken.add(unique)}  # type: ignore[func-returns-value]
    return {
        name: _hashed(name + b":") if unique in shared else _octets_of(unique)
        for name, unique in zip(bases, uniques, strict=True)
    }


def key(name: bytes, uidl: bytes) -> bytes:
    """What finds the message again: its unique part, or its base and a colon when others share the unique part."""
    unique = unique_part(name)
    return unique if _octets_of(unique) == uidl else base(name) + b":"


def keys(name: bytes) -> tuple[bytes, bytes]:
    """The two keys that `name` answers to."""
    return unique_part(name), base(name) + b":"


def _octets_of(unique: bytes) -> bytes:
    return unique if _PLAIN.fullmatch(unique) else _hashed(unique)


def _hashed(name: bytes) -> bytes:
    return b"," + sha256(name).hexdigest().encode("ascii")
