"""The readers of lists in Maildirs that mail comes from: another server's, or our own names."""

from __future__ import annotations

from collections.abc import Sequence

from mailserver.migration.places import Listed
from mailserver.store.maildir.filenames import given, unique_id, unique_part
from mailserver.store.maildir.foreign import read_former
from mailserver.store.maildir.former import Entry


class _Own:
    """This server, which needs no list for most messages: their names say what they are called."""

    def entries(self, _root: bytes) -> Sequence[Entry] | None:
        """There is none."""
        return None

    def unlisted(self, name: bytes) -> bytes | None:
        """As in our sessions, but for the second of two files of one name."""
        return given(name) or unique_id(unique_part(name))


def formers(text: str) -> Listed:
    """The reader that an option ``former=`` names; "": this server. Errors: ValueError, with a text for the operator."""
    return read_former(text) or _Own()
