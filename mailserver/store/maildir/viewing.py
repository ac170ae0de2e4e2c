"""A maildrop for operators who only look: as the next session would see it, without its lock."""

from __future__ import annotations

import time
from dataclasses import replace

from zope.interface import implementer

from mailserver.store.maildir.files import is_there, shown
from mailserver.store.maildir.former import Former
from mailserver.store.maildir.index import UNTRUSTED, Index
from mailserver.store.maildir.maildrop import Context, Maildrop
from mailserver.store.maildir.opening import unavailable
from mailserver.store.maildir.ours import Ours
from mailserver.store.maildir.rows import Rows
from mailserver.upkeep import IFiled


@implementer(IFiled)
class View(Maildrop):
    """A maildrop that was never locked: nothing of it can be deleted or marked, and there is nothing to release."""

    __slots__ = ()

    def __init__(self, context: Context, root: bytes, index: Index) -> None:
        super().__init__(replace(context, report=_unreported), root, -1, index)

    def file(self, number: int) -> str:
        """As the view was taken."""
        return shown(self._index.names[number - 1])

    def _clock(self) -> int:
        """The machine's own: to ask the file system's would change the lock, by which a session tells its time."""
        return time.time_ns()


def viewed(root: bytes, former: Former | None) -> Index:
    """What the next login would show. For a thread. Errors: StoreError."""
    try:
        rows = Ours(former).rows(root) if is_there(root) else Rows()
    except OSError as error:
        raise unavailable(error) from error
    return Index.of(rows, UNTRUSTED, UNTRUSTED)


def _unreported(_root: bytes, _note: str) -> None:
    """What a session would log of a message, whoever looks is told with it."""
