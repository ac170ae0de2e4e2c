"""What this server's next login would show of a Maildir, by reading alone: for comparisons, and for moving it elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mailserver.errors import StoreError
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import index
from mailserver.store.maildir.files import read_whole
from mailserver.store.maildir.former import Entry, Former
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.rows import Rows
from mailserver.store.maildir.scan import scan


class Ours:
    """Reads as a `Former` does; a server that was there before is asked as the login would ask it.

    It takes no lock: a message that moves meanwhile, or one that is delivered, may be missed.
    """

    def __init__(self, former: Former | None = None) -> None:
        self._former = former

    def entries(self, root: bytes) -> Sequence[Entry]:
        """All messages, in their order. Errors: OSError; ValueError where a login would be refused."""
        try:
            rows = self.rows(root)
        except StoreError as error:
            raise ValueError(str(error)) from error
        return [Entry(name[PREFIX:], uidl) for name, uidl in zip(rows.names, rows.uidls, strict=True)]

    def unlisted(self, name: bytes) -> bytes:
        """The unique-id of a message that was delivered meanwhile."""
        return names.own_id(name)

    def rows(self, root: bytes, data: bytes | None = None) -> Rows:
        """The rows of all messages, in their order. Errors: OSError; StoreError where a login would be refused.

        `data` is what a login would make of the index; without it, an index that this process cannot read is an error.
        """
        data = _read(root + index.NAME) if data is None else data
        last = index.decode(data)
        known, basis = (index.decode_rows(data), index.NOTHING) if last is None else (last.rows, last.basis)
        naming = Naming(root, basis, self._former, extends=False)
        return scan(root, known, time.time_ns, naming).rows


def _read(path: bytes) -> bytes:
    try:
        return read_whole(path)
    except FileNotFoundError:
        return b""
