"""The unique-ids that another server has given to the messages of a Maildir: what the readers of its lists answer."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol


class Entry(NamedTuple):
    """A message that the other server has listed."""

    name: bytes
    """Its file's name, without the directory; of an info at its end, which may have changed since, nothing depends.

    It may end before its first colon, where the other server took that for the beginning of an info.
    """
    uidl: bytes
    """Its unique-id: 1 to 255 octets of 0x21 to 0x7E. RFC 1939 allows 70, and some servers have sent whole file names."""


class Former(Protocol):
    """A server that has served these Maildirs before."""

    signature: bytes
    """Differs where other unique-ids would be read, as for another format of Dovecot's: then the lists are read again."""
    list_name: bytes
    """The name of its list in the Maildir; b"": it has none."""

    def entries(self, root: bytes) -> Sequence[Entry] | None:
        """All entries, in the order in which that server lists its messages by POP3; None: there is no list.

        Some may be of files that are gone. In a thread, under the maildrop's lock. Errors: OSError; ValueError for a list that
        cannot be understood, with a text for the operator: then the maildrop is not opened, since its clients would fetch all again.
        """

    def unlisted(self, name: bytes) -> bytes | None:
        """The unique-id that it would have given to a file that no list has; None: none, or not without its list."""

    def extend(self, root: bytes, names: Sequence[bytes]) -> Sequence[Entry]:
        """Add files to its list, in this order, as it would itself, and answer their entries, once they are durable there.

        A file that is listed already keeps its entry: a crash may have come before the map was written. With
        `store.unique_ids`, so that both servers show the same unique-ids. Under the maildrop's lock. Errors: OSError,
        ValueError, as of `entries`.
        """


def mark(former: Former | None) -> bytes:
    """The short form of a former server's signature that the index and the map keep; zeros for none."""
    return bytes(16) if former is None else blake2b(former.signature, digest_size=16).digest()
