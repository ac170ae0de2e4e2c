"""A message that is read in more than one go, because the line broke: each goes on where the last one ended."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from hashlib import sha256
from typing import Final

from mailserver.migration.source import Unreadable

LARGEST: Final = 4 << 30
"""Octets of a message that are believed: a server that does not end it is not read until the disk is full."""


class Resumed:
    """What was had of one message."""

    __slots__ = ("_digest", "octets")

    def __init__(self) -> None:
        self._digest = sha256()
        self.octets = 0

    def beyond(self, pieces: Generator[bytes]) -> Iterator[bytes]:
        """What goes beyond what was had, of the same message from its beginning. Errors: Unreadable, if it is another one."""
        again, left = sha256(), self.octets
        with closing(pieces):
            for piece in pieces:
                known, new = piece[:left], piece[left:]
                left -= len(known)
                again.update(known)
                if known and not left:
                    self._compare(again.digest())
                if new:
                    self.octets += len(new)
                    self._digest.update(new)
                    yield new
                if self.octets > LARGEST:
                    raise Unreadable(f"it has more than {LARGEST} octets, or no end")
        if left:
            self._compare(again.digest())

    def _compare(self, digest: bytes) -> None:
        if digest != self._digest.digest():
            raise Unreadable("it was another message when it was read again")
