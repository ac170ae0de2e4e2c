"""The readers of unique-ids in Maildirs that mail comes from: another server's lists, or what we show ourselves."""

from __future__ import annotations

from typing import Final

from mailserver.migration.places import Listed
from mailserver.store.maildir.foreign import read_former
from mailserver.store.maildir.ours import Ours

_OURS: Final = "ours:"


def formers(text: str) -> Listed:
    """The reader that an option ``former=`` names.

    "": this server, as its sessions left the Maildir; ``ours:dovecot`` and the like: this server, at the first login with
    that as `store.former`. Errors: ValueError, with a text for the operator.
    """
    if text.startswith(_OURS):
        return Ours(read_former(text.removeprefix(_OURS)))
    return read_former(text) or Ours()
