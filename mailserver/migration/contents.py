"""The contents of a message that moves: how it is read, piece by piece, and the unique-id of one that has none.

Two messages have one digest if their octets on the wire are equal, whatever the line ends of their files.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from mailserver.migration.source import Original, Source
from mailserver.snapshot import UIDL
from mailserver.wireform import Canonical

CHUNK: Final = 256 * 1024
"""Octets that a thread reads at once: most messages take one hop to it, and a large one keeps no more memory."""

_DIGITS: Final = 40
"""Of a digest, which with a number behind it is a unique-id: 160 bits."""


class Digest:
    """The digest of contents that come in pieces."""

    __slots__ = ("_canonical", "_sum")

    def __init__(self) -> None:
        self._canonical = Canonical()
        self._sum = sha256()

    @property
    def octets(self) -> int:
        """Those on the wire, of what was fed."""
        return self._canonical.octets

    def feed(self, data: bytes) -> None:
        """Add a piece."""
        self._sum.update(self._canonical.feed(data))

    def end(self) -> bytes:
        """The digest of the whole."""
        self._sum.update(self._canonical.end())
        return self._sum.hexdigest()[:_DIGITS].encode("ascii")


class Reading:
    """One message on its way out of its source, whose beginning is read. It is blocking code, in any thread, one at a time.

    Errors: Unreadable, SourceError.
    """

    __slots__ = ("_digest", "_pieces", "digest", "first", "is_whole", "octets")

    def __init__(self, source: Source, original: Original) -> None:
        self._pieces: Iterator[bytes] = iter(source.read(original))
        self._digest = Digest()
        self.digest = b""
        """That of the whole; b"" before its end."""
        self.octets = 0
        """Those of the whole on the wire."""
        self.first = self.more()
        """The beginning."""
        self.is_whole = bool(self.digest)
        """Whether that is the whole message."""

    def more(self) -> bytes:
        """The next octets, `CHUNK` and the rest of a piece, or all that are left; b"" at the end."""
        gathered: list[bytes] = []
        size = 0
        while size < CHUNK and not self.digest:
            piece = next(self._pieces, None)
            if piece is None:
                self.digest = self._digest.end()
                self.octets = self._digest.octets
            else:
                gathered.append(piece)
                size += len(piece)
                self._digest.feed(piece)
        return b"".join(gathered)

    def skip(self) -> None:
        """Read to the end."""
        while not self.digest:
            self.more()


def is_unique_id(uidl: bytes) -> bool:
    """Whether a store can keep it."""
    return UIDL.fullmatch(uidl) is not None


def id_of_contents(digest: bytes, before: int) -> bytes:
    """The unique-id of a message that has none, if so many with the same contents are `before` it at the source."""
    return b"%b-%d" % (digest, before) if before else digest


def id_beside(uidl: bytes, digest: bytes) -> bytes:
    """That of a message whose unique-id another message has, at the new server."""
    return sha256(uidl + b"\0" + digest).hexdigest()[:_DIGITS].encode("ascii")
