"""What a connection pumps: a session, or what comes before one."""

from __future__ import annotations

from typing import Any, Protocol

from mailserver.errors import Refusal


class Core(Protocol):
    """What a connection asks of what it pumps."""

    @property
    def busy(self) -> bool:
        """Whether something is under way, and nothing else may be said."""

    @property
    def unread(self) -> int:
        """Octets fed and not yet read."""

    def feed(self, data: bytes) -> None:
        """Buffer what arrived."""

    def next(self) -> Any:
        """Return the next effect, or None."""

    def take(self) -> list[bytes]:
        """Give away the replies."""

    def last_words(self, refusal: Refusal) -> list[bytes]:
        """Give away the replies, and what the client hears of a `refusal` that ends the connection."""
