"""Servers whose unique-ids are made of the files' names: there is no list, and new messages get theirs in the same way."""

from __future__ import annotations

from collections.abc import Sequence

from mailserver.store.maildir.foreign.lists import permitted, stem
from mailserver.store.maildir.former import Entry
from mailserver.uidl_format import Format


class Named:
    """As `Former`, by a format of the name without its info (``%f``)."""

    list_name = b""

    def __init__(self, kind: str, text: str) -> None:
        self._format = Format(text)
        self.signature = f"{kind} {text}".encode()

    def entries(self, root: bytes) -> None:
        """None: there is no list."""

    def unlisted(self, name: bytes) -> bytes | None:
        """As `Former`."""
        uidl = self._format.expand({"filename": stem(name)})
        return uidl if permitted(uidl) else None

    def extend(self, root: bytes, names: Sequence[bytes]) -> Sequence[Entry]:  # noqa: ARG002 - as Former
        """As `Former`; nothing is written, since the names say all."""
        made = ((name, self.unlisted(name)) for name in names)
        return [Entry(stem(name), uidl) for name, uidl in made if uidl is not None]
