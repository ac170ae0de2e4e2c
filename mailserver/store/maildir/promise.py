"""The contents of the journal: the files that are to be removed. docs/maildir.md has the format."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256

from mailserver.store.maildir.files import shown
from mailserver.store.maildir.listing import PREFIX, Listing
from mailserver.store.maildir.places import NOWHERE, is_place
from mailserver.store.maildir.same import Target

MAGIC = b"mailserver-journal "
"""The first octets of every promise; a version follows."""

_VERSION, _TO_A_PLACE, _NAMES_ALONE = b"3", b"4", b"1"
"""Version 4 has the place where the files are kept before their rows; older programs must not remove them for good."""
_TARGET = re.compile(rb"(\d{1,20}) (\d{1,20}) (\d{1,20}) ((?:new|cur)/[^/.][^/]*)")


_EVER = 2**62
"""A time after every file's: a name that means a single file counts, whatever the file's times and size."""


class Kind(enum.Enum):
    """How usable a journal is."""

    OURS = enum.auto()
    CORRUPT = enum.auto()
    """It is damaged, or not a journal."""
    FOREIGN = enum.auto()
    """It is of another version: by its number, or because it is complete but cannot be parsed."""


def encode(targets: Iterable[Target], place: bytes = NOWHERE) -> bytes:
    """The journal's contents for these targets, which are kept at the place."""
    rows = [b"%d %d %d %b" % (each.inode, each.size, each.since, each.path) for each in targets]
    body = b"\0".join([place, *rows] if place else rows)
    version = _TO_A_PLACE if place else _VERSION
    return b"\0".join([MAGIC + version, sha256(body).hexdigest().encode("ascii"), body])


def kind(data: bytes) -> Kind:
    """The kind of a journal with these contents."""
    version, digest, body = _split(data)
    if not version:
        return Kind.CORRUPT
    if version not in {_VERSION, _TO_A_PLACE, _NAMES_ALONE}:
        return Kind.FOREIGN
    if digest != sha256(body).hexdigest().encode("ascii") or (version == _NAMES_ALONE and b"/" in body):
        return Kind.CORRUPT  # a name has no slash: these are the paths of our version, whose number was damaged
    return Kind.OURS if version == _NAMES_ALONE or _parsed(version, body) is not None else Kind.FOREIGN


def decode(data: bytes) -> list[Target] | None:
    """The targets in a journal of `Kind.OURS`; None when it has only names (version 1)."""
    version, _, body = _split(data)
    return None if version == _NAMES_ALONE else _parsed(version, body)


def place(data: bytes) -> bytes:
    """The place where a journal of `Kind.OURS` keeps its targets."""
    version, _, body = _split(data)
    return body.partition(b"\0")[0] if version == _TO_A_PLACE else NOWHERE


def decode_names(root: bytes, data: bytes, listing: Listing) -> tuple[list[Target], list[str]]:
    """The targets in a journal of version 1 whose names mean one file each, and notes for the operator.

    A name was a unique part, up to the first colon or comma; or, with a colon at its end, what precedes the first colon.
    """
    wanted: dict[bytes, list[bytes]] = {key: [] for key in _split(data)[2].split(b"\0")}
    for path in listing.files:
        stem = path[PREFIX:].partition(b":")[0]
        for key in (stem.partition(b",")[0], stem + b":"):
            if key in wanted:
                wanted[key].append(path)
    targets: list[Target] = []
    notes = []
    for paths in wanted.values():
        if len(paths) == 1 or _one_inode(paths, listing):
            targets.append(Target(paths[-1], listing.files[paths[-1]], 0, _EVER))
        elif paths:
            notes.append(
                f"{len(paths)} files could be {shown(root + paths[0])}, which was to be deleted, so none of them was"
            )
    return targets, notes


def _split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """The version (b"": it is not a journal), the digest and the body."""
    magic, _, rest = data.partition(b"\0")
    digest, _, body = rest.partition(b"\0")
    found = re.fullmatch(re.escape(MAGIC) + rb"(\d{1,9})", magic)
    return (b"" if found is None else found[1]), digest, body


def _parsed(version: bytes, body: bytes) -> list[Target] | None:
    rows = body.split(b"\0")
    if version == _TO_A_PLACE and not (rows[0] and is_place(rows.pop(0))):
        return None
    targets = []
    for row in rows:
        found = _TARGET.fullmatch(row)
        if found is None:
            return None
        inode, size, since = map(int, found.groups()[:3])
        targets.append(Target(found[4], inode, size, since))
    return targets


def _one_inode(paths: Sequence[bytes], listing: Listing) -> bool:
    inodes = {listing.files[path] for path in paths}
    return len(inodes) == 1 and inodes != {0}
