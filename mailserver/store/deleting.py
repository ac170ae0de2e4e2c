"""What becomes of the messages that a session deletes: the words of the setting `delivery.delete`."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

TRASH_DAYS: Final = 30
"""The days in the trash where the setting names none: as long as most sites of webmail give their users."""

MOST_DAYS: Final = 3650
"""Ten years; more would be an archive, which belongs elsewhere."""

_WORDS: Final = re.compile(r"(keep|trash) +([0-9]{1,5}) +days?")

_FORMS: Final = '"expunge", "trash", "trash N days" or "keep N days"'


class Deleting(NamedTuple):
    """What QUIT does with the messages that are marked as deleted."""

    act: Literal["expunge", "trash", "keep"]
    days: int = 0
    """How long they stay there, at least."""


EXPUNGE: Final = Deleting("expunge")


def read_deleting(text: str) -> Deleting:
    """The meaning of the setting. Errors: ValueError, for the operator."""
    if text == "expunge":
        return EXPUNGE
    if text == "trash":
        return Deleting("trash", TRASH_DAYS)
    found = _WORDS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not {_FORMS}")
    days = int(found[2])
    if not 1 <= days <= MOST_DAYS:
        raise ValueError(f"{text!r} must have 1 to {MOST_DAYS} days")
    return Deleting("keep" if found[1] == "keep" else "trash", days)
