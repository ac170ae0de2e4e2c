"""What each server of mboxes is here: the unique-ids that it gave, by what it has left in the mbox.

A numbering is fed with all messages in their order, and then answers their unique-ids: for some servers a field in the midst of the
mbox changes those of all. b"": clients have not seen the message there, or would see another unique-id at their next login.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from mailserver.migration.mbox_fields import Field
from mailserver.migration.mbox_layout import Rule


class Numbering(Protocol):
    """What a server makes of the messages."""

    rule: Rule
    """How it cuts the file."""

    def begin(self, fields: Sequence[Field]) -> None:
        """The header of a first message that is none (`is_pseudo`), but has what concerns them all."""

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:
        """The next message, by the line that begins it and its header; False: the server does not show it."""

    def uidls(self) -> Sequence[bytes]:
        """The unique-ids of all messages that it shows."""

    def trouble(self) -> str:
        """What the operator should know; "": nothing."""


class Unnumbered:
    """An mbox that no server has shown, such as an archive."""

    rule = Rule.LENGTH

    def __init__(self) -> None:
        self._count = 0

    def begin(self, fields: Sequence[Field]) -> None:
        """Nothing of that concerns it."""

    def add(self, line: bytes, fields: Sequence[Field]) -> bool:  # noqa: ARG002 - of all numberings
        """All are shown."""
        self._count += 1
        return True

    def uidls(self) -> Sequence[bytes]:
        """There are none."""
        return [b""] * self._count

    def trouble(self) -> str:
        """Nothing is wrong with that."""
        return ""
