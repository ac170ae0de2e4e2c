"""What this server's next login would show of a Maildir, by reading alone: for comparisons, and for moving it elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from mailserver.errors import StoreError
from mailserver.store.maildir import filenames as names
from mailserver.store.maildir import index, journal
from mailserver.store.maildir.files import read_whole
from mailserver.store.maildir.former import Entry, Former
from mailserver.store.maildir.listing import PREFIX
from mailserver.store.maildir.naming import Naming
from mailserver.store.maildir.rows import Rows
from mailserver.store.maildir.same import Target, candidates, is_proven
from mailserver.store.maildir.scan import scan


class Ours:
    """Reads as a `Former` does; a server that was there before is asked as the login would ask it.

    It takes no lock: a message that moves meanwhile, or one that is delivered, may be missed. What a crash has left of a session's
    deletions is not there any more, although its files are: the login removes them first.
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
        leaving = journal.promised(root, time.time_ns)  # read first: a session that keeps it now takes it away at last
        return _without(root, leaving, scan(root, known, time.time_ns, naming).rows)


def _without(root: bytes, targets: Sequence[Target], rows: Rows) -> Rows:
    """The rows that stay when the next login has removed the targets, which a crash has left."""
    files = dict(zip(rows.names, rows.inodes, strict=True)) if targets else {}
    named = candidates(files, targets)
    gone = {path for target in targets for path in named[target.unique] if _is_gone(root, target, path, files)}
    return rows.merged([at for at, name in enumerate(rows.names) if name in gone], Rows()) if gone else rows


def _is_gone(root: bytes, target: Target, path: bytes, files: Mapping[bytes, int]) -> bool:
    try:
        return is_proven(root, target, path, files, time.time_ns)
    except FileNotFoundError:  # removed meanwhile, or renamed: whoever looks may miss it
        return True


def _read(path: bytes) -> bytes:
    try:
        return read_whole(path)
    except FileNotFoundError:
        return b""
