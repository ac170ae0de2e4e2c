"""A Maildir that mail is moved into: a second move at the same time could bring the same messages again.

Its lock is flock on a file of its own, so that users can fetch their mail meanwhile.
"""

# Paths are octets here, which pathlib cannot hold.
# ruff: noqa: PTH116

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import DeferredLock

from mailserver.errors import MaildropInUse
from mailserver.store.disk import Disk
from mailserver.store.maildir.opening import make, unavailable

NAME: Final = b"mailserver-moves"


class Reserving:
    """The reservations of this process, which wait for each other; one of another process is an error."""

    __slots__ = ("_disk", "_turns")

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._turns: defaultdict[bytes, DeferredLock] = defaultdict(DeferredLock)

    async def reserve(self, root: bytes, anchor: bytes, owner: str) -> Callable[[], None]:
        """Make the Maildir below `anchor`, which must exist, and reserve it until the answer is called, once."""
        turn = self._turns[root]
        await turn.acquire()
        try:
            held = await self._disk.open(root, _reserved, root, anchor, owner, undo=os.close, never_begun=_nothing)
        except BaseException:
            turn.release()
            raise

        def end() -> None:
            os.close(held)
            turn.release()

        return end

    async def look(self, root: bytes, anchor: bytes) -> Callable[[], None]:
        """Only see that it could be made. Errors: MaildropUnavailable."""
        await self._disk.open(root, _look, anchor, undo=_nothing, never_begun=_nothing)
        return _nothing


def _reserved(root: bytes, anchor: bytes, owner: str) -> int:
    try:
        return make(root, anchor, owner, NAME)
    except MaildropInUse as error:
        raise MaildropInUse(f"another run moves mail there: wait for its end ({error})") from None


def _look(anchor: bytes) -> None:
    try:
        os.stat(anchor)
    except OSError as error:
        raise unavailable(error) from error


def _nothing(*_: object) -> None:
    """Undo nothing."""
