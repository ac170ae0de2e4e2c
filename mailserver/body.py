"""A message in memory: the one kind of body that ``net/`` knows, because its last piece and the end can leave together."""

from __future__ import annotations

from zope.interface import implementer

from mailserver.interfaces import IBody


@implementer(IBody)
class BytesBody:
    """Its octets, which are all there."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    @property
    def ended(self) -> bool:
        """Whether all octets were read."""
        return self._position == len(self._data)

    def read(self, limit: int) -> bytes:
        """Answers at once."""
        chunk = self._data[self._position : self._position + limit]
        self._position += len(chunk)
        return chunk

    def fileno(self) -> None:
        """There is no descriptor to send from."""

    def close(self) -> None:
        """Do nothing."""
