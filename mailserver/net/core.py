"""The interface of a core, which a connection runs: a session, or a preamble before one."""

from __future__ import annotations

from typing import Any, Protocol

from mailserver.errors import Refusal


class Core(Protocol):
    """The methods that a connection calls on its core."""

    @property
    def busy(self) -> bool:
        """Whether an effect or a reply is under way, so that no other reply may be written."""

    @property
    def unread(self) -> int:
        """The number of octets that were fed but not read yet."""

    def feed(self, data: bytes) -> None:
        """Buffer what arrived."""

    def next(self) -> Any:
        """Return the next effect, or None."""

    def take(self) -> list[bytes]:
        """Return and forget the replies so far."""

    def last_words(self, refusal: Refusal) -> list[bytes]:
        """Return and forget the replies so far, followed by the reply for a `refusal` that ends the connection."""
