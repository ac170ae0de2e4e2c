"""Claims on unique-ids: serves one of several on the same, and gives the others an id of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from enum import IntEnum, auto
from hashlib import sha256
from typing import Final, NamedTuple

from mailserver.store.maildir import filenames as names
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.pieces import one_by_one
from mailserver.store.maildir.twins import Found, mtime
from mailserver.store.maildir.uidls import Entry

_NO_RANK: Final = 2**63


class Strength(IntEnum):
    """Which claims on a unique-id go before others."""

    SEEN = auto()
    """The last index has the message with it, by its inode."""
    KNOWN = auto()
    """The map has its name."""
    LISTED = auto()
    NAMED = auto()
    """By what its name says, its unique part or its field."""


class Claim(NamedTuple):
    """A message, and the unique-id that it claims. Claims sort by who is served first."""

    strength: Strength
    order: int
    """The message's rank, or, where several names claim one id, the file's mtime: the older one was there first."""
    by_field: bool
    """The unique part goes before a field, which anybody who can name a file chooses."""
    stem: bytes
    path: bytes
    message: Found
    """With the unique-id and the rank that it claims."""


def claim_of(strength: Strength, message: Found, *, by_field: bool = False) -> Claim:
    """The claim of a message on the id that it has here."""
    path = message.path
    return Claim(strength, message.rank or _NO_RANK, by_field, names.base(path[PREFIX:]), path, message)


def listed_as(strength: Strength, message: Found, entry: Entry | None) -> Claim | None:
    """The claim of a message on the id that a list has for it; None: the list has none."""
    if entry is None:
        return None
    return claim_of(strength, message._replace(uidl=entry.uidl, rank=entry.rank))


def is_own(claim: Claim) -> bool:
    """Whether the message claims its unique part."""
    return claim.strength == Strength.NAMED and not claim.by_field


def decide(
    root: bytes, claims: Sequence[Claim], taken: set[bytes], reserved: AbstractSet[bytes]
) -> tuple[list[Found], set[bytes]]:
    """The messages with an id each, and the ids over which there was a contest.

    `taken` are the ids of other messages, and gets these; the `reserved` ones are of messages that are gone, and go only to
    those who claim them by a list or a field.
    """
    decided, losers, contested = [], [], set[bytes]()
    for claim in sorted(_by_age(root, claims), key=lambda claim: claim[:-1]):
        uidl = claim.message.uidl
        if uidl in taken or (is_own(claim) and uidl in reserved):
            contested.add(uidl)
            losers.append(claim)
        else:
            taken.add(uidl)
            decided.append(claim.message)
    for claim in losers:
        uidl = _another(claim, taken, reserved)
        taken.add(uidl)
        contested.add(uidl)
        decided.append(claim.message._replace(uidl=uidl))
    return decided, contested


def _by_age(root: bytes, claims: Sequence[Claim]) -> list[Claim]:
    """The claims, with the ages of files whose names claim one id."""
    wanted = Counter(claim.message.uidl for claim in one_by_one(claims))
    return [
        claim._replace(order=mtime(root + claim.path))
        if claim.strength == Strength.NAMED and wanted[claim.message.uidl] > 1
        else claim
        for claim in one_by_one(claims)
    ]


def _another(claim: Claim, taken: AbstractSet[bytes], reserved: AbstractSet[bytes]) -> bytes:
    """A unique-id that no message has, had or is promised: the unique part, or a hash of the base."""
    own = names.unique_id(names.unique_part(claim.stem))
    uidl = own if own not in taken and own not in reserved else names.unique_id_of_base(claim.stem)
    while uidl in taken or uidl in reserved:
        uidl = names.unique_id_of_contents(claim.stem, sha256(uidl).digest())
    return uidl
