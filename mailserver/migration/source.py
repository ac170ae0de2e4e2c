"""What a place that mail comes from gives to whoever moves it: one user's messages, in the order of POP3.

A source is blocking code and is used by one thread at a time. It changes nothing where the mail lies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class SourceError(Exception):
    """A user's mail cannot be read at all, or cannot be trusted. The text says why, and what to do; it has no secret."""


class Unreadable(Exception):
    """One message cannot be read, and others can. The text says why."""


class Original(NamedTuple):
    """A message as its old server knows it."""

    place: str
    """Where it is, for the log and the operator: a file's path, or a message's number and unique-id on a server."""
    uidl: bytes
    """Its unique-id as clients know it (RFC 1939 section 7: 1 to 70 octets of 0x21 to 0x7E); b"": nobody has seen one."""
    received: float
    """When it arrived, in seconds of the epoch."""
    seen: bool
    octets: int | None = None
    """Its octets on the wire as the source says, which may be wrong; None: it does not say."""


class Source(Protocol):
    """One user's mail."""

    notes: list[str]
    """What the operator should know of what was read so far, such as lines that could not be understood."""

    def messages(self) -> Sequence[Original]:
        """All messages, in the order in which the old server lists them by POP3. Errors: SourceError."""

    def read(self, message: Original) -> Iterator[bytes]:
        """The message's octets, in pieces of any size and with any line ends. Errors, also in the middle: Unreadable, SourceError."""

    def close(self) -> None:
        """Close files and connections; idempotent, and it does not raise."""
